"""Run the sandbox alone: `python -m punchcard.sandbox --data DIR --port N`."""

import argparse
import sys
from pathlib import Path

from punchcard.errors import ConfigurationError
from punchcard.sandbox.server import ready_line, serve_sandbox


def main() -> int:
    """Serve until stopped; print a line when ready."""
    parser = argparse.ArgumentParser(prog="python -m punchcard.sandbox", description="The local Perkville.")
    parser.add_argument("--data", type=Path, default=Path("sandbox-data"), help="the data folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100, help="0 selects a free one")
    arguments = parser.parse_args()

    def announce(port: int) -> None:
        print(ready_line(arguments.host, port), flush=True)

    try:
        serve_sandbox(data=arguments.data, host=arguments.host, port=arguments.port, on_ready=announce)
    except ConfigurationError as exc:
        print(exc.message, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line's way in: `punchcard` and `python -m punchcard`."""

import sys

_INTERRUPTED = 130


def main() -> int:
    """Run the command that the process's arguments name; returns the exit status."""
    try:
        from punchcard.cli.running import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

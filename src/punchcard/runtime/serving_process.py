"""A further serving process of a port: as the first one, without what only one process does for all of them."""

import argparse
import os
import socket
import sys
import threading

from punchcard.errors import PunchcardError
from punchcard.runtime.child_process import stop_with_parent
from punchcard.runtime.data_folder import prepare_data_folder
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.metrics import prepare_metrics
from punchcard.runtime.settings import Settings, read_settings

_FAILED = 1


def run_serving_process(settings: Settings, listening: socket.socket, *, config_file: str) -> int:
    """Serve until SIGTERM or SIGINT, or until standard input closes because the first process is gone.

    Args:
        listening: Bound by the first process.
        config_file: The file from which that applies the configuration, "" if there is none.
    """
    from punchcard.runtime.serve import Serving

    try:
        threading.Thread(target=stop_with_parent, daemon=True).start()
        with Serving(settings, config_file=config_file, listening=listening, is_first=False) as serving:
            serving.run()
    except PunchcardError as error:
        print(f"punchcard serve: {error.message}", file=sys.stderr)
        return _FAILED
    return 0


def _main() -> int:
    parser = argparse.ArgumentParser(description="A further serving process of `punchcard up` or `punchcard serve`.")
    parser.add_argument("--until-stdin-closes", action="store_true")
    parser.add_argument("--socket", type=int, required=True, help="Descriptor of the socket to listen on.")
    parser.add_argument("--config-file", default="")
    arguments = parser.parse_args()
    try:
        settings = read_settings(os.environ)
        configure_logs(level=settings.log_level, format=settings.log_format)
        prepare_data_folder(settings.data)
        prepare_metrics(settings.data, reset=False)
    except PunchcardError as error:
        print(f"punchcard serve: {error.message}", file=sys.stderr)
        return _FAILED
    listening = socket.socket(fileno=arguments.socket)
    listening.set_inheritable(False)
    return run_serving_process(settings, listening, config_file=arguments.config_file)


if __name__ == "__main__":
    sys.exit(_main())

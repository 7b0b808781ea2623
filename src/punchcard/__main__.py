"""The command line's way in: `punchcard` and `python -m punchcard`."""

import gc
import sys

_INTERRUPTED = 130
_REPORTS_LEAKS = "_duckdb"  # it prints what that last search has not freed


def main() -> int:
    """Run the command that the process's arguments name; returns the exit status."""
    gc.set_threshold(50_000, 20, 100)  # as in `runtime`: imports make no garbage
    try:
        # Imported here, so that Ctrl-C during these imports has its line too.
        from punchcard.cli.help_pages import find_page
        from punchcard.cli.output import end_output, open_closed_streams

        open_closed_streams()
        if (page := find_page(sys.argv[1:])) is not None:
            return end_output(0, page)
        from punchcard.cli.running import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        # Before the command has begun: it catches its own.
        print("punchcard: Interrupted. Nothing was changed. Run the same command again.", file=sys.stderr)
        return _INTERRUPTED
    finally:
        if _REPORTS_LEAKS not in sys.modules:
            # The interpreter searches for cycles once more as it ends: a sixth of the time that a command takes.
            gc.freeze()


if __name__ == "__main__":
    sys.exit(main())

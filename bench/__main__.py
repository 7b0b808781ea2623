"""`python -m bench [--tiny] [NAME …]`: run the benches one after the other, never two at once."""

import importlib
import logging
import os
import sys
import traceback

import structlog

from bench.size import TINY

BENCHES = (
    "ingest",
    "routing",
    "shared_log",
    "filters",
    "delivery",
    "latency",
    "startup",
    "lake_lookup",
    "app",
    "engage",
    "backtest",
    "reconcile",
    "replay_priority",
)
_TINY_OPTION = "--tiny"  # for CI: each bench runs, its figures mean nothing


def main(arguments: list[str]) -> int:
    """Run the named benches, all without a name; returns 1 if a bench failed, after the others have run."""
    names = [argument for argument in arguments if argument != _TINY_OPTION]
    if _TINY_OPTION in arguments:
        os.environ[TINY] = "1"
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"There is no bench {', '.join(unknown)}; the benches are {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    failed = []
    for name in names or BENCHES:
        print(f"== {name} (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)
        try:
            importlib.import_module(f"bench.{name}").main()
        except Exception:  # noqa: BLE001  # the outer loop: the other benches still run
            traceback.print_exc()
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

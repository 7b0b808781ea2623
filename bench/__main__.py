"""`python -m bench [--tiny] [--keep=NAME] [BENCH …]`: run the benches one after the other, never two at once.

At the end comes a table with the figures of `bench/results/` beside the new ones; `--keep` stores the new ones there.
"""

import argparse
import importlib
import logging
import os
import platform
import sys
import traceback

import structlog

from bench import report
from bench.size import TINY

BENCHES = (
    "ingest",
    "routing",
    "rules",
    "shared_log",
    "partitions",
    "kafka_log",
    "filters",
    "delivery",
    "latency",
    "end_to_end",
    "startup",
    "disk",
    "lake_lookup",
    "app",
    "pages",
    "interactions",
    "engage",
    "engage_wal",
    "backtest",
    "reconcile",
    "replay_priority",
    "regulations",
)
CLUSTER = ("shared_log", "kafka_log", "partitions", "outages")
"""What `cluster` stands for: the benches of several machines, each figure beside that of one machine."""

_CHOICES = (*BENCHES, "outages", "cluster")  # what can be named; without names, `BENCHES` run


def main(arguments: list[str]) -> int:
    """Run the named benches, all without a name; returns 1 if a bench failed, after the others have run."""
    options = _read(arguments)
    names = [name for named in options.benches for name in (CLUSTER if named == "cluster" else (named,))]
    if options.tiny:
        os.environ[TINY] = "1"
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    failed = []
    figures: dict[str, report.Figure] = {}
    for name in names or BENCHES:
        print(f"== {name} (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)
        try:
            importlib.import_module(f"bench.{name}").main()
        except (Exception, SystemExit):  # noqa: BLE001  # the outer loop: the other benches still run
            traceback.print_exc()
            failed.append(name)
        figures |= report.take_shown(name)
    previous_name, previous = report.read_previous()
    print(f"\n== all figures, beside those of {previous_name or 'no earlier run'}")
    print(report.table(figures, previous, failed=failed), flush=True)
    if options.keep:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(f"Kept in {report.keep(options.keep, figures, machine=machine)}.")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _read(arguments: list[str]) -> argparse.Namespace:
    """Return benches, tiny and keep; ends the process with a message if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Run benches one after the other and show their figures beside those kept in bench/results/.",
        epilog="Example: python -m bench routing ingest",
        allow_abbrev=False,
    )
    parser.add_argument(
        "benches",
        nargs="*",
        metavar="BENCH",
        type=_name,
        help=f"all but outages if none is named; cluster stands for {', '.join(CLUSTER)}: {', '.join(_CHOICES)}",
    )
    parser.add_argument("--tiny", action="store_true", help="each bench runs, its figures mean nothing")
    parser.add_argument("--keep", metavar="NAME", default="", help="keep the figures in bench/results/")
    return parser.parse_args(arguments)


def _name(text: str) -> str:
    if text not in _CHOICES:
        raise argparse.ArgumentTypeError(f"unknown bench {text}; choose from {', '.join(_CHOICES)}")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

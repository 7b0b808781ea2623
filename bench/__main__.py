"""`python -m bench [--tiny] [--keep=NAME] [BENCH …]`: run the benches one after the other, never two at once.

`cluster` stands for those of several machines.

At the end comes a table with the figures of `bench/results/` beside the new ones; `--keep` stores the new ones there.
"""

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

_NAMES = (*BENCHES, "outages")  # those that can be named; without names, `BENCHES` run
_TINY_OPTION = "--tiny"  # for CI: each bench runs, its figures mean nothing
_KEEP_OPTION = "--keep="


def main(arguments: list[str]) -> int:
    """Run the named benches, all without a name; returns 1 if a bench failed, after the others have run."""
    named = [argument for argument in arguments if not argument.startswith("--")]
    names = [name for argument in named for name in (CLUSTER if argument == "cluster" else (argument,))]
    kept_as = next(
        (argument.removeprefix(_KEEP_OPTION) for argument in arguments if argument.startswith(_KEEP_OPTION)), ""
    )
    if _TINY_OPTION in arguments:
        os.environ[TINY] = "1"
    unknown = [name for name in names if name not in _NAMES]
    if unknown:
        known = ", ".join((*_NAMES, "cluster"))
        print(f"There is no bench {', '.join(unknown)}; the benches are {known}.", file=sys.stderr)
        return 2
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
    if kept_as:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        print(f"Kept in {report.keep(kept_as, figures, machine=machine)}.")
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

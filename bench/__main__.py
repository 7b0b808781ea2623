"""`python -m bench [NAME …]`: run the benches one after the other, never two at once."""

import importlib
import logging
import os
import sys

import structlog

_ALL = ("ingest", "routing", "filters", "delivery", "latency", "startup", "lake_lookup", "app", "engage")


def main(names: list[str]) -> int:
    """Run the named benches, all without a name."""
    unknown = [name for name in names if name not in _ALL]
    if unknown:
        print(f"there is no bench {', '.join(unknown)}; there are {', '.join(_ALL)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for name in names or _ALL:
        print(f"== {name} (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

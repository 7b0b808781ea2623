"""How often long-running processes search for reference cycles. While they start, they do so rarely."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# A batch of routing, delivery or Engage creates 100,000s of short-lived values, no cycles. At Python's default of 700
# the collector visits them again and again: a tenth of the CPU of routing, a third of that of identity resolution.
# Five times as many cost no less, and then one collection takes 17 ms, for which the awards of that moment wait.
_ALLOCATIONS_PER_COLLECTION: Final = 10_000
_ALLOCATIONS_WHILE_LOADING: Final = 50_000
_PYTHON_DEFAULTS: Final = (700, 10, 10)
_REPORTS_LEAKS: Final = "_duckdb"  # at the end of the process it prints what was excluded


def collect_rarely() -> None:
    """Search for cycles rarely, and exclude everything that the process has loaded so far."""
    gc.collect()
    _exclude_loaded()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION, 20, 100)


def collect_often() -> None:
    """Search for cycles as often as Python does by default, but not in what the process has loaded so far."""
    _exclude_loaded()
    gc.set_threshold(*_PYTHON_DEFAULTS)


@contextmanager
def loading() -> Iterator[None]:
    """Search for cycles rarely while the block imports and builds something that stays, then as `collect_often`."""
    gc.set_threshold(_ALLOCATIONS_WHILE_LOADING, 20, 100)
    try:
        yield
    finally:
        collect_often()


def _exclude_loaded() -> None:
    gc.freeze()
    atexit.register(_include_all)


def _include_all() -> None:
    """Include all objects in the last search of the process, so that none is reported as leaked."""
    if _REPORTS_LEAKS in sys.modules:
        gc.unfreeze()

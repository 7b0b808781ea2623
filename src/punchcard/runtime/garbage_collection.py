"""How often a long-running process looks for reference cycles."""

import gc
from typing import Final

# A batch of routing, delivery or Engage makes 100,000s of short-lived values and no cycles. At Python's default of 700
# the collector visits them again and again: a tenth of the CPU of routing, a third of that of identity resolution.
_ALLOCATIONS_PER_COLLECTION: Final = 50_000


def collect_rarely() -> None:
    """Collect cycles rarely, and leave out of it all that the process has loaded up to now."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION, 20, 100)

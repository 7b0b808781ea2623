"""How many partitions each worker routes, so that all have about as much to do."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from punchcard.store.routing.partition_workers import AliveWorker

# Processor time for feeding the lake, as a share of that for routing all partitions: docs/explanation/performance.md.
_LAKE_COST: Final = 0.7


def share_partitions(count: int, workers: Sequence[AliveWorker]) -> dict[str, range]:
    """Return the partitions that each worker should route, by its id.

    The worker that feeds the lake gets fewer, and perhaps none, if there are others. Workers that see the same ones
    compute the same shares, which together are all partitions.

    Args:
        count: The number of partitions.
        workers: Those that are alive, in one order everywhere; at least one.
    """
    # An older version takes as many as every other worker. Then all must, or some partitions would be nobody's.
    knows_all = all(worker.feeds_lake is not None for worker in workers)
    work = [_LAKE_COST * count if knows_all and worker.feeds_lake else 0.0 for worker in workers]
    shares = [0] * len(workers)
    for _ in range(count):
        least = work.index(min(work))
        work[least] += 1
        shares[least] += 1
    return {
        worker.id: range(end - share, end)
        for worker, share, end in zip(workers, shares, accumulate(shares), strict=True)
    }

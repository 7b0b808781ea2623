"""Fills the index of recent message ids when routing begins."""

from punchcard.clock import Clock
from punchcard.errors import LakeError
from punchcard.lake.reader import LakeReader
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.telemetry import RoutingTelemetry


def fill_index(index: MessageIndex, lake: LakeReader, feed: LakeFeed, *, ids_min: int, clock: Clock) -> None:
    """Load the recent message ids, as far as the lake can be read; the ledger has those that matter for awards.

    Args:
        feed: Knows the events that were routed and are not in the lake yet.
        ids_min: How many ids to read from the lake.

    Raises:
        StorageError: The store or the log is not available.
    """
    telemetry = RoutingTelemetry()
    begun = clock.monotonic()
    ids = 0
    waiting = feed.waiting_message_keys()  # a worker that led before may append them while the lake is read
    try:
        for keys in lake.recent_message_keys(ids_min, on_damage=telemetry.lake_failed):
            index.add_all(keys)
            ids += len(keys)
    except LakeError as error:
        telemetry.lake_failed(error)
    lake.release()  # some 20 MB that nothing else needs for long
    for keys in waiting:
        index.add_all(keys)
        ids += len(keys)
    telemetry.index_filled(ids=ids, seconds=clock.monotonic() - begun)

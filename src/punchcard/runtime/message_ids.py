"""Fills the index of recent message ids when routing begins."""

from punchcard.clock import Clock
from punchcard.errors import LakeError
from punchcard.lake.reader import LakeReader
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.runtime.settings import Settings


def fill_index(index: MessageIndex, settings: Settings, feed: LakeFeed, *, clock: Clock) -> None:
    """Load the recent message ids, as far as the lake can be read; the ledger has those that matter for awards.

    Args:
        feed: Knows the events that were routed and are not in the lake yet.

    Raises:
        StorageError: The store or the log is not available.
    """
    telemetry = RoutingTelemetry()
    begun = clock.monotonic()
    ids = 0
    reader = LakeReader(settings.lake_location())
    try:
        for keys in reader.recent_message_keys(
            settings.dedupe_ids_min, on_damage=lambda error: telemetry.lake_failed(error=error.message)
        ):
            index.add_all(keys)
            ids += len(keys)
    except LakeError as error:
        telemetry.lake_failed(error=error.message)
    for keys in feed.waiting_message_keys():
        index.add_all(keys)
        ids += len(keys)
    telemetry.index_filled(ids=ids, seconds=clock.monotonic() - begun)

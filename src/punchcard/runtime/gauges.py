"""Values of `GET /metrics` that are read when asked for: the outbox and its age, pauses."""

from collections.abc import Sequence

from punchcard.clock import SystemClock
from punchcard.runtime.metrics import Gauge
from punchcard.store.engine import Store
from punchcard.store.ledger import backlog
from punchcard.store.pauses import pause_of
from punchcard.store.positions import ROUTING, position_of
from punchcard.workspace.snapshot import SnapshotWatch


def read_gauges(store: Store, watch: SnapshotWatch, *, connections: int) -> Sequence[Gauge]:
    """What the store holds now, and the open connections of this process.

    Raises:
        StorageError: the store is away.
    """
    now = SystemClock().now()
    slugs = sorted(watch.current().destinations)
    with store.reading() as connection:
        waiting = backlog(connection, slugs)
        paused = {slug: pause_of(connection, slug) is not None for slug in slugs}
        position = position_of(connection, ROUTING)
    return [
        Gauge(
            "punchcard_outbox_effects",
            "Effects not delivered yet, by state; parked ones need a person.",
            ["destination", "state"],
            [([one.destination, one.state], one.count) for one in waiting],
        ),
        Gauge(
            "punchcard_outbox_oldest_seconds",
            "Age of the oldest effect not delivered yet, by state.",
            ["destination", "state"],
            [([one.destination, one.state], (now - one.oldest_created_at).total_seconds()) for one in waiting],
        ),
        Gauge(
            "punchcard_destination_paused",
            "1 while a destination delivers nothing until an operator acts.",
            ["destination"],
            [([slug], float(is_paused)) for slug, is_paused in paused.items()],
        ),
        Gauge("punchcard_http_connections", "Open connections.", [], [([], float(connections))]),
        Gauge("punchcard_routing_position", "The last log position routed.", [], [([], float(position))]),
    ]

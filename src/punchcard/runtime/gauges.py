"""Values of `GET /metrics` that are read on request: the outbox and its age, pauses, the lake."""

from collections.abc import Sequence

from sqlalchemy import Connection

from punchcard.clock import SystemClock
from punchcard.errors import StorageError
from punchcard.log.port import EventLog
from punchcard.operations.reconciliation_views import count_open_differences
from punchcard.runtime.metrics import Gauge
from punchcard.store.delivery.ledger import backlog
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.engine import Store
from punchcard.store.operations.alert_notices import count_pending_notices
from punchcard.store.operations.alerts import count_open_alerts
from punchcard.store.operations.reconciliation_differences import DifferenceKind
from punchcard.store.routing.held import count_held
from punchcard.store.routing.lake_status import read_lake_status
from punchcard.store.routing.positions import LAKE, ROUTING, partition_positions, position_of
from punchcard.store.routing.quarantine import count_quarantined
from punchcard.workspace.snapshot import SnapshotWatch


def read_gauges(store: Store, watch: SnapshotWatch, log: EventLog) -> Sequence[Gauge]:
    """Return the current values of the store, and how far routing is behind the log.

    Raises:
        StorageError: The store is not available.
    """
    try:
        end: int | None = log.last_position()  # before the positions: what is appended in between does not wait
    except StorageError:
        end = None  # readiness says why; the other values are those of the store
    slugs = sorted(watch.current().destinations)
    with store.reading() as work:
        return [
            *_delivery_gauges(work, slugs),
            *_operations_gauges(work, slugs),
            *_routing_gauges(work),
            *([] if end is None else [_lag(work, end)]),
            *_lake_gauges(work),
        ]


def _delivery_gauges(work: Connection, slugs: Sequence[str]) -> list[Gauge]:
    now = SystemClock().now()
    waiting = backlog(work, slugs)
    paused = {slug: pause_of(work, slug) is not None for slug in slugs}
    return [
        Gauge(
            "punchcard_outbox_effects",
            "Effects not delivered yet, by state; parked effects need attention.",
            ["destination", "state"],
            [([group.destination, group.state], group.count) for group in waiting],
        ),
        Gauge(
            "punchcard_outbox_oldest_seconds",
            "Age of the oldest effect not delivered yet, by state.",
            ["destination", "state"],
            [([group.destination, group.state], (now - group.oldest_created_at).total_seconds()) for group in waiting],
        ),
        Gauge(
            "punchcard_destination_paused",
            "1 while a destination is paused: by a person, or because its credentials are refused.",
            ["destination"],
            [([slug], float(is_paused)) for slug, is_paused in paused.items()],
        ),
    ]


def _operations_gauges(work: Connection, slugs: Sequence[str]) -> list[Gauge]:
    differences = count_open_differences(work, slugs)
    return [
        Gauge(
            "punchcard_ledger_differences",
            "Open differences between ledger and partner, by kind.",
            ["destination", "kind"],
            [
                ([slug, str(kind)], float(counts.get(kind, 0)))
                for slug, counts in differences.items()
                for kind in DifferenceKind
            ],
        ),
        Gauge(
            "punchcard_alerts",
            "Alerts that are not resolved, by state and severity.",
            ["state", "severity"],
            [([state, severity], float(count)) for (state, severity), count in count_open_alerts(work).items()],
        ),
        Gauge(
            "punchcard_alert_notices_pending",
            "Notices of alerts that wait to be sent.",
            ["channel"],
            [([channel], float(count)) for channel, count in count_pending_notices(work).items()],
        ),
    ]


def _routing_gauges(work: Connection) -> list[Gauge]:
    position = position_of(work, ROUTING)
    return [
        Gauge(
            "punchcard_held_events",
            "Events held because their destination could not plan them.",
            ["destination"],
            [([group.destination], float(group.count)) for group in count_held(work)],
        ),
        Gauge("punchcard_routing_position", "The last log position routed.", [], [([], float(position))]),
        Gauge(
            "punchcard_routing_quarantined_records",
            "Records and events that could not be processed and are quarantined, by reason.",
            ["reason"],
            [([group.reason], float(group.count)) for group in count_quarantined(work)],
        ),
    ]


def _lag(work: Connection, end: int) -> Gauge:
    positions = partition_positions(work) or {0: position_of(work, ROUTING)}
    return Gauge(
        "punchcard_log_lag_events",
        "Positions of the event log that are not routed yet, each a request with one event or more.",
        ["partition"],
        [([str(partition)], float(max(end - position, 0))) for partition, position in positions.items()],
    )


def _lake_gauges(work: Connection) -> list[Gauge]:
    position = position_of(work, LAKE)
    lake = read_lake_status(work)
    return [
        Gauge("punchcard_lake_position", "The last log position in the lake.", [], [([], float(position))]),
        Gauge(
            "punchcard_lake_failing",
            "1 while the lake cannot be read or written; awards go on without it.",
            [],
            [([], float(lake.failing_since is not None))],
        ),
        Gauge(
            "punchcard_lake_lost_events",
            "Events that the last repair of the lake could not restore.",
            [],
            [([], float(lake.lost_events))],
        ),
    ]

"""What routing tells: log lines (noun and past participle) and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter, Histogram

from punchcard.errors import StorageError
from punchcard.lake.damage import REPAIR_COMMAND, may_be_damaged
from punchcard.store.delivery.recoveries import Recovery

_events = Counter("punchcard_routing_events", "Events routed, by source.", ["source"])
_results = Counter(
    "punchcard_routing_results",
    "Results decided at routing, by destination and reason.",
    ["destination", "status", "reason"],
)
_held = Counter(
    "punchcard_routing_held", "Events that a destination could not plan, so that they wait.", ["destination"]
)
_released = Counter("punchcard_routing_released", "Events that were held and are planned.", ["destination"])
_notes = Counter(
    "punchcard_routing_notes", "Events with something converted so that they could be read.", ["source", "reason"]
)
_latency = Histogram(
    "punchcard_routing_latency_seconds",
    "From receipt of the newest event of a batch to the commit of its results.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600),
)
_quarantined = Counter(
    "punchcard_routing_quarantined",
    "Events that could not be processed and are kept for an operator, by destination and reason.",
    ["destination", "reason"],
)
_not_forwarded = Counter(
    "punchcard_routing_violations_not_forwarded",
    "Violations of tracking plans that were not forwarded, because too many wait.",
)
_lake_failures = Counter("punchcard_lake_failures", "Times that the lake could not be read or written.")
_lake_rows = Counter("punchcard_lake_rows", "Events appended to the lake.")
_lake_seconds = Histogram(
    "punchcard_lake_append_seconds",
    "How long one append to the lake took.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


@dataclass(frozen=True)
class RoutingTelemetry:
    """Routing's log lines and metrics."""

    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.routing"))

    def batch_routed(
        self, *, by_source: Mapping[str, int], by_status: Mapping[tuple[str, str, str], int], latency_seconds: float
    ) -> None:
        """A batch's results, effects and log position are committed."""
        for source, count in by_source.items():
            _events.labels(source).inc(count)
        for labels, count in by_status.items():
            _results.labels(*labels).inc(count)
        _latency.observe(max(0.0, latency_seconds))

    def events_held(self, *, held: Mapping[str, int]) -> None:
        """A destination could not plan events; they wait for it to be corrected."""
        for destination, count in held.items():
            _held.labels(destination).inc(count)
            self.log.warning("events_held", destination=destination, events=count)

    def events_released(self, *, planned: Mapping[str, int]) -> None:
        """Events that were held are planned."""
        for destination, count in planned.items():
            _released.labels(destination).inc(count)
            self.log.info("held_events_planned", destination=destination, events=count)

    def events_noted(self, *, source: str, reason: str, count: int) -> None:
        """Events of a batch had something converted; an event counts once for each reason."""
        _notes.labels(source, reason).inc(count)

    def storage_failed(self, *, error: str) -> None:
        """The store or the log failed; the same batch is tried again."""
        self.log.error("storage_failed", error=error, next_step="free disk space, or bring database and event log back")

    def record_failed(self, *, position: int, error: Exception) -> None:
        """A log record cannot be routed as it is; what of it fails is quarantined."""
        self.log.error("log_record_failed", position=position, exc_info=error)

    def events_quarantined(self, *, first_position: int, destination: str, reason: str, count: int) -> None:
        """Events of a batch that begins at this log position are kept for an operator, and the others went on."""
        _quarantined.labels(destination, reason).inc(count)
        self.log.error(
            "events_quarantined", first_position=first_position, destination=destination, reason=reason, count=count
        )

    def lake_failed(self, error: StorageError) -> None:
        """The lake cannot be read or written; its rows are kept and tried again."""
        _lake_failures.inc()
        next_step = REPAIR_COMMAND if may_be_damaged(error) else "do what the error says; it is tried again"
        self.log.error("lake_failed", error=error.message, next_step=next_step)

    def lake_moved_on(self, *, error: str) -> None:
        """Another process has appended to the lake meanwhile."""
        self.log.info("lake_moved_on", error=error)

    def lake_appended(self, *, rows: int, seconds: float) -> None:
        """Rows were appended to the lake."""
        _lake_rows.inc(rows)
        _lake_seconds.observe(seconds)

    def lake_dropped(self, *, rows: int) -> None:
        """Events older than the lake is to keep are gone from it."""
        self.log.info("lake_rows_dropped", rows=rows)

    def lake_recovered(self, *, rows: int) -> None:
        """Rows that a stopped worker had not brought to the lake were read from the log again."""
        self.log.info("lake_rows_recovered", rows=rows)

    def lake_records_lost(self, *, records: int) -> None:
        """Records that were routed are gone from the log before the lake had them: their events cannot be traced."""
        self.log.error("lake_records_lost", records=records)

    def index_filled(self, *, ids: int, seconds: float) -> None:
        """The index of seen message ids is in memory again."""
        self.log.info("message_index_filled", ids=ids, seconds=round(seconds, 2))

    def position_lost(self, *, position: int) -> None:
        """Another process has moved the log position: this one starts again from there."""
        self.log.warning("log_position_moved_elsewhere", position=position)

    def leadership_lost(self) -> None:
        """Another process leads, or may lead: this one goes on as a follower."""
        self.log.warning("routing_leadership_lost")

    def schema_failed(self, *, error: str) -> None:
        """The source schema could not be counted or written; events are routed all the same."""
        self.log.warning("source_schema_failed", error=error)

    def violations_failed(self, *, error: str) -> None:
        """Violations of tracking plans could not be counted; events are routed all the same."""
        self.log.error("plan_violations_failed", error=error)

    def violations_not_forwarded(self, *, count: int) -> None:
        """Too many violations wait to be forwarded: these are counted only, and stay with their events."""
        _not_forwarded.inc(count)
        self.log.warning("plan_violations_not_forwarded", violations=count)

    def log_trimmed(self, *, records: int) -> None:
        """Old log records that the lake holds were forgotten."""
        self.log.debug("log_trimmed", records=records)

    def older_store_found(self, recovery: Recovery, *, by_destination: Mapping[str, int]) -> None:
        """The store was restored from an older copy: every open effect is read back before anything is sent."""
        self.log.error(
            "older_store_found",
            reason=recovery.reason,
            routed_through=recovery.from_position,
            log_reached=recovery.through_position,
            open_effects_read_back=dict(by_destination),
            all_effects_read_back_until=None if recovery.doubt_until is None else recovery.doubt_until.isoformat(),
            next_step="nothing: missing awards are planned again and read back at the partner",
        )

    def lost_effect_not_planned(
        self, *, message_id: str, effect_key: str, destination: str, reason: str, detail: str
    ) -> None:
        """An effect that is missing from the ledger cannot be planned again under today's configuration."""
        self.log.error(
            "lost_effect_not_planned",
            message_id=message_id,
            effect_key=effect_key,
            destination=destination,
            reason=reason,
            detail=detail,
            next_step="see at the partner whether it was delivered",
        )

    def recovery_routed(self, recovery: Recovery, *, in_doubt: int) -> None:
        """Everything that an older store was missing is planned again."""
        self.log.info(
            "missing_effects_planned",
            planned=recovery.planned,
            not_planned=recovery.not_planned,
            still_to_read_back=in_doubt,
        )

    def log_lost(self, *, last_position: int, continues_behind: int) -> None:
        """The log was lost or put back from an older copy: what was not routed of it is gone."""
        self.log.error("log_lost", last_position=last_position, continues_behind=continues_behind)

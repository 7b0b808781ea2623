"""What routing tells: log lines (noun and past participle) and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter, Histogram

_events = Counter("punchcard_routing_events", "Events routed, by source.", ["source"])
_fates = Counter(
    "punchcard_routing_fates", "Fates decided at routing, by destination and reason.", ["destination", "fate", "reason"]
)
_notes = Counter(
    "punchcard_routing_notes", "Events with something converted so that they could be read.", ["source", "reason"]
)
_latency = Histogram(
    "punchcard_routing_latency_seconds",
    "From receipt of the newest event of a batch to the commit of its fates.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600),
)
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
        self, *, by_source: Mapping[str, int], by_fate: Mapping[tuple[str, str, str], int], latency_seconds: float
    ) -> None:
        """A batch's fates, effects and log position are committed."""
        for source, count in by_source.items():
            _events.labels(source).inc(count)
        for labels, count in by_fate.items():
            _fates.labels(*labels).inc(count)
        _latency.observe(max(0.0, latency_seconds))

    def events_noted(self, *, source: str, reason: str, count: int) -> None:
        """Events of a batch had something converted; an event counts once for each reason."""
        _notes.labels(source, reason).inc(count)

    def storage_failed(self, *, error: str) -> None:
        """The store or the log failed; the same batch is tried again."""
        self.log.error("storage_failed", error=error, next_step="free disk space or bring the database back")

    def lake_failed(self, *, error: str) -> None:
        """The lake cannot be written; its rows are kept and tried again."""
        self.log.error("lake_append_failed", error=error)

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

    def log_trimmed(self, *, records: int) -> None:
        """Old log records that the lake holds were forgotten."""
        self.log.debug("log_trimmed", records=records)

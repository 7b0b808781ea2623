"""Log events (noun and past participle) and metrics of the Tracking API."""

from collections import Counter

import prometheus_client
import structlog

_requests = prometheus_client.Counter(
    "punchcard_ingest_requests", "Tracking API requests by call and response status.", ["call", "status"]
)
_bytes = prometheus_client.Counter("punchcard_ingest_bytes", "Bytes of durable request bodies, as received.")
_unknown_keys = prometheus_client.Counter(
    "punchcard_ingest_unknown_write_keys", "Requests with a write key that no source has."
)
_commit_seconds = prometheus_client.Histogram(
    "punchcard_ingest_durable_seconds",
    "Per commit: from arrival of the oldest body until it was durable.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)


class IngestTelemetry:
    """The Tracking API's log lines and metrics."""

    def __init__(self) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("punchcard.ingest")
        # Incrementing the metrics directly costs more than everything else for a small request, so requests are counted
        # here and published once per commit.
        self._counts: Counter[tuple[str, int]] = Counter()
        self._is_failing = False

    def request_answered(self, call: str, status: int) -> None:
        """A response was sent."""
        self._counts[call, status] += 1

    def publish_counts(self) -> None:
        """Add the counts to the metrics."""
        for (call, status), count in self._counts.items():
            _requests.labels(call, str(status)).inc(count)
        self._counts.clear()

    def records_appended(self, *, size_bytes: int, seconds: float) -> None:
        """The bodies of one commit are durable."""
        _bytes.inc(size_bytes)
        _commit_seconds.observe(seconds)
        self.publish_counts()
        if self._is_failing:
            self._is_failing = False
            self._log.info("event_log_recovered")

    def unknown_key_received(self, write_key: str) -> None:
        """A request has a write key that no source has; it is stored, and its events end as unknown_source."""
        _unknown_keys.inc()
        self._log.debug("unknown_write_key_received", ends_with=write_key[-4:] if len(write_key) >= 8 else "")

    def rejected_requests_lost(self, *, count: int, error: str) -> None:
        """Rejected requests could not be stored for their source's page."""
        self._log.warning("rejected_requests_lost", count=count, error=error)

    def deletion_requested(self, *, source: str) -> None:
        """A sender has requested the deletion of a user's data; nothing is deleted automatically."""
        self._log.warning("deletion_requested", source=source, next_step="GET /api/regulations lists all requests.")

    def append_failed(self, *, error: str) -> None:
        """Nothing can be made durable, and senders get 503. Logged once until it works again."""
        if not self._is_failing:
            self._is_failing = True
            self._log.error(
                "event_log_append_failed",
                error=error,
                next_step="Free disk space or bring the log back. Senders retry.",
            )

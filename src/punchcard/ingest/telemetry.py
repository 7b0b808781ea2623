"""What the Tracking API tells: log lines (noun and past participle) and metrics."""

import structlog
from prometheus_client import Counter, Histogram

_requests = Counter("punchcard_ingest_requests", "Tracking API requests by call and answer.", ["call", "status"])
_bytes = Counter("punchcard_ingest_bytes", "Bytes of request bodies made durable, as received.")
_unknown_keys = Counter("punchcard_ingest_unknown_write_keys", "Requests with a write key that no source has.")
_commit_seconds = Histogram(
    "punchcard_ingest_durable_seconds",
    "From a whole request body to its being durable.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)


class IngestTelemetry:
    """The Tracking API's log lines and metrics."""

    def __init__(self) -> None:
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("punchcard.ingest")
        # Looking a label up costs more than counting; there are few calls and statuses.
        self._by_call: dict[tuple[str, int], Counter] = {}
        self._is_failing = False

    def request_answered(self, call: str, status: int) -> None:
        """One request got its answer."""
        key = call, status
        counter = self._by_call.get(key)
        if counter is None:
            counter = self._by_call[key] = _requests.labels(call, str(status))
        counter.inc()

    def record_appended(self, *, size_bytes: int, seconds: float) -> None:
        """One body is durable."""
        _bytes.inc(size_bytes)
        _commit_seconds.observe(seconds)
        if self._is_failing:
            self._is_failing = False
            self._log.info("event_log_recovered")

    def unknown_key_met(self, write_key: str) -> None:
        """A request came with a key that no source has; it is kept, and its events end as unknown_source."""
        _unknown_keys.inc()
        self._log.debug("unknown_write_key_met", ends_with=write_key[-4:] if len(write_key) >= 8 else "")

    def append_failed(self, *, error: str) -> None:
        """Nothing can be made durable: senders get 503. Said once until it works again."""
        if not self._is_failing:
            self._is_failing = True
            self._log.error(
                "event_log_append_failed", error=error, next_step="free disk space; senders are told to retry"
            )

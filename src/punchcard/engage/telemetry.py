"""Log events (noun and past participle) and metrics of Engage."""

from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter, Histogram

_events = Counter("punchcard_engage_events", "Events read from the lake.")
_step = Histogram(
    "punchcard_engage_step_seconds",
    "Duration of one step: identity resolution, computing and saving.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_latency = Histogram(
    "punchcard_engage_latency_seconds",
    "From receipt of the newest event of a step to the commit of its changes.",
    buckets=(0.25, 0.5, 1, 2, 3, 4, 5, 7.5, 10, 30, 300, 3600),
)
_changes = Counter("punchcard_engage_changes", "Changed values, by audience or computed trait.", ["key"])
_calls = Counter("punchcard_engage_calls", "Calls appended to the event log, by destination.", ["destination"])
_differences = Counter(
    "punchcard_engage_differences", "Wrong values found by a full computation; each is a defect.", ["key"]
)


@dataclass(frozen=True)
class EngageTelemetry:
    """Engage's log lines and metrics."""

    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.engage"))

    def step_taken(self, *, events: int, seconds: float, latency_seconds: float | None) -> None:
        """A batch of events and all its changes are committed."""
        _events.inc(events)
        _step.observe(seconds)
        if latency_seconds is not None:
            _latency.observe(max(0.0, latency_seconds))

    def values_changed(self, key: str, count: int) -> None:
        """People have entered or left an audience, or have a new value."""
        _changes.labels(key).inc(count)

    def computed_in_full(self, key: str, *, size: int, changes: int, seconds: float) -> None:
        """An audience or trait was computed for everybody."""
        self.log.info("computed_in_full", key=key, size=size, changes=changes, seconds=round(seconds, 3))

    def differences_found(self, key: str, count: int) -> None:
        """A full computation differs from the values that were kept up to date, which is a defect. It was corrected."""
        _differences.labels(key).inc(count)
        self.log.error(
            "differences_found", key=key, differences=count, next_step="Please report this with the definition."
        )

    def computing_failed(self, key: str, *, error: str) -> None:
        """A definition cannot be computed; the others go on."""
        self.log.error("computing_failed", key=key, error=error)

    def facts_restored(self, *, people: int, events: int, seconds: float) -> None:
        """The facts were restored from lake and store."""
        self.log.info("facts_restored", people=people, events=events, seconds=round(seconds, 1))

    def snapshot_written(self, *, size: int, seconds: float) -> None:
        """A snapshot of the facts is beside the lake."""
        self.log.info("facts_snapshot_written", bytes=size, seconds=round(seconds, 1))

    def snapshot_failed(self, *, error: str) -> None:
        """No snapshot of the facts was written; the one before remains, and the next is written in time."""
        self.log.warning("facts_snapshot_failed", error=error)

    def snapshot_fetched(self, *, position: int) -> None:
        """This process goes on from a snapshot of the facts, because its own files are older."""
        self.log.info("facts_snapshot_fetched", position=position)

    def event_not_read(self, *, message_id: str, error: Exception) -> None:
        """An event counts for nobody, because Punchcard fails on it."""
        self.log.error("event_not_read", message_id=message_id, exc_info=error)

    def calls_sent(self, destination: str, count: int) -> None:
        """Calls about changed values are in the event log."""
        _calls.labels(destination).inc(count)

    def account_changed(self, destination: str, *, before: str, account: str) -> None:
        """The settings of a destination name another account, to which everybody is synced now."""
        self.log.info("account_changed", destination=destination, before=before, account=account)

    def sync_failed(self, destination: str, key: str, *, profile_id: int, error: Exception) -> None:
        """A profile's value is not synced, because Punchcard fails on it; the others are."""
        self.log.error("sync_failed", destination=destination, key=key, profile=profile_id, exc_info=error)

    def storage_failed(self, *, error: str) -> None:
        """Store, lake or facts failed; the step is retried."""
        self.log.error("storage_failed", error=error)

"""What delivery tells: log lines (noun and past participle) and metrics."""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import structlog
from prometheus_client import Counter, Histogram


class BatchHistogram(Histogram):
    """A histogram that takes many values at once: a number that processes share is locked for each change of it."""

    def observe_all(self, values: Sequence[float]) -> None:
        """Observe each of the values."""
        for place, count in Tally(bisect_left(self._upper_bounds, value) for value in values).items():
            self._buckets[place].inc(count)
        self._sum.inc(sum(values))


_attempts = Counter(
    "punchcard_delivery_attempts", "Delivery attempts by outcome.", ["destination", "action", "outcome"]
)
_attempt_seconds = BatchHistogram(
    "punchcard_delivery_attempt_seconds",
    "How long the partner took to answer one request.",
    ["destination"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_award_seconds = BatchHistogram(
    "punchcard_delivery_latency_seconds",
    "From receipt of an event to the partner's confirmation of its effect.",
    ["destination"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 3600, 14400, 86400),
)


@dataclass(frozen=True)
class DeliveryTelemetry:
    """Delivery's log lines and metrics for one destination."""

    destination: str
    log: structlog.stdlib.BoundLogger = field(default_factory=lambda: structlog.get_logger("punchcard.delivery"))
    _attempts_of: dict[tuple[str, str], Counter] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _attempt_seconds(self) -> BatchHistogram:
        return _attempt_seconds.labels(self.destination)

    @cached_property
    def _award_seconds(self) -> BatchHistogram:
        return _award_seconds.labels(self.destination)

    def attempts_completed(self, *, outcomes: Mapping[tuple[str, str], int], seconds: Sequence[float]) -> None:
        """Attempts ended.

        Args:
            outcomes: The number of attempts by action and outcome.
            seconds: How long each has taken.
        """
        for (action, outcome), count in outcomes.items():
            counter = self._attempts_of.get((action, outcome))
            if counter is None:  # looking it up among all labels costs more than counting
                counter = self._attempts_of[action, outcome] = _attempts.labels(self.destination, action, outcome)
            counter.inc(count)
        self._attempt_seconds.observe_all(seconds)

    def effects_delivered(self, *, seconds: Sequence[float]) -> None:
        """Effects were performed, each so many seconds after its event was received."""
        self._award_seconds.observe_all(seconds)

    def effect_parked(self, *, effect_key: str, state: str, reason: str | None, detail: str | None) -> None:
        """An effect was parked or rejected: it needs attention."""
        self.log.warning(
            "effect_parked",
            destination=self.destination,
            effect_key=effect_key,
            state=state,
            reason=reason,
            detail=detail,
        )

    def destination_paused(self, *, detail: str) -> None:
        """The partner refuses the credentials: reported once, everything stays queued."""
        self.log.error(
            "destination_paused",
            destination=self.destination,
            detail=detail,
            next_step="if it lasts, paste a valid API key into the destination's settings; delivery resumes by itself",
        )

    def destination_resumed(self, *, by: str) -> None:
        """The settings have changed, or the partner accepts the credentials again: delivery goes on."""
        self.log.info("destination_resumed", destination=self.destination, by=by)

    def credential_check_failed(self, *, error: BaseException) -> None:
        """Our own defect during a check of the credentials; it is repeated later."""
        self.log.error("credential_check_failed", destination=self.destination, exc_info=error)

    def waits_corrected(self, *, count: int) -> None:
        """The clock was set, or this process has just begun: due times that cannot be meant were corrected."""
        self.log.warning("waits_corrected", destination=self.destination, count=count)

    def orphans_released(self, *, count: int) -> None:
        """Effects that a stopped worker had in flight will be read back."""
        self.log.warning("orphans_released", destination=self.destination, count=count)

    def late_results_ignored(self, *, count: int) -> None:
        """Results came for attempts that are no longer the newest of their effects."""
        self.log.warning("late_answers_ignored", destination=self.destination, count=count)

    def storage_failed(self, *, error: str) -> None:
        """The store could not be written; nothing new is sent until it can."""
        self.log.error("storage_failed", destination=self.destination, error=error)

    def attempt_failed_unexpectedly(self, *, effect_key: str, error: BaseException) -> None:
        """Our own defect in a client: its outcome counts as unknown."""
        self.log.error(
            "attempt_failed_unexpectedly", destination=self.destination, effect_key=effect_key, exc_info=error
        )

    def preparation_failed(self, *, effect_key: str, error: BaseException) -> None:
        """Our own defect before anything was sent: the effect is parked."""
        self.log.error("preparation_failed", destination=self.destination, effect_key=effect_key, exc_info=error)

    def settlement_failed(self, *, effect_key: str, error: BaseException) -> None:
        """Our own defect while an answer was recorded: its outcome counts as unknown."""
        self.log.error("settlement_failed", destination=self.destination, effect_key=effect_key, exc_info=error)

    def wake_failed(self, *, effect_key: str, error: BaseException) -> None:
        """Our own defect after a result was recorded: what waits for the effect is prepared again in time."""
        self.log.error("wake_failed", destination=self.destination, effect_key=effect_key, exc_info=error)

    def cycle_failed(self, *, error: BaseException) -> None:
        """Our own defect in a unit of work of many effects: it is done again, each effect by itself."""
        self.log.error("delivery_cycle_failed", destination=self.destination, exc_info=error)

    def loop_failed(self, *, error: BaseException) -> None:
        """Our own defect outside of any effect: the destination goes on after a moment."""
        self.log.error("delivery_loop_failed", destination=self.destination, exc_info=error)

    def report_failed(self, *, error: BaseException) -> None:
        """Our own defect in log lines or metrics of what is committed already."""
        self.log.error("delivery_report_failed", destination=self.destination, exc_info=error)

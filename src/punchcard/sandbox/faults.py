"""The bad days that can be switched on: which fault hits a request, and how the throttle counts.

Faults are no part of the stored state: a sandbox that is started again is healthy.
"""

import enum
import math
from collections import Counter
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError

BODILESS_STATUSES = frozenset({204, 205, 304})


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What is switched on; the defaults are a healthy service.

    `status`, `reset`, `after_commit` and `html` go wrong for one request in `1 / rate`; the other switches always hold.
    Without `after_commit`, a hit request is not performed: its connection is reset, else it is answered with `status`
    (503 if only `html` is set). With `after_commit`, a hit write is performed and then its answer is lost: 504, or a
    reset connection; a hit read suffers from `status` alone, so that a reader can find out what was stored.
    """

    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    rate: Annotated[float, Meta(ge=0, le=1)] = 1.0
    retry_after: Annotated[int, Meta(ge=0, le=86_400)] | None = None
    after_commit: bool = False
    reset: bool = False
    latency_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    html: bool = False
    duplicate_answer: Literal["400", "409", "200", 400, 409, 200, "accept"] = "400"
    fractional: Literal["accept", "round", "refuse"] = "accept"
    negative: Literal["accept", "refuse"] = "accept"
    requests_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None

    @property
    def accepts_duplicates(self) -> bool:
        """Whether a reused `trans_source_id` is stored a second time, as a service does that does not look at it."""
        return self.duplicate_answer == "accept"

    @property
    def duplicate_status(self) -> int:
        """The status that answers a reused `trans_source_id` where it is refused."""
        return int(self.duplicate_answer)

    def strikes(self, *, is_write: bool) -> "Strike | None":
        """How a hit request goes wrong, None if nothing is switched on for its kind."""
        if self.after_commit:
            if is_write:
                return Strike.ANSWER_LOST
            return Strike.ANSWERED if self.status is not None else None
        if self.reset:
            return Strike.RESET
        return Strike.ANSWERED if self.status is not None or self.html else None


class Strike(enum.Enum):
    """The ways in which a request goes wrong."""

    RESET = "reset"  # the connection is torn down, nothing is performed
    ANSWERED = "answered"  # an error is answered, nothing is performed
    ANSWER_LOST = "answer_lost"  # performed, and the answer never arrives


def parse_faults(body: bytes) -> Faults:
    """Read the JSON of `PUT /sandbox/faults`.

    Raises:
        ConfigurationError: it is no JSON object, or a key or value is not known; the message says which.
    """
    try:
        faults = msgspec.json.decode(body, type=Faults)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"These faults cannot be switched on: {exc}", code="invalid_faults") from exc
    if faults.status in BODILESS_STATUSES:
        raise ConfigurationError(f"status {faults.status} has no body to answer with", code="invalid_faults")
    return faults


class Misfortune:
    """Holds what is switched on, decides for each request, and counts what happened."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults = Faults()
        self._tokens = 0.0
        self._refilled_at = 0.0
        self.counts: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        """What is switched on."""
        return self._faults

    def switch(self, faults: Faults) -> None:
        """Switch exactly these faults on; the throttle starts with a full allowance."""
        self._faults = faults
        self._tokens = _burst(faults)
        self._refilled_at = self._clock.monotonic()

    def seconds_to_wait(self) -> int:
        """Take one request out of the allowance: 0 if there was one left, else whole seconds until there is."""
        rate = self._faults.requests_per_second
        if rate is None:
            return 0
        now = self._clock.monotonic()
        self._tokens = min(_burst(self._faults), self._tokens + (now - self._refilled_at) * rate)
        self._refilled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0
        self.counts["throttled"] += 1
        return max(1, math.ceil((1 - self._tokens) / rate))

    def strike(self, *, is_write: bool) -> Strike | None:
        """Throw the dice for one request."""
        strike = self._faults.strikes(is_write=is_write)
        if strike is None or self._clock.jitter() >= self._faults.rate:
            return None
        self.counts[strike.value] += 1
        return strike


def _burst(faults: Faults) -> float:
    return max(1.0, faults.requests_per_second or 1.0)

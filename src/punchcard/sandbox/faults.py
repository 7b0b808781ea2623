"""Faults to enable: which fault a request gets, and how the throttle counts.

Faults are not stored: a restarted sandbox has none.
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
    """The enabled faults; by default none.

    `status`, `reset`, `after_commit` and `html` fail the fraction `rate` of all requests; the others always apply.
    Without `after_commit`, the request is not performed: its connection is reset, or the response is `status` (503 if
    only `html` is set). With `after_commit`, a write is performed and then its response is lost: 504, or a reset
    connection; a read only fails with `status`, so that a client can find out what was stored.
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
        """Whether a reused `trans_source_id` is stored again, as by a service that ignores it."""
        return self.duplicate_answer == "accept"

    @property
    def duplicate_status(self) -> int:
        """The status with which a reused `trans_source_id` is refused."""
        return int(self.duplicate_answer)

    def fault_for(self, *, is_write: bool) -> "Fault | None":
        """Return the fault of a failing request, None if none is enabled for its kind."""
        if self.after_commit:
            if is_write:
                return Fault.RESPONSE_LOST
            return Fault.ERROR if self.status is not None else None
        if self.reset:
            return Fault.RESET
        return Fault.ERROR if self.status is not None or self.html else None


class Fault(enum.Enum):
    """How a request fails."""

    RESET = "reset"  # the connection is reset without performing anything
    ERROR = "error"  # an error response without performing anything
    RESPONSE_LOST = "response_lost"  # performed, and the response is lost


def parse_faults(body: bytes) -> Faults:
    """Read the JSON of `PUT /sandbox/faults`.

    Raises:
        ConfigurationError: The JSON is invalid, or has an unknown key or value; the message says which.
    """
    try:
        faults = msgspec.json.decode(body, type=Faults)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"The faults are invalid: {exc}.", code="invalid_faults") from exc
    if faults.status in BODILESS_STATUSES:
        message = f"Status {faults.status} has no response body. Choose another status."
        raise ConfigurationError(message, code="invalid_faults")
    return faults


class FaultInjector:
    """Holds the enabled faults, decides for each request, and counts requests and faults."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults = Faults()
        self._tokens = 0.0
        self._refilled_at = 0.0
        self.counts: Counter[str] = Counter()

    @property
    def faults(self) -> Faults:
        """The enabled faults."""
        return self._faults

    def set_faults(self, faults: Faults) -> None:
        """Enable exactly these faults; the throttle starts with a full allowance."""
        self._faults = faults
        self._tokens = _burst(faults)
        self._refilled_at = self._clock.monotonic()

    def seconds_to_wait(self) -> int:
        """Take a request out of the allowance; return 0 if there was one left, else the whole seconds to wait."""
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

    def next_fault(self, *, is_write: bool) -> Fault | None:
        """Choose at random whether a request fails, and return its fault."""
        fault = self._faults.fault_for(is_write=is_write)
        if fault is None or self._clock.jitter() >= self._faults.rate:
            return None
        self.counts[fault.value] += 1
        return fault


def _burst(faults: Faults) -> float:
    return max(1.0, faults.requests_per_second or 1.0)

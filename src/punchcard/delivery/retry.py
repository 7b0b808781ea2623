"""When to try again: exponential waits with jitter, ten tries over about four hours by default."""

from typing import Final

from punchcard.destinations.port import DeliveryOptions
from punchcard.errors import RetryableError

# The ninth wait of the default schedule: 30 s, 1, 2, 4 … 64 min, then 90 min instead of 128 (times 0.8 to 1.2).
_LONGEST_WAIT_IN_BASES = 180.0
_SPREAD = 0.4
# A partner may ask for any time; an award is looked at again after four hours all the same.
_RETRY_AFTER_MAX_SECONDS = 4 * 3_600.0
# A shorter wait than planned is followed so often; a partner that is down for an hour and says "in a second" would
# otherwise use up all tries of an award within seconds.
_SHORTER_WAITS_MAX = 3
# One response must not stop a destination for hours, unseen: after five minutes another award asks again. The award
# that was slowed down waits for all of the time, which its trace shows, unless the partner has taken another since.
_SLOW_DOWN_MAX_SECONDS = 300.0
# How soon an award is tried again that the partner has put off for longer, once it has taken another one.
_AFTER_OTHERS_SECONDS = 600.0
# Where the partner names no time.
_SLOW_DOWN_SECONDS = 1.0


def wait_seconds(tries: int, *, base_seconds: float, jitter: float, retry_after_seconds: float | None = None) -> float:
    """Return how long to wait after the `tries`-th failed try.

    Args:
        tries: Tries made so far, at least 1.
        base_seconds: The first wait.
        jitter: A random factor in [0, 1); spreads the wait between 0.8 and 1.2 of its length.
        retry_after_seconds: What the partner requires; not undercut, four hours at most. Where it is shorter than
            planned, it is followed for the first three tries.

    Returns:
        Seconds.
    """
    planned = base_seconds * min(2.0 ** min(tries - 1, 30), _LONGEST_WAIT_IN_BASES)
    planned *= 1 - _SPREAD / 2 + _SPREAD * jitter
    if retry_after_seconds is None:
        return planned
    # All that were given the same moment would come back at the same moment.
    requested_seconds = bounded(retry_after_seconds) * (1 + _SPREAD / 2 * jitter)
    return requested_seconds if tries <= _SHORTER_WAITS_MAX else max(requested_seconds, planned)


LONGEST_WAIT_TRIES: Final = 9
"""From so many tries on, the wait does not grow any more."""


def wait_after_others_seconds(tries: int, *, options: DeliveryOptions) -> float:
    """What an effect waits at most once the partner has performed another one.

    Undercuts neither the schedule of its tries nor the time in which a lost request may still be performed.
    """
    planned = wait_seconds(max(tries, 1), base_seconds=options.retry_base_seconds, jitter=1.0)
    return max(_AFTER_OTHERS_SECONDS, planned, options.unknown_wait_seconds + options.request_timeout_seconds)


def longest_wait_seconds(options: DeliveryOptions) -> float:
    """What no effect of a destination ever waits longer than: a due time further away was not meant.

    The clock was set forward when such a time was written down, and back since.
    """
    planned = options.retry_base_seconds * _LONGEST_WAIT_IN_BASES * (1 + _SPREAD / 2)
    longest_requested_seconds = _RETRY_AFTER_MAX_SECONDS * (1 + _SPREAD / 2)
    return max(planned, longest_requested_seconds, options.unknown_wait_seconds + options.request_timeout_seconds)


def check_wait_seconds(checks: int, *, options: DeliveryOptions, jitter: float) -> float:
    """Return how long to wait before refused credentials are checked once more.

    Args:
        checks: How often they were checked in vain.
        jitter: A random factor in [0, 1); spreads the wait between 0.8 and 1.2 of its length.
    """
    planned = min(options.check_base_seconds * 2.0 ** min(checks, 30), options.check_longest_seconds)
    return planned * (1 - _SPREAD / 2 + _SPREAD * jitter)


def longest_check_wait_seconds(options: DeliveryOptions) -> float:
    """What no check of credentials is ever further away than."""
    return options.check_longest_seconds * (1 + _SPREAD / 2)


def bounded(retry_after_seconds: float) -> float:
    """Return the wait that the partner requires, within bounds."""
    return min(max(0.0, retry_after_seconds), _RETRY_AFTER_MAX_SECONDS)


def slow_down_seconds(result: RetryableError) -> float:
    """Return for how long a destination gets nothing that has asked for fewer requests: five minutes at most."""
    try:
        return min(bounded(result.retry_after_seconds or _SLOW_DOWN_SECONDS), _SLOW_DOWN_MAX_SECONDS)
    except TypeError:  # recording the result says so of its effect
        return _SLOW_DOWN_SECONDS

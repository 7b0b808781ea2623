"""When to try again: exponential waits with jitter, ten tries over about four hours by default."""

# The ninth wait of the default schedule: 30 s, 1, 2, 4 … 64 min, then 90 min instead of 128 (times 0.8 to 1.2).
_LONGEST_WAIT_IN_BASES = 180.0
_SPREAD = 0.4
# A partner may ask for any time; an award is looked at again after a day all the same.
_RETRY_AFTER_MAX_SECONDS = 86_400.0


def wait_seconds(tries: int, *, base_seconds: float, jitter: float, retry_after_seconds: float | None = None) -> float:
    """How long to wait after the `tries`-th failed try.

    Args:
        tries: Tries made so far, at least 1.
        base_seconds: The first wait.
        jitter: A random factor in [0, 1); spreads the wait between 0.8 and 1.2 of its length.
        retry_after_seconds: What the partner asked for; not undercut, followed where it is shorter too, a day at most.

    Returns:
        Seconds.
    """
    if retry_after_seconds is not None:
        # All that were told the same moment would come back at the same moment.
        return bounded(retry_after_seconds) * (1 + _SPREAD / 2 * jitter)
    planned = base_seconds * min(2.0 ** min(tries - 1, 30), _LONGEST_WAIT_IN_BASES)
    return planned * (1 - _SPREAD / 2 + _SPREAD * jitter)


def bounded(retry_after_seconds: float) -> float:
    """What the partner asked for, as a number of seconds that makes sense."""
    return min(max(0.0, retry_after_seconds), _RETRY_AFTER_MAX_SECONDS)

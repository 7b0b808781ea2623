"""When to try again: exponential waits with jitter, ten tries over about four hours by default."""

# The ninth wait of the default schedule: 30 s, 1, 2, 4 … 64 min, then 90 min instead of 128 (times 0.8 to 1.2).
_LONGEST_WAIT_IN_BASES = 180.0
_SPREAD = 0.4


def wait_seconds(tries: int, *, base_seconds: float, jitter: float, retry_after_seconds: float | None = None) -> float:
    """How long to wait after the `tries`-th failed try.

    Args:
        tries: Tries made so far, at least 1.
        base_seconds: The first wait.
        jitter: A random factor in [0, 1); spreads the wait between 0.8 and 1.2 of its length.
        retry_after_seconds: What the partner asked for; never undercut, and followed where it is shorter too.

    Returns:
        Seconds.
    """
    if retry_after_seconds is not None:
        # All that were told the same moment would come back at the same moment.
        return retry_after_seconds * (1 + _SPREAD / 2 * jitter)
    planned = base_seconds * min(2.0 ** min(tries - 1, 30), _LONGEST_WAIT_IN_BASES)
    return planned * (1 - _SPREAD / 2 + _SPREAD * jitter)

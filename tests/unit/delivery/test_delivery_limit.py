import pytest

from punchcard.delivery.limit import TokenBucket
from punchcard.testing.clock import ManualClock


def granted(bucket: TokenBucket, clock: ManualClock, *, seconds: float, step: float = 0.01) -> int:
    total = 0
    for _ in range(round(seconds / step)):
        clock.advance(step)
        now = bucket.available()
        bucket.take(now)
        total += now
    return total


@pytest.mark.parametrize("per_second", [0.5, 2, 50, 400])
def test_no_more_than_the_rate_is_granted_and_no_less(per_second: float) -> None:
    clock = ManualClock()
    bucket = TokenBucket(per_second, clock)
    assert granted(bucket, clock, seconds=20) == pytest.approx(20 * per_second, abs=2)


def test_a_quiet_time_allows_a_burst_of_a_tenth_of_a_second_only() -> None:
    clock = ManualClock()
    bucket = TokenBucket(100, clock)
    clock.advance(3_600)
    assert bucket.available() == 10


def test_a_slow_rate_grants_one_at_once_and_says_how_long_the_next_takes() -> None:
    clock = ManualClock()
    bucket = TokenBucket(2, clock)
    assert bucket.available() == 1
    bucket.take(1)
    assert bucket.available() == 0
    assert bucket.seconds_until_one() == pytest.approx(0.5)
    clock.advance(bucket.seconds_until_one())
    assert bucket.available() == 1


def test_zero_means_no_limit() -> None:
    clock = ManualClock()
    bucket = TokenBucket(0, clock)
    assert bucket.available() > 100_000
    bucket.take(100_000)
    assert bucket.available() > 100_000
    assert bucket.seconds_until_one() == 0


def test_a_limit_set_later_holds_from_then_on() -> None:
    clock = ManualClock()
    bucket = TokenBucket(0, clock)
    bucket.take(1_000)
    bucket.set_rate(2)
    clock.advance(1)
    assert bucket.available() == 1
    bucket.set_rate(0)
    assert bucket.available() > 100_000


@pytest.mark.parametrize("per_second", [0, 100])
def test_nothing_is_granted_until_the_partner_wants_requests_again(per_second: float) -> None:
    clock = ManualClock()
    bucket = TokenBucket(per_second, clock)
    bucket.slow_down(30)
    assert bucket.available() == 0
    assert bucket.seconds_until_one() == pytest.approx(30)
    clock.advance(29.99)
    assert bucket.available() == 0
    clock.advance(1)
    assert bucket.available() >= 1


def test_the_rate_starts_from_half_however_long_the_pause_and_recovers_within_ten_seconds() -> None:
    clock = ManualClock()
    bucket = TokenBucket(100, clock)
    bucket.slow_down(600)
    clock.advance(600)
    assert granted(bucket, clock, seconds=1) == pytest.approx(53, abs=3)
    granted(bucket, clock, seconds=9)
    assert granted(bucket, clock, seconds=10) == pytest.approx(1_000, abs=5)


def test_many_refusals_of_one_moment_halve_the_rate_once() -> None:
    clock = ManualClock()
    bucket = TokenBucket(100, clock)
    for _ in range(50):
        bucket.slow_down(1)
    clock.advance(1)
    assert granted(bucket, clock, seconds=1) == pytest.approx(53, abs=3)


def test_refusals_again_and_again_slow_down_to_a_sixteenth_and_no_further() -> None:
    clock = ManualClock()
    bucket = TokenBucket(160, clock)
    for _ in range(20):
        bucket.slow_down(1)
        clock.advance(1)
    assert granted(bucket, clock, seconds=1) == pytest.approx(10 + 4, abs=3)


def test_a_shorter_wish_does_not_end_a_longer_pause() -> None:
    clock = ManualClock()
    bucket = TokenBucket(10, clock)
    bucket.slow_down(60)
    bucket.slow_down(1)
    clock.advance(30)
    assert bucket.available() == 0

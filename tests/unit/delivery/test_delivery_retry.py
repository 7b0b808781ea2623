import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.delivery.retry import (
    check_wait_seconds,
    longest_check_wait_seconds,
    longest_wait_seconds,
    slow_down_seconds,
    wait_seconds,
)
from punchcard.destinations.port import DeliveryOptions
from punchcard.errors import RetryableError

OPTIONS = st.builds(
    DeliveryOptions, retry_base_seconds=st.floats(0.01, 3_600), unknown_wait_seconds=st.floats(0, 9_000)
)
MIDDLE = 0.5  # the jitter that neither shortens nor lengthens


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        pytest.param(tries, seconds, id=f"after try {tries}")
        for tries, seconds in enumerate([30, 60, 120, 240, 480, 960, 1_920, 3_840, 5_400], start=1)
    ],
)
def test_waits_double_up_to_an_hour_and_a_half(tries: int, expected: float) -> None:
    assert wait_seconds(tries, base_seconds=30, jitter=MIDDLE) == pytest.approx(expected)


@pytest.mark.parametrize(("jitter", "hours"), [(0.0, 2.9), (MIDDLE, 3.625), (0.999, 4.35)])
def test_ten_tries_take_about_four_hours(jitter: float, hours: float) -> None:
    waited = sum(wait_seconds(tries, base_seconds=30, jitter=jitter) for tries in range(1, 10))
    assert waited / 3_600 == pytest.approx(hours, rel=0.001)


@pytest.mark.parametrize(
    ("requested", "shortest", "longest"),
    [
        pytest.param(0.0, 0.0, 0.0, id="at once"),
        pytest.param(7.0, 7.0, 8.4, id="shorter than planned"),
        pytest.param(600.0, 600.0, 720.0, id="longer than planned"),
        pytest.param(-5.0, 0.0, 0.0, id="negative"),
        pytest.param(1e12, 14_400.0, 1.2 * 14_400, id="thirty thousand years"),
        pytest.param(float("inf"), 14_400.0, 1.2 * 14_400, id="for ever"),
        pytest.param(float("nan"), 0.0, 0.0, id="not a number"),
    ],
)
def test_what_the_partner_asks_for_is_followed_within_reason(requested: float, shortest: float, longest: float) -> None:
    for jitter in (0.0, 0.5, 0.999):
        wait = wait_seconds(3, base_seconds=30, jitter=jitter, retry_after_seconds=requested)
        assert shortest <= wait <= longest


def test_a_partner_that_is_down_for_hours_and_says_in_a_second_uses_up_no_tries_within_seconds() -> None:
    for requested in (0.0, 1.0):
        waits = [wait_seconds(n, base_seconds=30, jitter=0.5, retry_after_seconds=requested) for n in range(1, 10)]
        assert waits[:3] == pytest.approx([1.1 * requested] * 3)
        assert sum(waits) > 3 * 3_600


@given(st.integers(1, 10**9), st.floats(0, 0.999), st.one_of(st.none(), st.floats(allow_nan=True)), OPTIONS)
def test_no_wait_is_longer_than_the_longest(
    tries: int, jitter: float, requested: float | None, options: DeliveryOptions
) -> None:
    base = options.retry_base_seconds
    wait = wait_seconds(tries, base_seconds=base, jitter=jitter, retry_after_seconds=requested)
    assert 0 <= wait <= longest_wait_seconds(options)
    check = check_wait_seconds(tries, options=options, jitter=jitter)
    assert 0 < check <= longest_check_wait_seconds(options)


def test_checks_begin_after_seconds_and_grow_to_minutes() -> None:
    waits = [check_wait_seconds(n, options=DeliveryOptions(), jitter=MIDDLE) for n in range(9)]
    assert waits == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300, 300])


@given(st.integers(1, 10**9), st.floats(0, 0.999), st.floats(0.001, 3_600))
def test_a_wait_is_positive_and_bounded_whatever_the_number_of_tries(tries: int, jitter: float, base: float) -> None:
    assert 0.8 * base <= wait_seconds(tries, base_seconds=base, jitter=jitter) <= 1.2 * 180 * base


@pytest.mark.parametrize(
    ("retry_after_seconds", "slow_down"), [(None, 1), (0, 1), (-5, 0), (2, 2), (300, 300), (301, 300), (14_400, 300)]
)
def test_one_response_stops_a_destination_for_minutes_at_most(
    retry_after_seconds: float | None, slow_down: float
) -> None:
    slowed_down = RetryableError("slow", status=429, retry_after_seconds=retry_after_seconds)
    assert slow_down_seconds(slowed_down) == slow_down

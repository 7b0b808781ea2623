"""Times as senders write them, and the correction for a clock that is wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.times import corrected, read_time

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

READABLE = [
    ("2026-01-01T00:00:00Z", NEW_YEAR),
    ("2026-01-01T00:00:00.000Z", NEW_YEAR),
    ("2026-01-01T00:00:00.123456Z", NEW_YEAR + timedelta(microseconds=123_456)),
    ("2026-01-01T00:00:00.123456789Z", NEW_YEAR + timedelta(microseconds=123_456)),
    ("2026-01-01T01:00:00+01:00", NEW_YEAR),
    ("2025-12-31T16:00:00-0800", NEW_YEAR),
    ("2026-01-01T00:00:00", NEW_YEAR),
    ("2026-01-01 00:00:00", NEW_YEAR),
    ("2026-01-01", NEW_YEAR),
    ("20260101T000000Z", NEW_YEAR),
    ("2026-01-01 00:00:00 +0000 UTC", NEW_YEAR),
    ("2026-01-01 00:00:00.000000001 +0000 UTC m=+1.5", NEW_YEAR),
    ("2026-01-01 01:00:00 +0100 CET", NEW_YEAR),
]


@pytest.mark.parametrize(("text", "expected"), READABLE)
def test_a_time_in_a_usual_form_is_read(text: str, expected: datetime) -> None:
    found = read_time(text)
    assert found == expected
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2026-13-01", "2026-01-01T25:00:00Z", "1767225600", 1_767_225_600, None, True, ["2026-01-01"],
     "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01 00:00:00 +9900 X"],
)  # fmt: skip
def test_what_nobody_can_have_meant_is_none(value: object) -> None:
    assert read_time(value) is None


def test_a_wrong_clock_is_corrected_by_when_it_sent() -> None:
    received = NEW_YEAR
    slow = timedelta(hours=-5)
    happened = corrected(
        NEW_YEAR - timedelta(minutes=2) + slow, sent_at=NEW_YEAR - timedelta(seconds=1) + slow, received_at=received
    )
    assert happened == NEW_YEAR - timedelta(minutes=2) + timedelta(seconds=1)


def test_without_its_own_time_an_event_happened_when_it_was_received() -> None:
    assert corrected(None, sent_at=NEW_YEAR, received_at=NEW_YEAR + timedelta(1)) == NEW_YEAR + timedelta(1)


def test_without_the_time_of_sending_the_senders_word_stands() -> None:
    assert corrected(NEW_YEAR, sent_at=None, received_at=NEW_YEAR + timedelta(1)) == NEW_YEAR


instants = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(original=instants, sent_at=instants, received_at=st.just(NEW_YEAR))
def test_a_corrected_time_is_always_one_that_can_be_told(
    original: datetime, sent_at: datetime, received_at: datetime
) -> None:
    found = corrected(original, sent_at=sent_at, received_at=received_at)
    assert 1900 <= found.year <= 9998
    assert found.tzinfo is UTC


@given(text=st.text(max_size=40))
def test_reading_a_time_never_fails(text: str) -> None:
    found = read_time(text)
    assert found is None or found.tzinfo is UTC

"""Times as senders write them, and the correction for a clock that is wrong."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.times import correct_time, read_time

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


OTHER_FORMS = [
    ("1767225600", NEW_YEAR),
    ("1767225600.5", NEW_YEAR + timedelta(milliseconds=500)),
    ("1767225600000", NEW_YEAR),
    ("1767225600000000", NEW_YEAR),
    ("1767225600000000000", NEW_YEAR),
    ("1672531201302", datetime(2023, 1, 1, 0, 0, 1, 302_000, tzinfo=UTC)),
    ("2001010112301", datetime(2033, 5, 29, 20, 8, 32, 301_000, tzinfo=UTC)),
    (1_767_225_600, NEW_YEAR),
    (1_767_225_600_000, NEW_YEAR),
    (1_767_225_600.5, NEW_YEAR + timedelta(milliseconds=500)),
    (Decimal("1767225600.123456"), NEW_YEAR + timedelta(microseconds=123_456)),
    (Decimal("1.7672256e9"), NEW_YEAR),
    ("20260101000000", NEW_YEAR),
    (20_260_101_000_000, NEW_YEAR),
    ("2026-01-01 00:00:00 UTC", NEW_YEAR),
    ("2026-01-01 00:00:00 utc", NEW_YEAR),
    ("2026-01-01 00:00:00.000 UTC", NEW_YEAR),
    ("2026-01-01 00:00:00 GMT", NEW_YEAR),
    ("2026-01-01 02:00:00 GMT+2", NEW_YEAR),
    ("2026-01-01 01:00:00 +01:00 CET", NEW_YEAR),
    ("2025-12-31 19:00:00 EST", NEW_YEAR),
    ("2025-12-31 16:00 America/Los_Angeles", NEW_YEAR),
    ("2026-01-01T01:00:00+01:00[Europe/Berlin]", NEW_YEAR),
    ("2026-01-01T01:00[Europe/Berlin]", NEW_YEAR),
    ("2026-01-01T00:00:00Z[UTC]", NEW_YEAR),
    ("2026-01-01T00:00[GMT]", NEW_YEAR),
    ("Jan 1, 2026, 12:00:00\u202fAM", NEW_YEAR),
    ("2026-01-01\u00a000:00:00 UTC", NEW_YEAR),
    ("2026-01-01t00:00:00z", NEW_YEAR),
    ("2026-01-01T01:00:00+01", NEW_YEAR),
    ("2026-01-01T00:00:00,5Z", NEW_YEAR + timedelta(milliseconds=500)),
    ("2025-12-31T24:00:00Z", NEW_YEAR),
    ("2025-12-31 24:00", NEW_YEAR),
    ("2025-12-31T23:59:60Z", NEW_YEAR - timedelta(seconds=1)),
    ("2026-W01-4", NEW_YEAR),
    ("2026-w01-4t00:00:00z", NEW_YEAR),
    ("2026-001", NEW_YEAR),
    ("2026/01/01 00:00:00", NEW_YEAR),
    ("2026.1.1", NEW_YEAR),
    ("  2026-01-01T00:00:00Z\n", NEW_YEAR),
    ("2026-01-01 12:00:00 AM", NEW_YEAR),
    ("Thu, 01 Jan 2026 00:00:00 +0000", NEW_YEAR),
    ("Thu, 1 Jan 2026 00:00:00 GMT", NEW_YEAR),
    ("1 Jan 2026 01:00:00 +0100", NEW_YEAR),
    ("Wed, 31 Dec 2025 16:00:00 -0800 (PST)", NEW_YEAR),
    ("Thursday, 01-Jan-2026 00:00:00 UTC", NEW_YEAR),
    ("Thu Jan  1 00:00:00 2026", NEW_YEAR),
    ("Thu Jan 01 00:00:00 UTC 2026", NEW_YEAR),
    ("Wed Dec 31 19:00:00 EST 2025", NEW_YEAR),
    ("Thu Jan 01 2026 01:00:00 GMT+0100 (Central European Standard Time)", NEW_YEAR),
    ("Wed Dec 31 2025 19:00:00 GMT-0500 (Eastern Standard Time)", NEW_YEAR),
    ("January 1, 2026 12:00 AM", NEW_YEAR),
]


@pytest.mark.parametrize(("text", "expected"), [*READABLE, *OTHER_FORMS])
def test_a_time_in_a_usual_form_is_read(text: object, expected: datetime) -> None:
    instant = read_time(text)
    assert instant == expected
    assert instant is not None
    assert instant.tzinfo is UTC


AMBIGUOUS = [
    "03/11/2025", "3/11/2025 10:00", "03.11.2025", "03-11-2025", "25/12/2025", "11/3/25", "2025-11", "Nov 2025",
    "Monday", "10:00:00", "2025-11-03 10:00:00 BST", "2025-11-03 10:00:00 IST", "2025-11-03 10:00:00 Nowhere/City",
    "2025-02-30", "2025-11-03 10:00:00 and more",
    "0", "17", "20251", "12345678", 0, -1, 17, 12_345_678, 20_251_103, 10**25, 1e300,
    float("nan"), float("inf"), Decimal("1e999999"), Decimal("1e-999999"), 10**4_000, "9" * 30, {"seconds": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", AMBIGUOUS)
def test_a_time_that_could_mean_several_is_not_guessed(value: object) -> None:
    assert read_time(value) is None


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2026-13-01", "2026-01-01T25:00:00Z", None, True, ["2026-01-01"],
     "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-01 00:00:00 +9900 X"],
)  # fmt: skip
def test_what_nobody_can_have_meant_is_none(value: object) -> None:
    assert read_time(value) is None


def test_a_wrong_clock_is_corrected_by_when_it_sent() -> None:
    received = NEW_YEAR
    slow = timedelta(hours=-5)
    happened = correct_time(
        NEW_YEAR - timedelta(minutes=2) + slow, sent_at=NEW_YEAR - timedelta(seconds=1) + slow, received_at=received
    )
    assert happened == NEW_YEAR - timedelta(minutes=2) + timedelta(seconds=1)


def test_without_its_own_time_an_event_happened_when_it_was_received() -> None:
    assert correct_time(None, sent_at=NEW_YEAR, received_at=NEW_YEAR + timedelta(1)) == NEW_YEAR + timedelta(1)


def test_without_the_time_of_sending_the_senders_word_stands() -> None:
    assert correct_time(NEW_YEAR, sent_at=None, received_at=NEW_YEAR + timedelta(1)) == NEW_YEAR


instants = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(original=instants, sent_at=instants, received_at=st.just(NEW_YEAR))
def test_a_corrected_time_is_always_one_that_can_be_shown(
    original: datetime, sent_at: datetime, received_at: datetime
) -> None:
    result = correct_time(original, sent_at=sent_at, received_at=received_at)
    assert 1900 <= result.year <= 9998
    assert result.tzinfo is UTC


WORDS = st.sampled_from(
    [
        "2025",
        "11",
        "03",
        "10:00",
        "24:00",
        ":60",
        "Nov",
        "Mon,",
        "UTC",
        "GMT",
        "+0100",
        "-",
        "/",
        ".",
        "T",
        "Z",
        "PM",
        "(x)",
        "[",
        "Europe/Berlin",
        " ",
    ]
)


@given(text=st.text(max_size=40) | st.lists(WORDS, max_size=9).map(" ".join) | st.lists(WORDS, max_size=9).map("".join))
def test_reading_a_time_never_fails(text: str) -> None:
    instant = read_time(text)
    assert instant is None or instant.tzinfo is UTC

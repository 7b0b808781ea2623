"""Every status has one meaning, in Segment's retry classes; what was perhaps taken is not called surely not taken."""

from datetime import UTC, datetime

import pytest

from punchcard.destinations.webhooks.responses import Meaning, error_of, meaning_of
from punchcard.errors import DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def error(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> DeliveryError | None:
    return error_of(status, headers or {}, body, now=NOW, secrets=("hunter22", "x", ""))


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        (range(200, 300), Meaning.DELIVERED),
        ([408, 423, 429], Meaning.RETRYABLE),
        ([500, 503, 505, 511, 520, 598, 599], Meaning.RETRYABLE),
        ([502, 504], Meaning.UNKNOWN),
        ([*range(100, 200), 0, 999, -1], Meaning.UNKNOWN),
        ([400, 401, 403, 404, 405, 410, 413, 422, 451, 499, 501], Meaning.REJECTED),
        (range(300, 400), Meaning.REJECTED),
    ],
)
def test_statuses_mean_what_segment_says(statuses: list[int], meaning: Meaning) -> None:
    assert {meaning_of(status) for status in statuses} == {meaning}


def test_every_status_becomes_a_result() -> None:
    kinds = {
        Meaning.DELIVERED: type(None),
        Meaning.RETRYABLE: RetryableError,
        Meaning.REJECTED: RejectedError,
        Meaning.UNKNOWN: OutcomeUnknownError,
    }
    for status in range(100, 1000):
        assert type(error(status)) is kinds[meaning_of(status)]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "rate_limited"),
        (503, "partner_unavailable"),
        (301, "webhook_redirected"),
        (401, "webhook_unauthorized"),
        (403, "webhook_unauthorized"),
        (400, "webhook_refused"),
        (501, "webhook_refused"),
        (504, "outcome_unknown"),
    ],
)
def test_errors_have_their_code(status: int, code: str) -> None:
    failure = error(status)
    assert failure is not None
    assert (failure.code, failure.status) == (code, status)


def test_retry_after_is_read() -> None:
    failure = error(503, headers={"Retry-After": "7"})
    assert isinstance(failure, RetryableError)
    assert failure.retry_after_seconds == 7


def test_the_response_is_shown_without_secrets_and_on_one_line() -> None:
    failure = error(400, b'no:\n "hunter22" is\x00 wrong \xff' + b"y" * 5000)
    assert failure is not None
    assert "hunter22" not in failure.message
    assert failure.message.startswith('the receiver answered 400: no: "•••" is  wrong')
    assert len(failure.message) < 400
    assert failure.message.isprintable()

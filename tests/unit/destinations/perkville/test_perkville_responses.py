"""Every status and every way a connection fails has one meaning; what may have been performed is never called safe."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from punchcard.destinations.http_connection import HttpConnectError, HttpError, HttpTimeoutError
from punchcard.destinations.http_text import retry_after_seconds
from punchcard.destinations.perkville.responses import (
    Content,
    Meaning,
    Operation,
    Response,
    error_of,
    error_of_exception,
    meaning_of,
    read_response,
)
from punchcard.destinations.perkville.wire import DEFAULT_WIRE
from punchcard.errors import CredentialsError, DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "s3cret-token"
HTML = b"<!DOCTYPE html><html><head><title>Just a moment</title></head></html>"

PERFORMED = set(range(200, 300))
CREDENTIALS = {401, 403}
RETRYABLE = {307, 308, 407, 408, 421, 423, 425, 429, 501, 503, 505, 511, 521, 523, 525, 526, 530}
UNKNOWN = {*range(100, 200), *range(300, 400), 499, *range(500, 600)} - RETRYABLE
REJECTED = set(range(400, 500)) - CREDENTIALS - RETRYABLE - UNKNOWN
BODIES: dict[Content, bytes | None] = {
    Content.OBJECT: b'{"transaction_id": 9}',
    Content.ERROR: b'{"errors": {"quantity": ["must be whole"]}}',
    Content.EMPTY: b" ",
    Content.INCOMPLETE: None,
    Content.PAGE: HTML,
    Content.OTHER: b'["must be whole"',
}


def respond(status: int, body: object = b"", **headers: str) -> Response:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return read_response(status, data, named)


def error(response: Response, operation: Operation = Operation.BOOK) -> DeliveryError | None:
    return error_of(response, DEFAULT_WIRE, operation=operation, now=NOW, secret=SECRET)


def v2(field: str, message: str, code: str) -> dict[str, object]:
    return {"error_type": "validation_error", "errors": {field: [{"message": message, "code": code}]}}


def expected_class(status: int, content: Content, operation: Operation) -> type[DeliveryError] | None:
    """The rules of the table once more, from the outside: what must never happen to an award."""
    is_read = operation is Operation.READ
    if status in CREDENTIALS:
        return RetryableError if status == 403 and content is Content.PAGE else CredentialsError
    if status in RETRYABLE:
        return RetryableError
    if status in PERFORMED:
        if content is Content.OBJECT or (operation is Operation.SET and content is Content.EMPTY):
            return None
    elif status in REJECTED and (content is Content.ERROR or (status == 409 and operation is Operation.BOOK)):
        return RejectedError
    return RetryableError if is_read else OutcomeUnknownError


def test_every_status_belongs_to_one_class() -> None:
    classes = (PERFORMED, CREDENTIALS, RETRYABLE, UNKNOWN, REJECTED)
    assert sorted(status for statuses in classes for status in statuses) == list(range(100, 600))


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("content", Content)
def test_every_status_with_every_body_has_its_class(content: Content, operation: Operation) -> None:
    for status in range(100, 600):
        problem = error(respond(status, BODIES[content]), operation)
        kind = None if problem is None else type(problem)
        assert (status, kind) == (status, expected_class(status, content, operation))
        assert problem is None or (problem.status == status and str(status) in problem.message)


@pytest.mark.parametrize("content", Content)
def test_every_content_is_distinguished(content: Content) -> None:
    assert respond(400, BODIES[content]).content is content


def test_statuses_that_http_does_not_know_are_no_success_and_no_refusal() -> None:
    for status in (0, 99, 600, 999, 10_000):
        for content in Content:
            for operation in Operation:
                meaning = meaning_of(status, content, operation)
                assert meaning is (Meaning.RETRYABLE if operation is Operation.READ else Meaning.UNKNOWN)


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        pytest.param(b'{"a": 1}', "text/html; charset=utf-8", Content.OBJECT, id="an-object-called-a-page"),
        pytest.param(b'{"a": 1}', "application/json; charset=bogus", Content.OBJECT, id="unknown-charset"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', "application/json", Content.OBJECT, id="byte-order-mark"),
        pytest.param('{"a": "é"}'.encode("latin-1"), "application/json; charset=latin-1", Content.OTHER, id="latin-1"),
        pytest.param('{"a": 1}'.encode("utf-16"), "application/json; charset=utf-16", Content.OTHER, id="utf-16"),
        pytest.param(b'{"a": NaN}', "application/json", Content.OTHER, id="nan"),
        pytest.param(b'{"a": Infinity}', "application/json", Content.OTHER, id="infinity"),
        pytest.param(b'{"a": 1', "application/json", Content.OTHER, id="cut"),
        pytest.param(b'{"a": 1} {"b": 2}', "application/json", Content.OTHER, id="two-objects"),
        pytest.param(b"[" * 100_000, "application/json", Content.OTHER, id="deep"),
        pytest.param(b'{"a": 1e99999999999999999999}', "application/json", Content.OTHER, id="beyond-decimals"),
        pytest.param(b'{"a": 1%s}' % (b"0" * 5000), "application/json", Content.OTHER, id="beyond-integers"),
        pytest.param(b'{"a": "\\ud800"}', "application/json", Content.OTHER, id="half-a-surrogate-pair"),
        pytest.param(b"null", "application/json", Content.OTHER, id="null"),
        pytest.param(b"ok", "text/plain", Content.OTHER, id="text"),
        pytest.param(b"Bad gateway", "text/html", Content.PAGE, id="text-called-a-page"),
        pytest.param(b"  <html>", "application/json", Content.PAGE, id="a-page-called-json"),
        pytest.param(b" \r\n", "text/html", Content.EMPTY, id="blanks"),
        pytest.param(b'{"errors": {}}', "application/json", Content.OBJECT, id="no-error-in-the-list-of-errors"),
        pytest.param(b'{"message": "created"}', "application/json", Content.OBJECT, id="a-success-with-a-message"),
        pytest.param(b'{"error_codes": [{"code": 10}]}', "application/json", Content.ERROR, id="a-code-alone"),
        pytest.param(b'{"errors": "no"}', "application/json", Content.ERROR, id="errors-as-text"),
    ],
)
def test_a_success_is_read_by_its_bytes_whatever_its_headers_say(
    body: bytes, content_type: str, content: Content
) -> None:
    assert respond(200, body, Content_Type=content_type).content is content


@pytest.mark.parametrize("status", [403, 503])
def test_a_page_of_the_edge_is_not_perkvilles_no(status: int) -> None:
    problem = error(respond(status, HTML, Content_Type="text/html"))
    assert isinstance(problem, RetryableError)
    assert "Just a moment" in problem.message


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        pytest.param(
            400,
            v2("perk", "Perk 5 does not exist", "does_not_exist"),
            "perk_unknown",
            "Perk 5 does not exist",
            id="perk",
        ),
        pytest.param(
            400,
            {
                "status": "failure",
                "error_codes": [{"message": "Perk 5 is not active", "code": "E004"}],
                "errors": ["x"],
            },
            "perk_unknown",
            "Perk 5 is not active",
            id="perk-v1",
        ),
        pytest.param(
            400, v2("location", "Location 9 is not active", "x"), "location_unknown", "Location 9", id="location"
        ),
        pytest.param(400, v2("business", "no", "x"), "business_unknown", "no", id="business"),
        pytest.param(400, v2("email", "Enter a valid email", "invalid"), "email_refused", "valid email", id="email"),
        pytest.param(
            400, v2("quantity", "must be whole", "x"), "rejected", "quantity: must be whole (x)", id="other-field"
        ),
        pytest.param(
            400, v2("trans_source_id", "already exists", "unique"), "duplicate_key", "already exists", id="duplicate"
        ),
        pytest.param(
            422, v2("__all__", "x", "duplicate_trans_source_id"), "duplicate_key", "x", id="duplicate-by-code"
        ),
        pytest.param(
            400,
            {"errors": {"__all__": ["trans_source_id was used before"]}},
            "duplicate_key",
            "used",
            id="duplicate-by-words",
        ),
        pytest.param(409, b"", "duplicate_key", "its body is empty", id="conflict-without-words-may-be-ours"),
        pytest.param(409, v2("quantity", "no", "x"), "rejected", "no", id="conflict-about-something-else"),
        pytest.param(400, {"message": "Missing field"}, "rejected", "Missing field", id="plain-message"),
        pytest.param(400, {"errors": ["first", "second"]}, "rejected", "first; second", id="list-of-texts"),
        pytest.param(400, {"errors": {"perk": None}}, "perk_unknown", "perk:", id="null"),
    ],
)
def test_a_rejection_has_a_code_and_perkvilles_words(status: int, body: object, code: str, words: str) -> None:
    problem = error(respond(status, body))
    assert isinstance(problem, RejectedError)
    assert problem.code == code
    assert words in problem.message


@pytest.mark.parametrize("field", ["perk", "location"])
def test_a_refused_property_says_nothing_of_what_only_a_transaction_has(field: str) -> None:
    problem = error(respond(400, v2(field, "unknown", "does_not_exist")), Operation.SET)
    assert isinstance(problem, RejectedError)
    assert problem.code == "rejected"
    assert f"{field}: unknown" in problem.message


@pytest.mark.parametrize(
    "body",
    [v2("__all__", "conflict", "x"), v2("trans_source_id", "already exists", "unique")],
    ids=["any", "duplicate"],
)
def test_a_property_has_no_key_that_could_be_used(body: object) -> None:
    problem = error(respond(409, body), Operation.SET)
    assert isinstance(problem, RejectedError)
    assert problem.code == "rejected"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(404, b"", "its body is empty", id="empty"),
        pytest.param(400, {}, "its body names no error", id="empty-object"),
        pytest.param(400, {"errors": 5, "error_codes": "x"}, "its body names no error", id="nonsense"),
        pytest.param(400, {"errors": {"__all__": [None]}}, "its body names no error", id="null"),
        pytest.param(400, b"[1, 2", "[1, 2", id="no-json"),
        pytest.param(404, HTML, 'an HTML page, "Just a moment"', id="page"),
        pytest.param(400, None, "broke off", id="broken-off"),
        pytest.param(422, ["no"], '["no"]', id="list"),
    ],
)
def test_a_refusal_that_nobody_can_read_refuses_nothing(status: int, body: object, words: str) -> None:
    for operation in Operation:
        problem = error(respond(status, body), operation)
        assert isinstance(problem, RetryableError if operation is Operation.READ else OutcomeUnknownError)
        assert words in problem.message
        assert operation is not Operation.READ or problem.code == "unreadable_response"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(status: int) -> None:
    problem = error(respond(status, Location="https://www.example.com/"), Operation.READ)
    assert isinstance(problem, RetryableError)
    assert problem.code == "redirected"
    assert "https://www.example.com/" in problem.message
    assert "apiBaseUrl" in problem.message


def test_the_token_and_long_pages_are_not_repeated() -> None:
    problem = error(respond(400, {"message": f"bad token {SECRET} " + "x" * 10_000}))
    assert problem is not None
    assert SECRET not in problem.message
    assert len(problem.message) < 700


@pytest.mark.parametrize("start", [*range(40), *range(3900, 4110)])
def test_no_part_of_the_token_is_left_where_a_message_is_cut(start: int) -> None:
    for body in (b" " * start + SECRET.encode(), {"message": " " * start + SECRET}):
        problem = error(respond(400, body))
        assert problem is not None
        assert "s3c" not in problem.message


def test_what_a_header_holds_can_be_stored_and_shown() -> None:
    problem = error(respond(500, X_Request_Id="\udcff\x00a"))
    assert problem is not None
    assert problem.message.isprintable()
    problem.message.encode()
    problem = error(respond(302, Location="\udcff\n\x00b" + "x" * 10_000))
    assert problem is not None
    problem.message.encode()
    assert len(problem.message) < 700


def test_the_partners_request_id_is_kept() -> None:
    problem = error(respond(500, CF_Ray="abc-FRA"))
    assert problem is not None
    assert problem.request_id == "abc-FRA"
    assert "abc-FRA" in problem.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param("7", 7.0, id="seconds"),
        pytest.param(" 1.5 ", 1.5, id="fraction"),
        pytest.param("Fri, 02 Jan 2026 03:05:05 GMT", 60.0, id="date"),
        pytest.param("Fri, 02 Jan 2026 03:05:05 -0000", 60.0, id="date-without-zone"),
        pytest.param("Fri, 02 Jan 2026 03:00:00 GMT", 0.0, id="date-gone-by"),
        pytest.param("0", 0.0, id="now"),
        pytest.param("5.", 5.0, id="point"),
        pytest.param("999999999", 14_400.0, id="absurd"),
        pytest.param("9" * 5000, 14_400.0, id="integer-beyond-all-bounds"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", 14_400.0, id="year-9999"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -2359", 14_400.0, id="behind-all-calendars"),
        pytest.param("Mon, 01 Jan 0001 00:00:00 +2359", 0.0, id="before-all-calendars"),
        pytest.param("Sat, 01 Jan 0000 00:00:00 GMT", 0.0, id="year-0-is-read-as-2000"),
        pytest.param("Fri, 01 Jan 99999 00:00:00 GMT", None, id="year-99999"),
        pytest.param("Fri, 02 Jan 2026 03:05:05 +9999999", None, id="absurd-zone"),
        pytest.param("Fri, 32 Jan 2026 03:05:05 GMT", None, id="no-such-day"),
        pytest.param("2026-01-02T03:05:05Z", None, id="iso"),
        pytest.param("soon", None, id="words"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1e400", None, id="exponent"),
        pytest.param("inf", None, id="infinity"),
        pytest.param("nan", None, id="nan"),
        pytest.param("0x10", None, id="hexadecimal"),
        pytest.param("٣", None, id="other-digits"),
        pytest.param("\udcff", None, id="not-utf-8"),
        pytest.param("", None, id="empty"),
        pytest.param("," * 10_000, None, id="commas"),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=NOW) == seconds
    if header is not None:
        problem = error(respond(429, Retry_After=header))
        assert isinstance(problem, RetryableError)
        assert (problem.code, problem.retry_after_seconds) == ("rate_limited", seconds)


@given(st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} -?\d{1,6} \d+:\d+:\d+ ?[+-]?\w*")))
def test_no_retry_after_raises_or_asks_for_more_than_four_hours(header: str) -> None:
    seconds = retry_after_seconds(header, now=NOW)
    assert seconds is None or 0 <= seconds <= 14_400


def failures_of_requests() -> list[HttpError]:
    """Every way in which the client says that there is no response."""
    kinds = [kind for kind in HttpError.__subclasses__() if kind is not HttpTimeoutError]
    return [
        *(kind("words") for kind in kinds),
        *(HttpTimeoutError("words", may_be_sent=may_be_sent) for may_be_sent in (True, False)),
    ]


@pytest.mark.parametrize("failure", failures_of_requests(), ids=lambda failure: f"{type(failure).__name__}")
def test_a_write_without_a_response_is_unknown_unless_surely_nothing_was_sent(failure: HttpError) -> None:
    expected = OutcomeUnknownError if failure.may_be_sent else RetryableError
    assert type(error_of_exception(failure, is_write=True)) is expected
    assert type(error_of_exception(failure, is_write=False)) is RetryableError


def test_only_a_failure_before_there_was_a_connection_is_surely_unsent() -> None:
    unsent = {type(failure) for failure in failures_of_requests() if not failure.may_be_sent}
    assert unsent == {HttpConnectError, HttpTimeoutError}

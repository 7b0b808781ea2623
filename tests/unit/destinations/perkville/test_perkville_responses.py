"""Every status and every way a connection fails has one meaning; what may have been performed is never called safe."""

import inspect
import json
from datetime import UTC, datetime

import aiohttp
import pytest
from multidict import CIMultiDict

from punchcard.destinations.perkville.responses import Response, error_of, error_of_exception, retry_after_seconds
from punchcard.destinations.perkville.wire import DEFAULT_WIRE
from punchcard.errors import CredentialsError, DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "s3cret-token"
HTML = b"<!DOCTYPE html><html><head><title>Just a moment</title></head></html>"

PERFORMED = set(range(200, 300))
CREDENTIALS = {401, 403}
RETRYABLE = {307, 407, 408, 421, 423, 425, 429, 503, 511, 521, 523, 525, 526, 530}
UNKNOWN = {*range(100, 200), 302, 303, 499, *range(500, 600)} - RETRYABLE - {501, 505}
REJECTED = set(range(100, 600)) - PERFORMED - CREDENTIALS - RETRYABLE - UNKNOWN


def answer(status: int, body: object = b"", **headers: str) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status=status, body=data, headers=named)


def error(response: Response, *, is_write: bool = True) -> DeliveryError | None:
    return error_of(response, DEFAULT_WIRE, is_write=is_write, now=NOW, secret=SECRET)


def v2(field: str, message: str, code: str) -> dict[str, object]:
    return {"error_type": "validation_error", "errors": {field: [{"message": message, "code": code}]}}


def expected_class(status: int) -> type[DeliveryError] | None:
    classes: list[tuple[set[int], type[DeliveryError] | None]] = [
        (PERFORMED, None),
        (CREDENTIALS, CredentialsError),
        (RETRYABLE, RetryableError),
        (UNKNOWN, OutcomeUnknownError),
        (REJECTED, RejectedError),
    ]
    (found,) = [kind for statuses, kind in classes if status in statuses]
    return found


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_of_a_write_has_its_class(status: int) -> None:
    found = error(answer(status))
    assert (None if found is None else type(found)) is expected_class(status)
    assert found is None or (found.status == status and str(status) in found.message)


@pytest.mark.parametrize("status", range(100, 600))
def test_what_a_read_did_is_never_in_doubt(status: int) -> None:
    assert not isinstance(error(answer(status), is_write=False), OutcomeUnknownError)


@pytest.mark.parametrize("status", [403, 503])
def test_a_page_of_the_edge_is_not_perkvilles_no(status: int) -> None:
    found = error(answer(status, HTML, Content_Type="text/html"))
    assert isinstance(found, RetryableError)
    assert "Just a moment" in found.message


def test_a_page_where_an_object_was_expected_proves_nothing() -> None:
    assert isinstance(error(answer(200, HTML)), OutcomeUnknownError)
    assert isinstance(error(answer(200, HTML), is_write=False), RetryableError)


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
        pytest.param(409, b"", "duplicate_key", "no words", id="conflict-without-words-may-be-ours"),
        pytest.param(409, v2("quantity", "no", "x"), "rejected", "no", id="conflict-about-something-else"),
        pytest.param(404, b"", "rejected", "no words", id="no-words"),
        pytest.param(400, {"message": "Missing field"}, "rejected", "Missing field", id="plain-message"),
        pytest.param(400, {"errors": ["first", "second"]}, "rejected", "first; second", id="list-of-texts"),
        pytest.param(400, {"errors": {"perk": None}}, "perk_unknown", "perk:", id="null"),
        pytest.param(400, {"errors": 5, "error_codes": "x"}, "rejected", "no words", id="nonsense"),
        pytest.param(400, b"[1, 2", "rejected", "[1, 2", id="no-json"),
        pytest.param(404, HTML, "rejected", "an HTML page", id="page"),
    ],
)
def test_a_rejection_has_a_code_and_perkvilles_words(status: int, body: object, code: str, words: str) -> None:
    found = error(answer(status, body))
    assert isinstance(found, RejectedError)
    assert found.code == code
    assert words in found.message


def test_a_redirect_says_where_to() -> None:
    found = error(answer(301, Location="https://www.example.com/"))
    assert isinstance(found, RejectedError)
    assert found.code == "redirected"
    assert "https://www.example.com/" in found.message
    assert "apiBaseUrl" in found.message


def test_the_token_and_long_pages_are_not_repeated() -> None:
    found = error(answer(400, {"message": f"bad token {SECRET} " + "x" * 10_000}))
    assert found is not None
    assert SECRET not in found.message
    assert len(found.message) < 700


def test_the_partners_request_id_is_kept() -> None:
    found = error(answer(500, CF_Ray="abc-FRA"))
    assert found is not None
    assert found.request_id == "abc-FRA"
    assert "abc-FRA" in found.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param("7", 7.0, id="seconds"),
        pytest.param(" 1.5 ", 1.5, id="fraction"),
        pytest.param("Fri, 02 Jan 2026 03:05:05 GMT", 60.0, id="date"),
        pytest.param("Fri, 02 Jan 2026 03:05:05 -0000", 60.0, id="date-without-zone"),
        pytest.param("Fri, 02 Jan 2026 03:00:00 GMT", 0.0, id="date-gone-by"),
        pytest.param("999999999", 14_400.0, id="absurd"),
        pytest.param("soon", None, id="words"),
        pytest.param("-5", None, id="negative"),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, now=NOW) == seconds
    if header is not None:
        found = error(answer(429, Retry_After=header))
        assert isinstance(found, RetryableError)
        assert (found.code, found.retry_after_seconds) == ("rate_limited", seconds)


def client_exceptions() -> list[type[Exception]]:
    own = [
        kind
        for kind in vars(aiohttp.client_exceptions).values()
        if inspect.isclass(kind) and issubclass(kind, aiohttp.ClientError)
    ]
    return [*own, TimeoutError, OSError, ConnectionResetError, BrokenPipeError]


def made(kind: type[Exception]) -> Exception:
    # Some of them take a whole request to make; only the class matters here.
    class Bare(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            Exception.__init__(self)

        def __str__(self) -> str:
            return ""

    return Bare()


@pytest.mark.parametrize("kind", client_exceptions(), ids=lambda kind: kind.__name__)
def test_every_client_exception_has_its_class(kind: type[Exception]) -> None:
    def classed(*, is_write: bool, may_be_written: bool) -> type[DeliveryError]:
        return type(error_of_exception(made(kind), is_write=is_write, may_be_written=may_be_written))

    assert classed(is_write=True, may_be_written=True) is OutcomeUnknownError
    assert classed(is_write=True, may_be_written=False) is RetryableError
    assert classed(is_write=False, may_be_written=True) is RetryableError
    assert classed(is_write=False, may_be_written=False) is RetryableError

"""What an answer of Perkville means: its status, its words, and which error says what happens next.

The rule behind the table: an error is *surely not performed* only if the answer can have come from nowhere but in front
of the place where transactions are booked, or from Perkville saying no. Everything else is unknown, and is read back.

A status alone proves nothing: `200` with an empty body and `404` with a page of a proxy are not from Perkville's API.
A success is believed with a JSON object, a rejection with a JSON object that names an error. A read that gets anything
else is tried again; a write that gets anything else is read back.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum

import msgspec

from punchcard.destinations.http_connection import HttpConnectError, HttpError
from punchcard.destinations.http_text import one_line, retry_after_seconds
from punchcard.destinations.perkville.complaints import Complaint, complains, read_complaints
from punchcard.destinations.perkville.wire import Wire, is_one_of
from punchcard.errors import CredentialsError, DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

WORDS_CHARACTERS_MAX = 500
_HTML_START = re.compile(rb"\s*<(?:!doctype|html|head|body|!--)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_SHOWN_MAX = 4096
_MASK = "•••"
_WHOLE_REQUEST = "__all__"  # the field of what is wrong with no field in particular
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_REQUEST_ID_HEADERS = ("X-Request-Id", "CF-Ray")


class Meaning(Enum):
    """What a status says about a request."""

    PERFORMED = "performed"  # done
    REJECTED = "rejected"  # no, and never
    CREDENTIALS = "credentials"  # no, until an operator has acted
    RETRYABLE = "retryable"  # not now
    UNKNOWN = "unknown"  # perhaps done


class Content(Enum):
    """What the body of a response is."""

    OBJECT = "object"  # a JSON object without a word of errors
    ERROR = "error"  # a JSON object that names an error
    EMPTY = "empty"  # nothing, or blanks
    INCOMPLETE = "incomplete"  # broken off, too long, or damaged by its compression
    PAGE = "page"  # HTML, so not Perkville's API
    OTHER = "other"  # JSON that is not an object, or not JSON


class Operation(Enum):
    """What a request does at Perkville, as far as it matters for a response that cannot be read."""

    READ = "read"  # changes nothing
    BOOK = "book"  # books a transaction: done twice, points are given twice
    SET = "set"  # sets a user property: done twice, nothing has changed


_MEANINGS: Mapping[int, Meaning] = {
    # A redirect is not followed, so that no other host sees the token. These two ask for the same request elsewhere;
    # the others may follow upon a performed one.
    307: Meaning.RETRYABLE,
    308: Meaning.RETRYABLE,
    401: Meaning.CREDENTIALS,
    403: Meaning.CREDENTIALS,
    407: Meaning.RETRYABLE,  # a proxy's, not Perkville's
    408: Meaning.RETRYABLE,
    421: Meaning.RETRYABLE,
    423: Meaning.RETRYABLE,
    425: Meaning.RETRYABLE,
    429: Meaning.RETRYABLE,
    499: Meaning.UNKNOWN,  # a proxy saw somebody hang up, after it may have passed the request on
    501: Meaning.RETRYABLE,
    503: Meaning.RETRYABLE,
    505: Meaning.RETRYABLE,
    511: Meaning.RETRYABLE,  # a network that wants a login in a browser
    # Cloudflare's own, of which these say that it never reached the server behind it.
    521: Meaning.RETRYABLE,
    523: Meaning.RETRYABLE,
    525: Meaning.RETRYABLE,
    526: Meaning.RETRYABLE,
    530: Meaning.RETRYABLE,
}
_MEANINGS_OF_CLASSES: Mapping[int, Meaning] = {
    1: Meaning.UNKNOWN,
    2: Meaning.PERFORMED,
    3: Meaning.UNKNOWN,
    4: Meaning.REJECTED,
    5: Meaning.UNKNOWN,
}
# With which body a status is believed; other meanings are believed with any.
_BELIEVED_WITH: Mapping[Meaning, Content] = {
    Meaning.PERFORMED: Content.OBJECT,
    Meaning.REJECTED: Content.ERROR,
}
# What a status is taken for that is not believed: nothing was asked for that cannot be asked for again, or read back.
_NOT_BELIEVED: Mapping[Operation, Meaning] = {
    Operation.READ: Meaning.RETRYABLE,
    Operation.BOOK: Meaning.UNKNOWN,
    Operation.SET: Meaning.UNKNOWN,
}
# Where Cloudflare turns a caller away with a page of its own; Perkville itself answers JSON.
_EDGE_STATUSES = frozenset({403, 503})
_MIGHT_BE_DUPLICATE = frozenset({400, 409, 422})
_NAMES_A_FIELD = frozenset({400, 404, 409, 422})
_CONFLICT = 409


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A complete response.

    Attributes:
        body: Its bytes, None if they could not be read to their end.
        headers: By name; looked up without regard to case.
        content: What the body is.
        json: The body as JSON, numbers with a fraction as Decimals; None if it is none.
    """

    status: int
    body: bytes | None
    headers: Mapping[str, str]
    content: Content
    json: object

    @property
    def request_id(self) -> str | None:
        """The id by which Perkville's people can find the request."""
        return next((one_line(self.headers[name])[:100] for name in _REQUEST_ID_HEADERS if name in self.headers), None)


def read_response(status: int, body: bytes | None, headers: Mapping[str, str]) -> Response:
    """Return a response with what its body is.

    Args:
        body: Its bytes, None if they could not be read to their end.
    """
    json = _json(body)
    return Response(
        status=status, body=body, headers=headers, content=_content(status, body, headers, json=json), json=json
    )


def _json(body: bytes | None) -> object:
    try:
        return _decode((body or b"").removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, ArithmeticError, RecursionError):
        return None


def _content(status: int, body: bytes | None, headers: Mapping[str, str], *, json: object) -> Content:
    if body is None:
        return Content.INCOMPLETE
    if isinstance(json, dict):
        # Many a success has a member `message`; of an error, it is the error.
        names_error = complains(json) if status < 300 else any(map(_says, read_complaints(json)))
        return Content.ERROR if names_error else Content.OBJECT
    if not body.strip():
        return Content.EMPTY
    if json is None and ("html" in headers.get("Content-Type", "").lower() or _HTML_START.match(body)):
        return Content.PAGE
    return Content.OTHER


def meaning_of(status: int, content: Content, operation: Operation) -> Meaning:
    """What a response says about a request."""
    meaning = _meaning_of_status(status)
    if meaning is Meaning.PERFORMED and content is Content.OBJECT:
        return meaning  # as almost always
    if content is Content.PAGE and status in _EDGE_STATUSES:
        return Meaning.RETRYABLE
    if meaning is Meaning.UNKNOWN and operation is Operation.READ:
        return Meaning.RETRYABLE
    if content is _BELIEVED_WITH.get(meaning, content):
        return meaning
    if meaning is Meaning.PERFORMED and content is Content.EMPTY and operation is Operation.SET:
        # 202 and 204 are usual responses to a PATCH, and no user property is lost that the next event would not set.
        return meaning
    if status == _CONFLICT and operation is Operation.BOOK:
        # Our own id may be in the way: a `duplicate_key` is read back, and nothing is sent again meanwhile.
        return meaning
    return _NOT_BELIEVED[operation]


def _meaning_of_status(status: int) -> Meaning:
    return _MEANINGS.get(status) or _MEANINGS_OF_CLASSES.get(status // 100, Meaning.UNKNOWN)


def error_of(
    response: Response, wire: Wire, *, operation: Operation, now: datetime, secret: str
) -> DeliveryError | None:
    """The error that a response stands for; None for success.

    Args:
        now: For a `Retry-After` given as a date.
        secret: The token: should the response repeat it, it is masked.
    """
    meaning = meaning_of(response.status, response.content, operation)
    if meaning is Meaning.PERFORMED:
        return None
    complaints = list(read_complaints(response.json))
    message = _message(response, complaints, secret)
    status, request_id = response.status, response.request_id
    match meaning:
        case Meaning.CREDENTIALS:
            return CredentialsError(message, status=status, request_id=request_id)
        case Meaning.REJECTED:
            code = _rejection_code(status, complaints, wire, operation)
            return RejectedError(message, code=code, status=status, request_id=request_id)
        case Meaning.UNKNOWN:
            return OutcomeUnknownError(message, status=status, request_id=request_id)
        case Meaning.RETRYABLE:
            wait = retry_after_seconds(response.headers.get("Retry-After"), now=now)
            return RetryableError(
                message, code=_retry_code(response), status=status, request_id=request_id, retry_after_seconds=wait
            )


def unreadable(response: Response, problem: str) -> RetryableError:
    """The error for a success with another object than the requested one.

    Args:
        problem: What is wrong with it, the rest of a sentence.
    """
    return RetryableError(
        f"Perkville answered {response.status}, but {problem}",
        code="unreadable_response",
        status=response.status,
        request_id=response.request_id,
    )


def error_of_exception(error: HttpError, *, is_write: bool) -> DeliveryError:
    """The error that a request without a response stands for."""
    name = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    name = one_line(name[:_SHOWN_MAX])[:WORDS_CHARACTERS_MAX]
    if is_write and error.may_be_sent:
        return OutcomeUnknownError(f"the connection to Perkville failed before its answer came ({name})")
    if isinstance(error, TimeoutError):
        return RetryableError(f"Perkville did not answer in time ({name})", code="timeout")
    if isinstance(error, HttpConnectError):
        shown = one_line(str(error)[:_SHOWN_MAX])[:WORDS_CHARACTERS_MAX]
        return RetryableError(f"Perkville cannot be reached ({shown})", code="unreachable")
    return RetryableError(f"the connection to Perkville failed ({name})", code="connection_failed")


def _retry_code(response: Response) -> str:
    if response.status == 429:
        return "rate_limited"
    if response.status // 100 == 3:
        return "redirected"
    return "unreadable_response" if _is_unbelieved(response) else "partner_unavailable"


def _is_unbelieved(response: Response) -> bool:
    return _meaning_of_status(response.status) in _BELIEVED_WITH


def _rejection_code(status: int, complaints: list[Complaint], wire: Wire, operation: Operation) -> str:
    is_booking = operation is Operation.BOOK  # only transactions have keys
    if is_booking and status in _MIGHT_BE_DUPLICATE and any(_is_duplicate(complaint, wire) for complaint in complaints):
        return "duplicate_key"
    if status in _NAMES_A_FIELD and operation is not Operation.SET:  # a property has neither perk nor location
        if any(
            complaint.field == wire.perk_key or is_one_of(complaint.code, wire.perk_codes) for complaint in complaints
        ):
            return "perk_unknown"
        if any(
            complaint.field == wire.location_key or is_one_of(complaint.code, wire.location_codes)
            for complaint in complaints
        ):
            return "location_unknown"
    if status in _NAMES_A_FIELD:
        if any(complaint.field == wire.business_key for complaint in complaints):
            return "business_unknown"
        if any(complaint.field == wire.email_key for complaint in complaints):
            return "email_refused"
    if (
        is_booking
        and status == _CONFLICT
        and not any(complaint.field not in ("", _WHOLE_REQUEST) for complaint in complaints)
    ):
        # It may well be our own id that is in the way: reading back decides, whatever the words are.
        return "duplicate_key"
    return "rejected"


def _is_duplicate(complaint: Complaint, wire: Wire) -> bool:
    if is_one_of(complaint.code, wire.duplicate_codes):
        return True
    about_id = complaint.field == wire.trans_source_id_key or wire.trans_source_id_key in complaint.message
    words = f"{complaint.code} {complaint.message}".lower()
    return about_id and any(word in words for word in ("unique", "duplicate", "already", "exists", "used"))


def _message(response: Response, complaints: list[Complaint], secret: str) -> str:
    # Masked before anything is cut, so that no part of the secret is left at an end.
    words = _words(response, complaints, secret).replace(secret, _MASK)[:_SHOWN_MAX]
    suffix = f" (request {response.request_id})" if response.request_id else ""
    return f"Perkville answered {response.status}: {one_line(words)[:WORDS_CHARACTERS_MAX]}{suffix}"


def _words(response: Response, complaints: list[Complaint], secret: str) -> str:
    if response.status // 100 == 3:
        target = response.headers.get("Location", "")
        return f"a redirect{f' to {target}' if target else ''}, which is not followed; check the option apiBaseUrl"
    words = "; ".join(_sentence(complaint) for complaint in complaints if _says(complaint))
    shown = (response.body or b"").replace(secret.encode(), _MASK.encode())[:_SHOWN_MAX].decode("utf-8", "replace")
    match response.content:
        case Content.ERROR:
            return words
        case Content.OBJECT:
            return words or "its body names no error"
        case Content.EMPTY:
            return "its body is empty"
        case Content.INCOMPLETE:
            return "its body broke off, is too long or is damaged"
        case Content.PAGE:
            title = _TITLE.search(shown)
            return f'its body is an HTML page, "{title[1]}"' if title else "its body is an HTML page"
        case Content.OTHER:
            return f"its body is not a JSON object: {shown}"


def _sentence(complaint: Complaint) -> str:
    where = "" if complaint.field in ("", _WHOLE_REQUEST) else f"{complaint.field}: "
    code = f" ({complaint.code})" if complaint.code else ""
    return f"{where}{complaint.message}{code}"


def _says(complaint: Complaint) -> bool:
    return bool(complaint.message or complaint.code or complaint.field not in ("", _WHOLE_REQUEST))

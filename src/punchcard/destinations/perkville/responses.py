"""What an answer of Perkville means: its status, its words, and which error says what happens next.

The rule behind the table: an error is *surely not performed* only if the answer can have come from nowhere but in front
of the place where transactions are booked, or from Perkville saying no. Everything else is unknown, and is read back.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from enum import Enum

import aiohttp
import msgspec

from punchcard.destinations.perkville.wire import Wire, is_one_of
from punchcard.errors import CredentialsError, DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

WORDS_CHARACTERS_MAX = 500
RETRY_AFTER_SECONDS_MAX = 4 * 3600.0
_HTML_START = re.compile(rb"\s*<(?:!doctype|html|head|body|!--)", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_REQUEST_ID_HEADERS = ("X-Request-Id", "CF-Ray")


class Meaning(Enum):
    """What a status says about a request."""

    PERFORMED = "performed"  # done
    REJECTED = "rejected"  # no, and never
    CREDENTIALS = "credentials"  # no, until an operator has acted
    RETRYABLE = "retryable"  # not now
    UNKNOWN = "unknown"  # perhaps done


_MEANINGS: Mapping[int, Meaning] = {
    # A redirect is not followed, so that no other host sees the token. 302 and 303 may follow upon a performed request.
    302: Meaning.UNKNOWN,
    303: Meaning.UNKNOWN,
    307: Meaning.RETRYABLE,
    401: Meaning.CREDENTIALS,
    403: Meaning.CREDENTIALS,
    407: Meaning.RETRYABLE,  # a proxy's, not Perkville's
    408: Meaning.RETRYABLE,
    421: Meaning.RETRYABLE,
    423: Meaning.RETRYABLE,
    425: Meaning.RETRYABLE,
    429: Meaning.RETRYABLE,
    499: Meaning.UNKNOWN,  # a proxy saw somebody hang up, after it may have passed the request on
    501: Meaning.REJECTED,
    503: Meaning.RETRYABLE,
    505: Meaning.REJECTED,
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
    3: Meaning.REJECTED,
    4: Meaning.REJECTED,
    5: Meaning.UNKNOWN,
}
# Where Cloudflare turns a caller away with a page of its own; Perkville itself answers JSON.
_EDGE_STATUSES = frozenset({403, 503})
_MIGHT_BE_DUPLICATE = frozenset({400, 409, 422})
_NAMES_A_FIELD = frozenset({400, 404, 409, 422})
_CONFLICT = 409


@dataclass(frozen=True, kw_only=True)
class Response:
    """One answer, whole.

    Attributes:
        body: Its bytes, None if they could not be read to their end.
        headers: By name; looked up without regard to case.
    """

    status: int
    body: bytes | None
    headers: Mapping[str, str]

    @property
    def is_html(self) -> bool:
        """Whether it is a page for people, so not Perkville's API speaking."""
        return "html" in self.headers.get("Content-Type", "").lower() or bool(_HTML_START.match(self.body or b""))

    @property
    def request_id(self) -> str | None:
        """The id by which Perkville's people can find the request."""
        return next((self.headers[name][:100] for name in _REQUEST_ID_HEADERS if name in self.headers), None)

    def json(self) -> object:
        """The body as JSON, numbers with a fraction as Decimals; None if it is none."""
        try:
            return _decode(self.body or b"")
        except (ValueError, ArithmeticError, RecursionError):
            return None


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """One thing that Perkville says is wrong.

    Attributes:
        field: The key it belongs to, "" if none.
        code: Its code, "" if none.
    """

    field: str
    message: str
    code: str


def meaning_of(status: int, *, is_html: bool) -> Meaning:
    """What a status means for a request that changes something."""
    if is_html and status in _EDGE_STATUSES:
        return Meaning.RETRYABLE
    if is_html and 200 <= status < 300:
        # A page where JSON was expected: somebody else has answered, and nobody knows for whom.
        return Meaning.UNKNOWN
    return _MEANINGS.get(status) or _MEANINGS_OF_CLASSES.get(status // 100, Meaning.UNKNOWN)


def error_of(response: Response, wire: Wire, *, is_write: bool, now: datetime, secret: str) -> DeliveryError | None:
    """The error that an answer stands for; None for success.

    Args:
        is_write: Whether the request may have changed something; what a lost read did is never in doubt.
        now: For a `Retry-After` given as a date.
        secret: The token: should the answer repeat it, it is masked.
    """
    meaning = meaning_of(response.status, is_html=response.is_html)
    if meaning is Meaning.PERFORMED:
        return None
    complaints = list(_complaints(response.json()))
    message = _message(response, complaints).replace(secret, "•••")
    status, request_id = response.status, response.request_id
    match meaning:
        case Meaning.CREDENTIALS:
            return CredentialsError(message, status=status, request_id=request_id)
        case Meaning.REJECTED:
            code = _rejection_code(status, complaints, wire)
            return RejectedError(message, code=code, status=status, request_id=request_id)
        case Meaning.UNKNOWN if is_write:
            return OutcomeUnknownError(message, status=status, request_id=request_id)
        case _:
            wait = retry_after_seconds(response.headers.get("Retry-After"), now=now)
            return RetryableError(
                message, code=_retry_code(status), status=status, request_id=request_id, retry_after_seconds=wait
            )


def error_of_exception(error: Exception, *, is_write: bool, may_be_written: bool) -> DeliveryError:
    """The error that a failed request stands for.

    Args:
        error: What aiohttp or the operating system raised before there was a status.
        may_be_written: Whether a connection stood, so that some of the request may have left.
    """
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    said = said[:WORDS_CHARACTERS_MAX]
    if is_write and may_be_written:
        return OutcomeUnknownError(f"the connection to Perkville failed before its answer came ({said})")
    if isinstance(error, TimeoutError):
        return RetryableError(f"Perkville did not answer in time ({said})", code="timeout")
    if isinstance(error, aiohttp.ClientConnectorError):
        return RetryableError(f"Perkville cannot be reached ({said})", code="unreachable")
    return RetryableError(f"the connection to Perkville failed ({said})", code="connection_failed")


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """The wait that a `Retry-After` header asks for, given in seconds or as a date; None if it makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text):
        return min(float(text), RETRY_AFTER_SECONDS_MAX)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date without a zone is in UTC, says the header's specification.
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _retry_code(status: int) -> str:
    return "rate_limited" if status == 429 else "partner_unavailable"


def _rejection_code(status: int, complaints: list[Complaint], wire: Wire) -> str:
    if status in _MIGHT_BE_DUPLICATE and any(_is_duplicate(one, wire) for one in complaints):
        return "duplicate_key"
    if status in _NAMES_A_FIELD:
        if any(one.field == wire.perk_key or is_one_of(one.code, wire.perk_codes) for one in complaints):
            return "perk_unknown"
        if any(one.field == wire.location_key or is_one_of(one.code, wire.location_codes) for one in complaints):
            return "location_unknown"
        if any(one.field == wire.business_key for one in complaints):
            return "business_unknown"
        if any(one.field == wire.email_key for one in complaints):
            return "email_refused"
    if status == _CONFLICT and not any(one.field not in ("", "__all__") for one in complaints):
        # It may well be our own id that is in the way: reading back decides, whatever the words are.
        return "duplicate_key"
    return "redirected" if status // 100 == 3 else "rejected"


def _is_duplicate(complaint: Complaint, wire: Wire) -> bool:
    if is_one_of(complaint.code, wire.duplicate_codes):
        return True
    about_id = complaint.field == wire.trans_source_id_key or wire.trans_source_id_key in complaint.message
    words = f"{complaint.code} {complaint.message}".lower()
    return about_id and any(word in words for word in ("unique", "duplicate", "already", "exists", "used"))


def _message(response: Response, complaints: list[Complaint]) -> str:
    words = "; ".join(_sentence(one) for one in complaints)
    if not words and response.is_html:
        words = _page_title(response.body or b"")
    if not words and not isinstance(response.json(), dict):
        words = _one_line((response.body or b"").decode("utf-8", "replace"))
    if response.status // 100 == 3:
        target = response.headers.get("Location", "")
        words = f"a redirect{f' to {target}' if target else ''}, which is not followed; check the option apiBaseUrl"
    found = f" (request {response.request_id})" if response.request_id else ""
    return f"Perkville answered {response.status}: {words[:WORDS_CHARACTERS_MAX] or 'no words'}{found}"


def _sentence(complaint: Complaint) -> str:
    where = "" if complaint.field in ("", "__all__") else f"{complaint.field}: "
    code = f" ({complaint.code})" if complaint.code else ""
    return f"{where}{_one_line(complaint.message)}{code}"


def _page_title(body: bytes) -> str:
    match = _TITLE.search(body.decode("utf-8", "replace"))
    return f'an HTML page, "{_one_line(match[1])}"' if match else "an HTML page"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))


def _complaints(body: object) -> Iterator[Complaint]:
    """What an error body says, in the shapes seen of either version of the API, and in the usual ones of others."""
    if not isinstance(body, dict):
        return
    errors = body.get("errors")
    codes = body.get("error_codes")
    if isinstance(errors, dict):
        for field, listed in errors.items():
            for one in listed if isinstance(listed, list) else [listed]:
                yield _complaint(str(field), one)
    elif isinstance(codes, list) and codes:
        for one in codes:
            yield _complaint("", one)
    elif isinstance(errors, list):
        for one in errors:
            yield _complaint("", one)
    else:
        for key in ("message", "detail", "error", "error_description", "error_message", "error_type"):
            if isinstance(body.get(key), str) and body[key]:
                yield Complaint(field="", message=body[key], code="")
                return


def _complaint(field: str, one: object) -> Complaint:
    if isinstance(one, dict):
        message, code = one.get("message"), one.get("code")
        return Complaint(
            field=field,
            message=message if isinstance(message, str) else "",
            code=str(code) if isinstance(code, str | int) else "",
        )
    return Complaint(field=field, message=one if isinstance(one, str) else "", code="")


def complains(body: object) -> bool:
    """Whether a JSON body speaks of errors, whatever its status."""
    return isinstance(body, dict) and (bool(body.get("errors")) or bool(body.get("error_codes")))

"""What the status of a receiver's response means, in the retry classes of Segment's destinations."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Final

from punchcard.destinations.http_text import one_line, retry_after_seconds
from punchcard.errors import DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

_RETRYABLE: Final = frozenset({408, 423, 429})
# A gateway says this when the server behind it has the request but did not answer in time.
_UNKNOWN: Final = frozenset({502, 504})
_NOT_IMPLEMENTED: Final = 501
_TOO_MANY_REQUESTS: Final = 429
_UNAUTHORIZED: Final = frozenset({401, 403})
_SHOWN_BYTES: Final = 2_000
_SHOWN_CHARACTERS: Final = 300
_MASK: Final = "•••"
_SHORTEST_SECRET: Final = 4


class Meaning(Enum):
    """What follows a response."""

    DELIVERED = "delivered"
    RETRYABLE = "retryable"  # surely not taken; later perhaps
    REJECTED = "rejected"  # surely not taken, and never will be
    UNKNOWN = "unknown"  # perhaps taken


def meaning_of(status: int) -> Meaning:
    """Return what a status means; every number has a meaning."""
    if 200 <= status < 300:
        return Meaning.DELIVERED
    if status in _RETRYABLE:
        return Meaning.RETRYABLE
    if status in _UNKNOWN or status < 200 or status > 599:
        return Meaning.UNKNOWN
    if status >= 500 and status != _NOT_IMPLEMENTED:
        return Meaning.RETRYABLE
    return Meaning.REJECTED


def error_of(
    status: int, headers: Mapping[str, str], body: bytes, *, now: datetime, secrets: tuple[str, ...]
) -> DeliveryError | None:
    """Return the error that a response stands for, None if the events were taken.

    Args:
        now: For a `Retry-After` given as a date.
        secrets: Texts that must not be shown, should the receiver repeat them.
    """
    meaning = meaning_of(status)
    if meaning is Meaning.DELIVERED:
        return None
    message = _message(status, headers, body, secrets)
    if meaning is Meaning.UNKNOWN:
        return OutcomeUnknownError(message, status=status)
    if meaning is Meaning.RETRYABLE:
        code = "rate_limited" if status == _TOO_MANY_REQUESTS else "partner_unavailable"
        wait = retry_after_seconds(headers.get("Retry-After"), now=now)
        return RetryableError(message, code=code, status=status, retry_after_seconds=wait)
    return RejectedError(message, code=_rejection_code(status), status=status)


def _rejection_code(status: int) -> str:
    if status < 400:
        return "webhook_redirected"
    return "webhook_unauthorized" if status in _UNAUTHORIZED else "webhook_refused"


def _message(status: int, headers: Mapping[str, str], body: bytes, secrets: tuple[str, ...]) -> str:
    if 300 <= status < 400:
        target = headers.get("Location", "")
        text = f"a redirect{f' to {target}' if target else ''}, which is not followed"
    else:
        text = body[:_SHOWN_BYTES].decode("utf-8", "replace")
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _MASK)
    shown = one_line(text)[:_SHOWN_CHARACTERS]
    return f"the receiver answered {status}{f': {shown}' if shown else ''}"

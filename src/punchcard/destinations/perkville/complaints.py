"""What a response of Perkville says is wrong, in the shapes of its API's versions and in the usual ones of others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

_COMPLAINTS_MAX = 20
_CODE_CHARACTERS_MAX = 100
_MESSAGE_KEYS = ("message", "detail", "error", "error_description", "error_message", "error_type")


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """A problem that Perkville names in a response.

    Attributes:
        field: The key it belongs to, "" if none.
        code: Its code, "" if none.
    """

    field: str
    message: str
    code: str


def read_complaints(body: object) -> Iterator[Complaint]:
    """What an error body says: the first twenty complaints, none if it is not a JSON object."""
    return islice(_complaints(body), _COMPLAINTS_MAX)


def complains(body: object) -> bool:
    """Whether a JSON body speaks of errors, whatever its status."""
    return isinstance(body, dict) and (bool(body.get("errors")) or bool(body.get("error_codes")))


def _complaints(body: object) -> Iterator[Complaint]:
    if not isinstance(body, Mapping):
        return
    errors = body.get("errors")
    codes = body.get("error_codes")
    if isinstance(errors, Mapping):
        for field, listed in errors.items():
            for item in listed if isinstance(listed, list) else [listed]:
                yield _complaint(str(field), item)
    elif isinstance(codes, list) and codes:
        for item in codes:
            yield _complaint("", item)
    elif isinstance(errors, list):
        for item in errors:
            yield _complaint("", item)
    else:
        for key in _MESSAGE_KEYS:
            if isinstance(body.get(key), str) and body[key]:
                yield Complaint(field="", message=body[key], code="")
                return


def _complaint(field: str, item: object) -> Complaint:
    if isinstance(item, Mapping):
        message, code = item.get("message"), item.get("code")
        return Complaint(
            field=field,
            message=message if isinstance(message, str) else "",
            # A number beyond all bounds has no text in Python.
            code=str(code)[:_CODE_CHARACTERS_MAX] if isinstance(code, str) or _is_small(code) else "",
        )
    return Complaint(field=field, message=item if isinstance(item, str) else "", code="")


def _is_small(code: object) -> bool:
    return isinstance(code, int) and not isinstance(code, bool) and abs(code) < 10**_CODE_CHARACTERS_MAX

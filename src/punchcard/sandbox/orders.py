"""The body of `POST /v2/transactions/`: its keys, types and limits.

The real names and limits are not published. An unknown key is refused instead of ignored, so that a misspelt key cannot
silently drop a `trans_source_id`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TypeVar

import msgspec

from punchcard.sandbox.error_bodies import WHOLE_REQUEST, FieldError
from punchcard.sandbox.resources import reference_id

SOURCE_ID_PATTERN = re.compile(r"[\x21-\x7e]{1,100}")
"""A `trans_source_id`: at most 100 printable ASCII characters."""

QUANTITY_PATTERN = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,6})?")
"""Plain decimals below 10^12 units; more decimal places than any currency has, no exponent, no blanks."""

_EMAIL_WORD = r"[^\s\x00-\x1f\x7f@<>(),;:\"\\.]+"
EMAIL_PATTERN = re.compile(rf"{_EMAIL_WORD}(?:\.{_EMAIL_WORD})*@{_EMAIL_WORD}(?:\.{_EMAIL_WORD})+")
EMAIL_LENGTH_MAX = 254


@dataclass(frozen=True, slots=True)
class Order:
    """A well-formed request; `awards` checks whether it is granted.

    Either `email` or `user_id` is set. `quantity` is what was sent, digit for digit.
    """

    business_id: int
    location_id: int
    perk_id: int
    quantity: Decimal
    email: str | None = None
    user_id: int | None = None
    send_email: bool = True
    trans_source_id: str | None = None
    limit_to_once_per_calendar_day: bool = False


Value = str | int | bool | Decimal | None
Read = Callable[[str, msgspec.Raw], Value | FieldError]

_Json = TypeVar("_Json")


def _json(raw: msgspec.Raw, kind: type[_Json]) -> _Json | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _read_reference(collection: str, key: str, raw: msgspec.Raw) -> Value | FieldError:
    text = _json(raw, str) or str(_json(raw, int) or "")
    item_id = reference_id(collection, text)
    if item_id is None:
        return FieldError(key, f"{key} must be a URI such as /v2/{collection}/1/, or an id", "invalid_reference")
    return item_id


def _read_bool(key: str, raw: msgspec.Raw) -> Value | FieldError:
    value = _json(raw, bool)
    return FieldError(key, f"{key} must be true or false", "invalid_boolean") if value is None else value


def _read_quantity(key: str, raw: msgspec.Raw) -> Value | FieldError:
    text = _json(raw, str)
    if text is None:
        value = _json(raw, Decimal)
        # A number may have an exponent and must not be expanded before it is known to be small.
        text = format(value, "f") if value is not None and value.is_finite() and -20 < value.adjusted() < 20 else ""
    if not QUANTITY_PATTERN.fullmatch(text):
        return FieldError(key, "quantity must be a decimal number of units", "invalid_quantity")
    return Decimal(text)


def _read_email(key: str, raw: msgspec.Raw) -> Value | FieldError:
    text = (_json(raw, str) or "").strip()
    if len(text) > EMAIL_LENGTH_MAX or not EMAIL_PATTERN.fullmatch(text):
        return FieldError(key, "Enter a valid email address", "invalid_email")
    return text


def _read_source_id(key: str, raw: msgspec.Raw) -> Value | FieldError:
    if bytes(raw) == b"null":
        return None
    text = _json(raw, str) or ""
    if not SOURCE_ID_PATTERN.fullmatch(text):
        return FieldError(key, f"{key} must be 1 to 100 printable ASCII characters", "invalid_trans_source_id")
    return text


_READERS: Mapping[str, tuple[str, Read]] = {
    # key on the wire: (field of an Order, reader)
    "business": ("business_id", partial(_read_reference, "businesses")),
    "location": ("location_id", partial(_read_reference, "locations")),
    "perk": ("perk_id", partial(_read_reference, "perks")),
    "email": ("email", _read_email),
    "user": ("user_id", partial(_read_reference, "users")),
    "quantity": ("quantity", _read_quantity),
    "send_email": ("send_email", _read_bool),
    "trans_source_id": ("trans_source_id", _read_source_id),
    "limit_to_once_per_calendar_day": ("limit_to_once_per_calendar_day", _read_bool),
}
_REQUIRED = ("business", "location", "perk", "quantity")


def read_object(body: bytes) -> dict[str, msgspec.Raw] | FieldError:
    """Return the members of a JSON object, with undecoded values."""
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return FieldError(WHOLE_REQUEST, f"The body is not a JSON object: {exc}", "invalid_json")


def read_order(body: bytes) -> Order | list[FieldError]:
    """Read a body; return all its problems if there are any."""
    keys = read_object(body)
    if isinstance(keys, FieldError):
        return [keys]
    problems = [FieldError(key, f"{key} is required", "required") for key in _REQUIRED if key not in keys]
    values: dict[str, Value] = {}
    for key, raw in keys.items():
        if key not in _READERS:
            problems.append(FieldError(key, f"{key} is not a field of a transaction", "unknown_field"))
            continue
        field, read = _READERS[key]
        value = read(key, raw)
        if isinstance(value, FieldError):
            problems.append(value)
        else:
            values[field] = value
    if ("email" in keys) == ("user" in keys):
        problems.append(FieldError("email", "Name the customer by either email or user", "required"))
    return problems or msgspec.convert(values, Order)

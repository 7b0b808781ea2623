"""Every JSON key, path and URI form of Perkville's API, in one table, and the requests and readings made of them.

The reference tables of Perkville's API could not be read when this was written. What is assumed is marked so in the
comments below; each of these names can be replaced by the option `wire`, e.g. `wire = { perkKey = "perk_id" }`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from punchcard.destinations.port import Effect
from punchcard.destinations.settings import SettingsProblem
from punchcard.errors import InvariantError
from punchcard.events.commerce import amount_text


@dataclass(frozen=True, kw_only=True)
class Wire:
    """The names. Those that say *may be empty* leave their part out of the request then."""

    # Paths: known from public clients.
    transactions_path: str = "/v2/transactions/"
    connections_path: str = "/v2/connections/"
    users_path: str = "/v2/users/"
    perks_path: str = "/v2/perks/"
    businesses_path: str = "/v2/businesses/"
    locations_path: str = "/v2/locations/"
    # How a request refers to an object: assumed, as answers do; "{id}" alone sends plain ids.
    business_reference: str = "/v2/businesses/{id}/"
    location_reference: str = "/v2/locations/{id}/"
    perk_reference: str = "/v2/perks/{id}/"
    # Keys of a posted transaction: only trans_source_id and quantity are documented.
    business_key: str = "business"
    location_key: str = "location"  # may be empty
    perk_key: str = "perk"
    email_key: str = "email"
    quantity_key: str = "quantity"
    send_email_key: str = "send_email"  # may be empty
    trans_source_id_key: str = "trans_source_id"
    # "text" sends "9.99", "number" sends 9.99; "true" sends the opposite of the setting sendEmail.
    quantity_form: str = "text"
    send_email_inverted: str = "false"
    # Lists: documented, but for the page size that is granted.
    business_filter: str = "business"
    email_filter: str = "user__emails__email"
    limit_filter: str = "limit"
    offset_filter: str = "offset"
    page_limit: str = "100"
    reconcile_page_limit: str = "1000"
    meta_key: str = "meta"
    objects_key: str = "objects"
    # Keys of answers.
    transaction_id_key: str = "transaction_id"
    transaction_status_key: str = "transaction_status"
    transaction_time_key: str = "transaction_dt"
    user_key: str = "user"
    emails_key: str = "emails"
    connection_id_key: str = "connection_id"
    attributes_key: str = "custom_attributes"
    balance_key: str = "point_balance"
    perk_id_key: str = "perk_id"
    points_key: str = "points"
    resource_uri_key: str = "resource_uri"
    classification_key: str = "classification"
    status_key: str = "status"
    # Values of answers, compared without regard to case; several are separated by commas.
    earning_classifications: str = "EARN"
    redeeming_classifications: str = "REDEEM"
    active_statuses: str = "ACTIVE"
    reversed_statuses: str = "VOID"
    offset_statuses: str = "VOID_REF"
    # Codes of errors: E003 to E005 and E000 to E002 are documented for the older API, the others are assumed.
    duplicate_codes: str = "duplicate_trans_source_id"
    perk_codes: str = "E003,E004,E005"
    location_codes: str = "E000,E001,E002"


DEFAULT_WIRE = Wire()

_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@%-]+/)*")
_NAMES_OF_REQUESTS = (
    (
        *("business_key", "location_key", "perk_key", "email_key", "quantity_key", "send_email_key"),
        "trans_source_id_key",
    ),
    ("business_filter", "email_filter", "limit_filter", "offset_filter"),
)
_MAY_BE_EMPTY = frozenset({"location_key", "send_email_key"})
_CHOICES = {"quantity_form": ("text", "number"), "send_email_inverted": ("false", "true")}
_PAGE_LIMIT_MAX = 1000
_ID_CHARACTERS_MAX = 100
_AMOUNT_CHARACTERS_MAX = 60
# A shorter text that a key begins with was typed by staff.
_CUT_KEY_CHARACTERS_MIN = 10
_OWN_KEY_BEGIN = "SEG:"
_KEY_PARTS_FIXED = 3  # `SEG`, scope and kind
_AMOUNT_DIGITS_MAX = 40


def override_names() -> Mapping[str, str]:
    """The names that the option `wire` may replace, camelCase, with the names they replace."""
    return {_camel(field.name): str(field.default) for field in fields(Wire)}


def read_wire(overrides: Mapping[str, str], *, problems: list[SettingsProblem]) -> Wire:
    """The table with some of its names replaced.

    Args:
        overrides: By camelCase name.
        problems: What is wrong is added here.
    """
    known = {_camel(field.name): field.name for field in fields(Wire)}
    changed: dict[str, str] = {}
    for key, value in overrides.items():
        path = f"options.wire.{key}"
        name = known.get(key)
        if name is None:
            problems.append(SettingsProblem(path=path, message=f"is not known; known: {', '.join(known)}"))
        elif (message := _override_problem(name, value)) is not None:
            problems.append(SettingsProblem(path=path, message=message))
        else:
            changed[name] = value
    wire = replace(DEFAULT_WIRE, **changed)
    problems.extend(_repeated_names(wire, changed))
    return wire


def _repeated_names(wire: Wire, changed: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """Yield the names that a request would hold twice, so that one value would be lost."""
    for group in _NAMES_OF_REQUESTS:
        for name in group:
            value = getattr(wire, name)
            same = next((other for other in group if other != name and value and getattr(wire, other) == value), None)
            if name in changed and same is not None:
                message = f'is "{value}", as {_camel(same)} is: a request cannot have both'
                yield SettingsProblem(path=f"options.wire.{_camel(name)}", message=message)


def _override_problem(name: str, value: str) -> str | None:
    if not value:
        return None if name in _MAY_BE_EMPTY else "must not be empty"
    if not value.isprintable():
        return "must not contain control characters"
    if name.endswith("_path") and not _PATH.fullmatch(value):
        return 'must be a path that begins and ends with "/", such as /v2/perks/; other characters are percent-encoded'
    if name.endswith("_reference") and "{id}" not in value:
        return 'must contain "{id}"'
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"must be one of {', '.join(_CHOICES[name])}"
    if name.endswith("page_limit") and not (
        value.isdecimal() and value.isascii() and 1 <= int(value) <= _PAGE_LIMIT_MAX
    ):
        return f"must be a whole number from 1 to {_PAGE_LIMIT_MAX}"
    return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, but for its host and headers.

    Attributes:
        path: From the first slash on, with the query, percent-encoded.
        body: JSON text, None for a GET.
    """

    method: str
    path: str
    body: bytes | None = None

    @property
    def is_write(self) -> bool:
        """Whether it may change something at Perkville."""
        return self.method != "GET"


def post_transaction(
    wire: Wire, effect: Effect, quantity: Decimal, *, business_id: str, location_id: str, send_email: bool
) -> Request:
    """The request that books a transaction.

    ::

        POST /v2/transactions/
        {"business": "/v2/businesses/41/", "location": "/v2/locations/7/", "perk": "/v2/perks/123456/",
         "email": "example@example.com", "quantity": "9.99", "send_email": false,
         "trans_source_id": "SEG:perkville:ORDER:o283h08fh2390f923uofu23:order-completed"}

    Args:
        quantity: What to send, its sign already as Perkville wants it.
    """
    if effect.item is None:
        raise InvariantError(f"transaction {effect.effect_key} has no perk")
    text = amount_text(quantity)
    members: list[tuple[str, object]] = [
        (wire.business_key, reference(wire.business_reference, business_id)),
        (wire.location_key, reference(wire.location_reference, location_id)),
        (wire.perk_key, reference(wire.perk_reference, effect.item)),
        (wire.email_key, effect.email),
        (wire.quantity_key, text if wire.quantity_form == "text" else msgspec.Raw(text.encode())),
        (wire.send_email_key, send_email is not (wire.send_email_inverted == "true")),
        (wire.trans_source_id_key, effect.effect_key),
    ]
    body = msgspec.json.encode({key: value for key, value in members if key})
    return Request(method="POST", path=wire.transactions_path, body=body)


def list_page(
    wire: Wire, path: str, *, business_id: str, email: str | None, offset: int, limit: str | None = None
) -> Request:
    """The request for one page of a customer's transactions or connections; of all of the business without an email.

    Args:
        limit: Objects on the page, None for the usual number.
    """
    query = urlencode(
        {
            wire.business_filter: business_id,
            **({} if email is None else {wire.email_filter: email}),
            wire.limit_filter: limit or wire.page_limit,
            wire.offset_filter: str(offset),
        }
    )
    return Request(method="GET", path=f"{path}?{query}")


def read_one(path: str, item_id: str) -> Request:
    """The request for one object."""
    return Request(method="GET", path=f"{path}{quote(item_id, safe='')}/")


def patch_connection(wire: Wire, connection_id: str, attributes: Mapping[str, object]) -> Request:
    """The request that sets user properties: `PATCH /v2/connections/9/` `{"custom_attributes": {"vip": true}}`."""
    path = f"{wire.connections_path}{quote(connection_id, safe='')}/"
    return Request(method="PATCH", path=path, body=msgspec.json.encode({wire.attributes_key: dict(attributes)}))


@lru_cache(maxsize=1000)
def reference(template: str, item_id: str) -> str:
    """Return how a request names an object, e.g. `/v2/perks/123456/`."""
    return template.replace("{id}", item_id)


def id_of(value: object) -> str | None:
    """The id in whatever names an object: 41, "41" or "/v2/businesses/41/"; None if there is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int):
        # A number beyond all bounds is not an id, and has no text in Python.
        return str(value) if abs(value) < 10**_ID_CHARACTERS_MAX else None
    id_text = value.rstrip("/").rpartition("/")[2]
    return id_text if 0 < len(id_text) <= _ID_CHARACTERS_MAX else None


def transaction_id_of(item: Mapping[str, Any], wire: Wire) -> str | None:
    """The id of a transaction; None if it shows none."""
    return id_of(item.get(wire.transaction_id_key)) or id_of(item.get(wire.resource_uri_key))


class ShownKey(Enum):
    """What a transaction shows of its `trans_source_id`."""

    SHOWN = auto()
    EMPTY = auto()  # as that of a transaction that staff have booked
    HIDDEN = auto()  # it is left out, or of another type


def shown_key(item: Mapping[str, Any], wire: Wire) -> ShownKey:
    """Return what a transaction shows of its key."""
    if wire.trans_source_id_key not in item:
        return ShownKey.HIDDEN
    key = item[wire.trans_source_id_key]
    if key in (None, ""):
        return ShownKey.EMPTY
    return ShownKey.SHOWN if isinstance(key, str) else ShownKey.HIDDEN


def is_own_key(key: object) -> bool:
    """Return whether a shown key has the form of those that Punchcard sends."""
    return isinstance(key, str) and key.startswith(_OWN_KEY_BEGIN)


class KeyLikeness(Enum):
    """How a shown key is like the one that was sent."""

    SAME = auto()
    RECASED = auto()  # the same in other case, or with blanks around it
    CUT = auto()  # it may be the same cut or lengthened; or another one
    OTHER = auto()


def key_likeness(shown: object, effect_key: str) -> KeyLikeness:
    """Return how a shown key is like an effect's."""
    if shown == effect_key:
        return KeyLikeness.SAME
    text = shown.strip() if isinstance(shown, str) else ""
    folded, key = text.casefold(), effect_key.casefold()
    if folded == key:
        # Every key begins with capitals, and a partner that changes case changes those: `A1` and `a1` are two orders.
        begin = ":".join(effect_key.split(":")[:_KEY_PARTS_FIXED])
        return KeyLikeness.OTHER if text != effect_key and text.startswith(begin) else KeyLikeness.RECASED
    is_cut = len(folded) >= _CUT_KEY_CHARACTERS_MIN and key.startswith(folded)
    return KeyLikeness.CUT if is_cut or folded.startswith(key) else KeyLikeness.OTHER


def amount_of(value: object) -> Decimal | None:
    """An amount in an answer, given as text or number; None if it is neither, or nothing that was ever counted."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    if isinstance(value, str) and len(value) > _AMOUNT_CHARACTERS_MAX:
        return None
    try:
        amount = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        return None
    # Written out, 1e999999999 would fill the memory.
    return amount if amount.is_finite() and -_AMOUNT_DIGITS_MAX <= amount.adjusted() <= _AMOUNT_DIGITS_MAX else None


def is_one_of(value: object, words: str) -> bool:
    """Whether an answered word is one of the comma-separated words, in any case."""
    return isinstance(value, str) and value.strip().lower() in _separate(words)


@lru_cache(maxsize=100)
def _separate(words: str) -> frozenset[str]:
    """Return comma-separated words of the settings, lower-cased."""
    return frozenset(word.strip().lower() for word in words.split(","))

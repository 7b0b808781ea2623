"""Find signs that an event without an order id is an order. Pure."""

import re
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.members import folded, has_value
from punchcard.events.model import Event

_DEPTH_MAX: Final = 3
_WIDTH_MAX: Final = 200  # members examined in total
_ID_WORDS: Final = "id|ids|number|num|no|nr|ref|reference|code|key|token|uuid|guid|hash|name"
_SUBJECTS: Final = "order|purchase|transaction|txn|trx|invoice|receipt|checkout|cart|basket|sale|payment"
_OBJECTS: Final = "order|purchase|transaction|invoice|receipt|checkout|cart|basket"  # also as a member of its own
_AMOUNTS: Final = (
    "revenue|value|total|subtotal|amount|(?:sub|grand|net|gross|order|cart|basket|invoice|sale|sales|purchase)"
    "(?:total|value|amount|revenue)|total(?:price|amount|value|revenue|paid|spent)|(?:amount|total)(?:paid|due|total)"
    "|salesamount|spend|spent"
)
# Folded names.
_LOOKS_LIKE: Final = re.compile(
    rf"(?:shop|store|web|external|payment|pos)?(?:{_SUBJECTS})(?:{_ID_WORDS})|{_OBJECTS}|{_AMOUNTS}"
)
# Members of an event that describe its sender and not what happened.
_IGNORED_MEMBERS: Final = frozenset({"context", "integrations", "traits", "properties", "options"})
_NAMES_REMEMBERED_MAX: Final = 10_000
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_unlike: set[str] = set()  # names known not to look like those of an order: few distinct names that recur


def find_order_hint(event: Event) -> str | None:
    """Return the path of an amount or order id under another name; None if there is none.

    Returns:
        A path such as `properties.orderNumber` or, beside `properties`, `revenue`.
    """
    path = _find(event.wire.properties, "properties.", depth=0, seen=[0]) if event.wire.properties else None
    return _find(event.raw, "", depth=_DEPTH_MAX, seen=[0]) if path is None else path


def _find(raw: bytes | msgspec.Raw, prefix: str, *, depth: int, seen: list[int]) -> str | None:
    try:
        members = _object.decode(raw)
    except UNREADABLE:
        return None
    seen[0] += len(members)
    if seen[0] > _WIDTH_MAX:
        return None
    if not members.keys() <= _unlike:
        for name, value in members.items():
            if _looks_like(name) and has_value(value) and (prefix or name not in _IGNORED_MEMBERS):
                return f"{prefix}{name}"
    if depth < _DEPTH_MAX:
        for name, value in members.items():
            if bytes(value)[:1] == b"{":
                path = _find(value, f"{prefix}{name}.", depth=depth + 1, seen=seen)
                if path is not None:
                    return path
    return None


def _looks_like(name: str) -> bool:
    if name in _unlike:
        return False
    if _LOOKS_LIKE.fullmatch(folded(name)):
        return True
    if len(_unlike) < _NAMES_REMEMBERED_MAX:
        _unlike.add(name)
    return False

"""Members of an event by their exact names, whichever spelling the sender uses. Pure.

`orderId`, `Order ID` and `ORDER-ID` are `order_id`. The exact spelling wins if it has a value; of several others, the
first by code points that has a value.

Source: Segment's own destinations read members without regard to case, underscores and blanks (its library
`obj-case`); its Go and Android libraries write `orderId`.
"""

from collections.abc import Mapping, MutableMapping
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE

_NAMES_REMEMBERED_MAX: Final = 10_000
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


def folded(name: str) -> str:
    """Return the name without the differences between spellings: case, underscores, hyphens and blanks."""
    return name.replace("_", "").replace("-", "").replace(" ", "").lower()


class Spellings:
    """Finds the exact names behind the spellings of a set of members.

    Args:
        names: The exact names.
    """

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self._by_folded = {folded(name): name for name in names}
        # Names that are not another spelling of an exact name. Senders use few distinct names, and comparing sets costs
        # a fraction of folding each name.
        self._plain = set(names)

    def are_absent_from(self, members: Mapping[str, msgspec.Raw]) -> bool:
        """Return whether none of the exact names is present."""
        return self.names.isdisjoint(members)

    def is_other_spelling(self, name: str) -> bool:
        """Return whether the name is a spelling of an exact name, but not that name."""
        return name not in self.names and folded(name) in self._by_folded

    def add_exact(self, members: MutableMapping[str, msgspec.Raw]) -> bool:
        """Add the value of each other spelling under the exact name, where that has no value.

        Returns:
            False if nothing was added: every relevant member has its exact name.
        """
        if members.keys() <= self._plain:
            return False
        others = sorted(members.keys() - self._plain)
        added = False
        for name in others:
            exact = self._by_folded.get(folded(name))
            if exact is None:
                if len(self._plain) < _NAMES_REMEMBERED_MAX:
                    self._plain.add(name)
            elif has_value(members[name]) and not has_value(members.get(exact)):
                members[exact] = members[name]
                added = True
        return added


PROPERTIES: Final = Spellings(
    "order_id",
    "refund_id",
    "revenue",
    "value",
    "total",
    "currency",
    "email",
    "products",
    "product_id",
)
"""Members of `properties` that points rules and the lake's columns read."""

PRODUCT: Final = Spellings("product_id", "price", "quantity")
"""Members of an item of `properties.products` that points rules and the lake's columns read."""

EMAIL: Final = Spellings("email")
"""The member of an event and of traits that names the customer."""


def has_value(raw: msgspec.Raw | None) -> bool:
    """Return False for a member that is absent, null or blank text."""
    text = b"" if raw is None else bytes(raw)
    return text not in (b"", b"null") and not (text[:1] == b'"' and not text[1:-1].strip())


def members_of(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """Return the members of a JSON object, each as its text; None if it is not an object."""
    try:
        return _object.decode(raw)
    except UNREADABLE:
        return None


def exact_members(raw: bytes | msgspec.Raw, spellings: Spellings) -> Mapping[str, msgspec.Raw] | None:
    """Return the members of an object with the exact names added; None if it is not an object or has nothing to add."""
    members = members_of(raw)
    return None if members is None or not spellings.add_exact(members) else members


def exact_properties(raw: bytes | msgspec.Raw) -> bytes:
    """Return the JSON text of `properties` with the exact names added, also in its products; usually unchanged.

    All other members stay as they were sent.
    """
    text = bytes(raw)
    try:
        members = _object.decode(text)
    except UNREADABLE:
        return text
    changed = PROPERTIES.add_exact(members)
    if "products" in members and (products := exact_products(members["products"])) is not None:
        members["products"] = products
        changed = True
    return _encoder.encode(members) if changed else text


def exact_products(raw: msgspec.Raw) -> msgspec.Raw | None:
    """Return the JSON text of a list of products with the exact names added; None if there is nothing to add."""
    try:
        items = _items.decode(raw)
    except UNREADABLE:
        return None
    exact = [exact_members(item, PRODUCT) for item in items]
    if not any(exact):
        return None
    return msgspec.Raw(_encoder.encode([item if new is None else new for item, new in zip(items, exact, strict=True)]))

"""Properties as nearly all senders write them, decoded in one step. Pure, but for the names that it learns.

Reading a member of `properties` takes more than decoding it: another spelling of its name may be there (see `members`).
Senders use few distinct names. A decoder that knows these names refuses an object with any other, so a successful
decoding proves that no name needs a second look. What it refuses is read by the slower functions of `commerce` and
`emails`, which give the same result for the rest.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.members import PROPERTIES, members_of

_NAMES_MAX: Final = 200  # the decoder compares names one by one
_NAME_CHARACTERS_MAX: Final = 100
_SEEN_MIN: Final = 3
_LEARNED_EVERY: Final = 16  # refused objects, so that unusual ones cost little more than without the attempt
_CANDIDATES_MAX: Final = 1_000


class UsualProduct(msgspec.Struct, gc=False):
    """An item of `products`."""

    product_id: str | int | None = None


class UsualProperties(msgspec.Struct, gc=False):
    """The members of `properties` that are read most, with their usual types."""

    order_id: str | int | None = None
    revenue: Decimal | None = None
    value: Decimal | None = None
    total: Decimal | None = None
    currency: str | None = None
    product_id: str | int | None = None
    products: list[UsualProduct] | None = None
    email: str | None = None


class UsualPropertiesReader:
    """Decodes usual properties, and learns which names are usual. Used from several threads."""

    def __init__(self) -> None:
        self._learning = threading.Lock()
        self._names: list[str] = []
        self._candidates: Counter[str] = Counter()
        self._refused = 0
        self._decode = self._make_decoder().decode

    def read(self, raw: msgspec.Raw) -> UsualProperties | None:
        """Return the members; None if the properties have an unknown name, or a member of another type.

        Args:
            raw: The JSON text of an event's `properties`.
        """
        try:
            return self._decode(raw)
        except UNREADABLE:
            self._note_refused(raw)
            return None

    def read_all(self, raws: Iterable[msgspec.Raw | None]) -> list[UsualProperties | None]:
        """Return what `read` returns of each, in less time; None for no text."""
        many: list[UsualProperties | None] = []
        decode = self._decode
        for raw in raws:
            if not raw:
                many.append(None)
                continue
            try:
                many.append(decode(raw))
            except UNREADABLE:
                many.append(None)
                self._note_refused(raw)
                decode = self._decode
        return many

    def _note_refused(self, raw: msgspec.Raw) -> None:
        self._refused += 1
        if not self._refused % _LEARNED_EVERY and len(self._names) < _NAMES_MAX:
            with self._learning:
                self._learn(raw)

    def _learn(self, raw: msgspec.Raw) -> None:
        """Count the unknown names, and add those to the decoder that have been seen often enough."""
        names = (members_of(raw) or {}).keys() - PROPERTIES.names - set(self._names)
        self._candidates.update(name for name in names if _can_be_learned(name))
        learned = [name for name in sorted(names) if self._candidates[name] >= _SEEN_MIN]
        if learned:
            self._names = [*self._names, *learned][:_NAMES_MAX]
            self._decode = self._make_decoder().decode
        if len(self._candidates) > _CANDIDATES_MAX:
            self._candidates.clear()

    def _make_decoder(self) -> "msgspec.json.Decoder[UsualProperties]":
        fields = [(f"member_{number}", msgspec.Raw, msgspec.Raw()) for number in range(len(self._names))]
        known = msgspec.defstruct(
            "KnownProperties",
            fields,
            bases=(UsualProperties,),
            rename={field: name for (field, _, _), name in zip(fields, self._names, strict=True)},
            forbid_unknown_fields=True,
            gc=False,
        )
        return msgspec.json.Decoder(known)


def _can_be_learned(name: str) -> bool:
    # The other characters cannot be part of a field's name.
    return (
        not PROPERTIES.is_other_spelling(name)
        and len(name) <= _NAME_CHARACTERS_MAX
        and name.isprintable()
        and '"' not in name
        and "\\" not in name
    )

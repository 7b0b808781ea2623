"""Effect keys, which are Perkville's `trans_source_id`: derived from the event, never random, so always the same.

A key is `SEG:<scope>:<kind>:<part>…`. The scope is the slug of the destination for orders, refunds and once-a-day perks
(of the source, with the option `orderIdScope = "source"`), and the slug of the source for everything else.

The form of keys is described in `destinations/keys.py`.

Case is kept: `A1` and `a1` are two orders. Should Perkville not tell their keys apart, it refuses the second as used,
and delivery parks it for a person: nothing is lost in silence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from punchcard.destinations.keys import KEY_CHARACTERS_MAX, digest, event_key, hashed_part, join_key, key_part, read_key
from punchcard.destinations.port import EffectKey
from punchcard.destinations.reconciling import KeyContent

__all__ = [
    "KEY_CHARACTERS_MAX",
    "CorrectionKey",
    "DayKey",
    "OrderKey",
    "RefundKey",
    "event_key",
    "name_slug",
    "read_key_content",
]

_SLUGGABLE_NAME = re.compile(r"[A-Za-z0-9 _-]*[A-Za-z0-9][A-Za-z0-9 _-]*")
_BETWEEN_WORDS = re.compile(r"[ _-]+")
_EMAIL_DIGEST_CHARACTERS = 20
_CONTENTS_DIGEST_CHARACTERS = 20
_PARTS_WITH_ORDER = 3


@dataclass(frozen=True)
class OrderKey:
    """The key of an award for an order: one per order and event name.

    `SEG:perkville:ORDER:o283h08fh2390f923uofu23:order-completed`
    """

    order_id: str
    event_name: str

    def within(self, scope: str) -> EffectKey:
        """Return the key within a scope."""
        return join_key(scope, "ORDER", key_part(self.order_id), name_slug(self.event_name))


@dataclass(frozen=True)
class RefundKey:
    """The key of a refund: `SEG:perkville:REFUND:1001:r1`.

    Attributes:
        refund_id: The event's message id, if the sender gives no id of the refund.
    """

    order_id: str
    refund_id: str

    def within(self, scope: str) -> EffectKey:
        """Return the key within a scope."""
        return join_key(scope, "REFUND", key_part(self.order_id), key_part(self.refund_id))


@dataclass(frozen=True)
class DayKey:
    """The key of a perk awarded once a day: `SEG:perkville:DAY:123457:<digest of the customer>:2026-01-31`.

    Attributes:
        customer: The lower-cased email.
    """

    perk: str
    customer: str
    day: date

    def within(self, scope: str) -> EffectKey:
        """Return the key within a scope."""
        customer_digest = digest(self.customer)[:_EMAIL_DIGEST_CHARACTERS]
        return join_key(scope, "DAY", key_part(self.perk), customer_digest, self.day.isoformat())


@dataclass(frozen=True)
class CorrectionKey:
    """The key of one step of a correction: `SEG:perkville:CORRECTION:1001:<digest of both contents>:give`.

    Attributes:
        order_id: None for an effect that is not about an order.
        first_key: Key of the effect that is corrected.
        source: Of the event with the other content.
        step: `adjust`, `take` or `give`.
    """

    order_id: str | None
    first_key: str
    source: str
    message_id: str
    step: str

    def within(self, scope: str) -> EffectKey:
        """Return the key within a scope."""
        contents = digest("\n".join((self.first_key, self.source, self.message_id)))[:_CONTENTS_DIGEST_CHARACTERS]
        order = () if self.order_id is None else (key_part(self.order_id),)
        return join_key(scope, "CORRECTION", *order, contents, self.step)


def read_key_content(effect_key: str, *, event_names: Sequence[str]) -> KeyContent:
    """Return what a key says of its effect.

    Args:
        event_names: The mapped names: an order's key holds the slug of one.
    """
    key = read_key(effect_key)
    if key is None:
        return KeyContent()
    first, second = (*key.parts, None, None)[:2]
    match key.kind:
        case "ORDER":
            name = next((name for name in event_names if name_slug(name) == second), None)
            return KeyContent(order_id=first, event_name=name)
        case "REFUND":
            return KeyContent(order_id=first, is_refund=True, refund_id=second)
        case "CORRECTION" if len(key.parts) == _PARTS_WITH_ORDER:
            return KeyContent(order_id=first)
        case "EVENT":
            return KeyContent(source=key.scope, message_id=first)
    return KeyContent()


def name_slug(event_name: str) -> str:
    """An event name as a part of a key: `Order Completed` → `order-completed`.

    Names that differ only in case and in how their words are separated are one action, so one award. A name with any
    other character is hashed whole, as its slug would not tell it from others.
    """
    if _SLUGGABLE_NAME.fullmatch(event_name):
        return _BETWEEN_WORDS.sub("-", event_name.lower()).strip("-")
    return hashed_part(event_name)

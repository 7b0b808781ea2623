"""Effect keys, which are Perkville's `trans_source_id`: derived from the event, never random, so always the same.

A key is `SEG:<scope>:<kind>:<part>…`. The scope is the slug of the destination for orders, refunds and once-a-day perks
(of the source, with the option `orderIdScope = "source"`), and the slug of the source for everything else.

A key has at most 100 characters of `A-Z a-z 0-9 : _ . -`. A part stands as it is if it has only these characters but
the colon, and does not begin with `sha-`. Any other part, and the longest parts of a key that would be too long, stand
as `sha-` and 24 hexadecimal digits of their SHA-256. So no part can look like another one's hash, no part can run into
the next, and different events get different keys.

Case is kept: `A1` and `a1` are two orders. Should Perkville not tell their keys apart, it refuses the second as used,
and delivery parks it for a person: nothing is lost in silence.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import date

from punchcard.destinations.port import EffectKey

KEY_CHARACTERS_MAX = 100
_SYSTEM = "SEG"
_HASHED = "sha-"
_PLAIN_PART = re.compile(r"(?!sha-)[A-Za-z0-9_.-]+")
_SLUGGABLE_NAME = re.compile(r"[A-Za-z0-9 _-]*[A-Za-z0-9][A-Za-z0-9 _-]*")
_BETWEEN_WORDS = re.compile(r"[ _-]+")
# 96 bits: among a billion orders of one scope, two alike have a chance of one in 10^11, and would end as a conflict.
_DIGEST_CHARACTERS = 24
_EMAIL_DIGEST_CHARACTERS = 20


@dataclass(frozen=True)
class OrderKey:
    """The key of an award for an order: one per order and event name.

    `SEG:perkville:ORDER:o283h08fh2390f923uofu23:order-completed`
    """

    order_id: str
    event_name: str

    def within(self, scope: str) -> EffectKey:
        """Return the key within a scope."""
        return _join(scope, "ORDER", _part(self.order_id), name_slug(self.event_name))


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
        return _join(scope, "REFUND", _part(self.order_id), _part(self.refund_id))


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
        digest = _digest(self.customer)[:_EMAIL_DIGEST_CHARACTERS]
        return _join(scope, "DAY", _part(self.perk), digest, self.day.isoformat())


def event_key(source: str, *, message_id: str) -> EffectKey:
    """The key of any other effect: `SEG:website:EVENT:0f3c…`."""
    return _join(source, "EVENT", _part(message_id))


def name_slug(event_name: str) -> str:
    """An event name as a part of a key: `Order Completed` → `order-completed`.

    Names that differ only in case and in how their words are separated are one action, so one award. A name with any
    other character is hashed whole, as its slug would not tell it from others.
    """
    if _SLUGGABLE_NAME.fullmatch(event_name):
        return _BETWEEN_WORDS.sub("-", event_name.lower()).strip("-")
    return _hashed(event_name)


def _join(scope: str, kind: str, *safe_parts: str) -> EffectKey:
    parts = [_part(scope), *safe_parts]
    while len(key := ":".join((_SYSTEM, parts[0], kind, *parts[1:]))) > KEY_CHARACTERS_MAX:
        # With every part hashed a key of each kind fits, so there is one that is longer than its hash.
        longest = max((part for part in parts if not part.startswith(_HASHED)), key=len)
        parts[parts.index(longest)] = _hashed(longest)
    return EffectKey(key)


def _part(text: str) -> str:
    return text if _PLAIN_PART.fullmatch(text) else _hashed(text)


def _hashed(text: str) -> str:
    return _HASHED + _digest(text)[:_DIGEST_CHARACTERS]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

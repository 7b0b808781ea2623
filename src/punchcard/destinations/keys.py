"""Effect keys derived from an event, never random: planning an event twice gives the same key.

A key is `SEG:<scope>:<kind>:<part>…` with at most 100 characters of `A-Z a-z 0-9 : _ . -`. A part stands as it is if it
has only these characters but the colon, and does not begin with `sha-`. Any other part, and the longest parts of a key
that would be too long, stand as `sha-` and 24 hexadecimal digits of their SHA-256. So no part can look like another
one's hash, no part can run into the next, and different events get different keys.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from punchcard.destinations.port import EffectKey

KEY_CHARACTERS_MAX = 100
_SYSTEM = "SEG"
_HASHED = "sha-"
_KEY = re.compile(rf"{_SYSTEM}:([A-Za-z0-9_.-]+):([A-Z]+):([A-Za-z0-9:_.-]+)")
_PLAIN_PART = re.compile(r"(?!sha-)[A-Za-z0-9_.-]+")
# 96 bits: among a billion orders of one scope, two alike have a chance of one in 10^11, and would end as a conflict.
_DIGEST_CHARACTERS = 24


@dataclass(frozen=True, kw_only=True)
class KeyParts:
    """An effect key taken apart. A part that was hashed is None.

    Attributes:
        kind: `ORDER`, `EVENT` or the like.
    """

    scope: str | None
    kind: str
    parts: Sequence[str | None]


def read_key(key: str) -> KeyParts | None:
    """Take a key apart; None if it does not have the form of a key."""
    match = _KEY.fullmatch(key)
    if match is None or len(key) > KEY_CHARACTERS_MAX:
        return None
    return KeyParts(scope=_plain(match[1]), kind=match[2], parts=[_plain(part) for part in match[3].split(":")])


def is_own_key(key: str, scopes: Collection[str]) -> bool:
    """Whether a key has our form and one of these scopes, plain or hashed."""
    match = _KEY.fullmatch(key)
    return match is not None and any(match[1] in (key_part(scope), hashed_part(scope)) for scope in scopes)


def event_key(source: str, *, message_id: str) -> EffectKey:
    """Return the key of an effect that only its event identifies: `SEG:website:EVENT:0f3c…`."""
    return join_key(source, "EVENT", key_part(message_id))


def join_key(scope: str, kind: str, *safe_parts: str) -> EffectKey:
    """Return the key of a scope, a kind and parts that are safe already."""
    parts = [key_part(scope), *safe_parts]
    while len(key := ":".join((_SYSTEM, parts[0], kind, *parts[1:]))) > KEY_CHARACTERS_MAX:
        # With every part hashed a key of each kind fits, so there is one that is longer than its hash.
        longest = max((part for part in parts if not part.startswith(_HASHED)), key=len)
        parts[parts.index(longest)] = hashed_part(longest)
    return EffectKey(key)


def key_part(text: str) -> str:
    """Return a text as a part of a key: as it is, or hashed."""
    return text if _PLAIN_PART.fullmatch(text) else hashed_part(text)


def hashed_part(text: str) -> str:
    """Return a text as a hashed part of a key."""
    return _HASHED + digest(text)[:_DIGEST_CHARACTERS]


def digest(text: str) -> str:
    """Return the hexadecimal SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(part: str) -> str | None:
    return None if part.startswith(_HASHED) else part

"""The actions of a filter on the events that it matches: keep a sample, drop them, or remove properties.

Source: Segment's Public API, "Destination Filters", and its open-source evaluator where the documentation is silent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.filters.functions import json_text
from punchcard.filters.syntax import PATH_PARTS_MAX

ACTIONS_MAX: Final = 50
ACTION_TYPES: Final = ("DROP", "SAMPLE", "DROP_PROPERTIES", "ALLOW_PROPERTIES")
_KEYS: Final = {
    "DROP": frozenset({"type"}),
    "SAMPLE": frozenset({"type", "percent", "path"}),
    "DROP_PROPERTIES": frozenset({"type", "fields"}),
    "ALLOW_PROPERTIES": frozenset({"type", "fields"}),
}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()
_BITS: Final = 2.0**64
# Segment's own service hashes Go's JSON, which writes these characters as escapes.
_GO_ESCAPES: Final = ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e"))


class ActionError(ConfigurationError):
    """An action of a filter is invalid.

    Args:
        path: Path of the invalid key, starting at the action.
    """

    code = "invalid_filter"

    def __init__(self, problem: str, *, path: tuple[str | int, ...] = ()) -> None:
        self.path = path
        super().__init__(problem, path=path)


@dataclass(frozen=True, slots=True)
class Sample:
    """Keep a sample of the events.

    Attributes:
        percent: The share of events, 0 to 1.
        path: Events with the same value at this path have the same result; without it each has its own.
    """

    percent: float
    path: tuple[str, ...] | None

    def keeps(self, value: object, message_id: str) -> bool:
        """Return whether the event with this value at the path is kept. The result never changes."""
        if self.percent <= 0 or self.percent >= 1:
            return self.percent >= 1
        # An event without the value is sampled on its own.
        return share_of(message_id if self.path is None or value is None else value) < self.percent


def share_of(value: object) -> float:
    """Map a value to [0, 1), evenly over all values, as Segment's service does."""
    text = json_text(value).encode()
    for plain, escaped in _GO_ESCAPES:
        text = text.replace(plain, escaped)
    return int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:8]) / _BITS


@dataclass(frozen=True, slots=True)
class Fields:
    """Keys of one object: those to remove, or the only ones to keep.

    Attributes:
        path: Path of the object; empty for the event itself. Lists on the path apply to each element.
    """

    path: tuple[str, ...]
    keys: frozenset[str]
    keeps: bool

    def apply(self, raw: bytes) -> bytes:
        """Return the JSON text without those keys; anything but an object is unchanged."""
        return self._at(raw, self.path)

    def _at(self, raw: bytes, path: Sequence[str]) -> bytes:
        first = raw.lstrip()[:1]
        if first == b"[":
            return _encoder.encode([msgspec.Raw(self._at(bytes(element), path)) for element in _elements.decode(raw)])
        if first != b"{":
            return raw
        members = _members.decode(raw)
        if not path:
            return _encoder.encode(
                {name: member for name, member in members.items() if (name in self.keys) is self.keeps}
            )
        if path[0] in members:
            members[path[0]] = msgspec.Raw(self._at(bytes(members[path[0]]), path[1:]))
        return _encoder.encode(members)


@dataclass(frozen=True, slots=True)
class Actions:
    """All actions of one filter, in the order in which they are applied."""

    samples: tuple[Sample, ...] = ()
    drops: bool = False
    drop_fields: tuple[Fields, ...] = ()
    allow_fields: tuple[Fields, ...] = ()


def read_actions(actions: Sequence[Mapping[str, object]]) -> Actions:
    """Read the actions of a filter's data.

    Raises:
        ActionError: An action is invalid; the error has the path of its key.
    """
    samples: list[Sample] = []
    drop_fields: list[Fields] = []
    allow_fields: list[Fields] = []
    drops = False
    if not actions:
        raise ActionError("At least one action is required, such as { type = 'DROP' }.")
    if len(actions) > ACTIONS_MAX:
        raise ActionError(f"A filter has at most {ACTIONS_MAX} actions; this one has {len(actions)}.")
    for index, action in enumerate(actions):
        if not isinstance(action, Mapping):
            raise ActionError("This must be an action such as { type = 'DROP' }.", path=(index,))
        kind = action.get("type")
        if not isinstance(kind, str) or kind not in ACTION_TYPES:
            raise ActionError(
                f"{kind!r} is not an action. Actions are {', '.join(ACTION_TYPES)}.", path=(index, "type")
            )
        for key in action.keys() - _KEYS[kind]:
            raise ActionError(
                f"{kind} has no such key. Its keys are {', '.join(sorted(_KEYS[kind]))}.", path=(index, key)
            )
        if kind == "DROP":
            drops = True
        elif kind == "SAMPLE":
            samples.append(_sample(action, index))
        else:
            fields = _fields(action, index, keeps=kind == "ALLOW_PROPERTIES")
            (allow_fields if kind == "ALLOW_PROPERTIES" else drop_fields).extend(fields)
    return Actions(tuple(samples), drops, tuple(drop_fields), tuple(allow_fields))


def _sample(action: Mapping[str, object], index: int) -> Sample:
    percent = action.get("percent")
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 1:
        raise ActionError("This must be a number from 0 to 1, such as 0.25.", path=(index, "percent"))
    path = action.get("path")
    if path in (None, ""):
        return Sample(percent, None)
    if not isinstance(path, str):
        raise ActionError("This must be a path as text, such as userId.", path=(index, "path"))
    return Sample(percent, _path(path, index, "path"))


def _fields(action: Mapping[str, object], index: int, *, keeps: bool) -> list[Fields]:
    fields = action.get("fields")
    if not isinstance(fields, Mapping) or not fields:
        example = '{ "properties" = ["price"] }'
        raise ActionError(
            f"This must have lists of keys by the path of their object, such as {example}.", path=(index, "fields")
        )
    entries = []
    for path, keys in fields.items():
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise ActionError("This must be a list of keys as texts.", path=(index, "fields", path))
        parts = _path(path, index, "fields", path) if path else ()
        entries.append(Fields(parts, frozenset(keys), keeps))
    return entries


def _path(text: str, *place: str | int) -> tuple[str, ...]:
    parts = tuple(text.split("."))
    if len(parts) > PATH_PARTS_MAX:
        raise ActionError(f"A path has at most {PATH_PARTS_MAX} parts; this one has {len(parts)}.", path=place)
    return parts

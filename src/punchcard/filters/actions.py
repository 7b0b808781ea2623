"""What a filter does to the events that it matches: keep a share of them, drop them, or take properties out.

Source: Segment's Public API, "Destination Filters", and its open evaluator for what the documentation leaves open.
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
# Go's JSON, in which Segment's own service hashes, writes these as escapes.
_GO_ESCAPES: Final = ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e"))


class ActionError(ConfigurationError):
    """A filter's action is not valid.

    Args:
        path: The key that is wrong, from the action on.
    """

    code = "invalid_filter"

    def __init__(self, problem: str, *, path: tuple[str | int, ...] = ()) -> None:
        self.path = path
        super().__init__(problem, path=path)


@dataclass(frozen=True, slots=True)
class Sample:
    """Keep a share of the events.

    Attributes:
        percent: The share, 0 to 1.
        path: Events with the same value here share their result; without it each has its own.
    """

    percent: float
    path: tuple[str, ...] | None

    def keeps(self, value: object, message_id: str) -> bool:
        """True if the event with this value at the path stays. The same at any time, in any process."""
        if self.percent <= 0 or self.percent >= 1:
            return self.percent >= 1
        # An event without the value has nobody's result to share.
        return share_of(message_id if self.path is None or value is None else value) < self.percent


def share_of(value: object) -> float:
    """Where a value lies in [0, 1), evenly over all values: as Segment's service has it."""
    text = json_text(value).encode()
    for plain, escaped in _GO_ESCAPES:
        text = text.replace(plain, escaped)
    return int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:8]) / _BITS


@dataclass(frozen=True, slots=True)
class Fields:
    """Keys of one object: those to take out, or the only ones to keep.

    Attributes:
        path: Where the object is; empty for the event itself. On the way, each element of a list counts.
    """

    path: tuple[str, ...]
    keys: frozenset[str]
    keeps: bool

    def applied(self, raw: bytes) -> bytes:
        """The JSON text without those keys; what is no object stays as it is."""
        return self._at(raw, self.path)

    def _at(self, raw: bytes, path: Sequence[str]) -> bytes:
        first = raw.lstrip()[:1]
        if first == b"[":
            return _encoder.encode([msgspec.Raw(self._at(bytes(one), path)) for one in _elements.decode(raw)])
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
    """All that one filter does, in the order in which it is done."""

    samples: tuple[Sample, ...] = ()
    drops: bool = False
    drop_fields: tuple[Fields, ...] = ()
    allow_fields: tuple[Fields, ...] = ()


def read_actions(actions: Sequence[Mapping[str, object]]) -> Actions:
    """The actions that a filter's data states.

    Raises:
        ActionError: with the key that is wrong.
    """
    samples: list[Sample] = []
    drop_fields: list[Fields] = []
    allow_fields: list[Fields] = []
    drops = False
    if not actions:
        raise ActionError("at least one action is needed, such as { type = 'DROP' }")
    if len(actions) > ACTIONS_MAX:
        raise ActionError(f"a filter has at most {ACTIONS_MAX} actions, this one has {len(actions)}")
    for index, action in enumerate(actions):
        if not isinstance(action, Mapping):
            raise ActionError("must be an action such as { type = 'DROP' }", path=(index,))
        kind = action.get("type")
        if not isinstance(kind, str) or kind not in ACTION_TYPES:
            raise ActionError(f"{kind!r} is not an action; known: {', '.join(ACTION_TYPES)}", path=(index, "type"))
        for key in action.keys() - _KEYS[kind]:
            raise ActionError(f"{kind} has no such key; it has {', '.join(sorted(_KEYS[kind]))}", path=(index, key))
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
        raise ActionError("must be a share from 0 to 1, such as 0.25", path=(index, "percent"))
    path = action.get("path")
    if path in (None, ""):
        return Sample(percent, None)
    if not isinstance(path, str):
        raise ActionError("must be a path as text, such as userId", path=(index, "path"))
    return Sample(percent, _path(path, index, "path"))


def _fields(action: Mapping[str, object], index: int, *, keeps: bool) -> list[Fields]:
    fields = action.get("fields")
    if not isinstance(fields, Mapping) or not fields:
        example = '{ "properties" = ["price"] }'
        raise ActionError(f"must name keys by the path of their object, such as {example}", path=(index, "fields"))
    found = []
    for path, keys in fields.items():
        if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
            raise ActionError("must be a list of keys as texts", path=(index, "fields", path))
        parts = _path(path, index, "fields", path) if path else ()
        found.append(Fields(parts, frozenset(keys), keeps))
    return found


def _path(text: str, *place: str | int) -> tuple[str, ...]:
    parts = tuple(text.split("."))
    if len(parts) > PATH_PARTS_MAX:
        raise ActionError(f"a path has at most {PATH_PARTS_MAX} parts, this one has {len(parts)}", path=place)
    return parts

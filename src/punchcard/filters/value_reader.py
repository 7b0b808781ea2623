"""Decode only the members of an event that filters use: one small type per member, built from the used paths."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from punchcard.filters.syntax import Path

# Members that are already decoded when a filter gets the event, as expressions over `event` and `wire`.
_KNOWN: Final = {
    "type": "event.type._value_",
    "event": "wire.event",
    "userId": "wire.user_id",
    "anonymousId": "wire.anonymous_id",
    "messageId": "event.message_id",
    "groupId": "wire.group_id",
    "previousId": "wire.previous_id",
    "name": "wire.name",
    "category": "wire.category",
    "timestamp": "iso(event.timestamp)",
    "receivedAt": "iso(event.received_at)",
}
# Members that are still JSON text.
_RAW: Final = {
    "properties": "wire.properties",
    "traits": "wire.traits",
    "context": "wire.context",
    "integrations": "wire.integrations",
}
_REST: Final = "rest"  # every other member: read from the whole event
# Names that a decoder's type can have, and how deep types are nested, which costs stack. Deeper values are looked up.
_NAMEABLE: Final = re.compile(r"[^\"\\\x00-\x1f]*")
_TYPED_DEPTH_MAX: Final = 16
UNREAD: Final = object()
_anything = msgspec.json.Decoder()


class ValueReader:
    """Expressions that read the values of some paths from an event.

    Attributes:
        names: The names that the expressions refer to.
        members: The variables of the expressions; each begins as `UNREAD`.
    """

    def __init__(self, paths: Iterable[tuple[str, ...]]) -> None:
        self.names: dict[str, object] = {"UNREAD": UNREAD, "dig": dig, "iso": _iso}
        self.members: list[str] = []
        self._shapes: dict[str, _Shape] = {}
        used_paths: dict[str, set[tuple[str, ...]]] = {}
        for path in paths:
            if path[0] in _RAW:
                used_paths.setdefault(path[0], set()).add(path[1:])
            elif path[0] not in _KNOWN:
                used_paths.setdefault(_REST, set()).add(path)
        for member, inner in used_paths.items():
            shape = self._shapes[member] = _Shape(inner)
            self.members.append(member)
            self.names[f"read_{member}"] = shape.reader()

    def expression(self, path: Path) -> str:
        """Return the expression for the value at a path; it is None if there is none."""
        head, *rest = path.parts
        if head in _KNOWN:
            return "None" if rest else _KNOWN[head]
        member = head if head in _RAW else _REST
        source = _RAW.get(head, "event.raw")
        whole = f"({member} if {member} is not UNREAD else ({member} := read_{member}({source})))"
        return self._shapes[member].expression(whole, tuple(rest) if head in _RAW else path.parts)


class _Shape:
    """A type that decodes the paths below one member and skips everything else."""

    def __init__(self, paths: set[tuple[str, ...]], *, depth: int = 0) -> None:
        below: dict[str, set[tuple[str, ...]]] = {}
        # Where the whole value is used, nested values are looked up in it.
        self.is_whole = (
            () in paths or depth >= _TYPED_DEPTH_MAX or not all(_NAMEABLE.fullmatch(path[0]) for path in paths)
        )
        for path in paths - {()}:
            below.setdefault(path[0], set()).add(path[1:])
        self.children = {} if self.is_whole else {part: _Shape(inner, depth=depth + 1) for part, inner in below.items()}
        self.fields = {part: f"f{number}" for number, part in enumerate(self.children)}
        self.type: Any = Any
        self.empty: Any = None
        if not self.is_whole:
            fields = [(name, self.children[part].type, self.children[part].empty) for part, name in self.fields.items()]
            rename = {name: part for part, name in self.fields.items()}
            self.type = msgspec.defstruct("Named", fields, rename=rename, gc=False, frozen=True)
            self.empty = self.type()

    def expression(self, whole: str, path: tuple[str, ...]) -> str:
        if self.is_whole:
            return f"dig({whole}, {path!r})" if path else whole
        return self.children[path[0]].expression(f"{whole}.{self.fields[path[0]]}", path[1:])

    def reader(self) -> Callable[[Any], Any]:
        decode = msgspec.json.Decoder(self.type).decode
        empty, lenient = self.empty, self.lenient

        def read(raw: Any) -> Any:
            if not raw:
                return empty
            try:
                return decode(raw)
            except msgspec.ValidationError:
                # A value on a path is not an object.
                return lenient(_anything.decode(raw))

        return read

    def lenient(self, value: object) -> Any:
        if self.is_whole:
            return value
        if not isinstance(value, Mapping):
            return self.empty
        return self.type(
            **{name: self.children[part].lenient(value[part]) for part, name in self.fields.items() if part in value}
        )


def dig(value: object, path: tuple[str, ...]) -> object:
    """Return the value at a path; None if there is none."""
    for part in path:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _iso(instant: datetime) -> str:
    return f"{instant.isoformat(timespec='milliseconds')[:-6]}Z"

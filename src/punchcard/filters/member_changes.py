"""The single changes that a transformation makes of the members of an event, each with its note."""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.filters.destination_filters import compile_expression
from punchcard.filters.json_members import JsonMembers, text_of
from punchcard.filters.syntax import Condition, Path

NESTED: Final = ("properties", "traits", "context", "integrations")
"""Members of an event that are objects."""

TRANSFORMED: Final = "transformed"
"""The reason of the note of a change by a transformation."""

_SHOWN_MAX: Final = 60
_encode: Final = msgspec.json.Encoder().encode

Change = Callable[[JsonMembers], Note | None]
"""Changes the members of an event; returns a note about it, None if there was nothing to change."""


class ComputedProperty:
    """A property that gets the value of an FQL expression.

    Args:
        path: The path of the property as configured.
        expression: The parsed expression.
        text: The expression as Punchcard prints it.
    """

    def __init__(self, path: tuple[str, ...], expression: Condition, text: str) -> None:
        self.path = path
        self.text = text
        self._read = compile_expression(expression)
        # A value that is only copied keeps its text, so no amount changes its digits.
        is_copied = isinstance(expression, Path) and len(expression.parts) > 1 and expression.parts[0] in NESTED
        self._copied = expression.parts if is_copied and isinstance(expression, Path) else None

    def compute(self, event: Event, members: JsonMembers) -> tuple[bytes | None, str]:
        """Return the JSON text of the value, or None and why there is none. Never raises.

        Args:
            event: The event, up to date at the paths of the expression.
            members: Its members before the transformation changes them.
        """
        try:
            if self._copied is not None:
                text = members.get(self._copied)
                return (None, "has no value") if text in (None, b"null") else (text, "")
            value = self._read(event)
            if value is None:
                return None, "has no value"
            if isinstance(value, float) and not math.isfinite(value):
                return None, "is not a finite number"
            return _encode(value), ""
        except Exception as error:  # noqa: BLE001  # a value that cannot be computed must not stop the event
            return None, f"cannot be computed: {type(error).__name__}: {shown_text(str(error))}"


def event_renaming(name: str, label: str) -> Change:
    """Return the change of the name of a track call."""
    text = _encode(name)

    def rename(members: JsonMembers) -> Note | None:
        before = members.get(("event",))  # only track calls have it
        if before is None or before == text:
            return None
        members.set(("event",), text)
        return Note(TRANSFORMED, f"{label}event {shown(before)} → {shown(text)}")

    return rename


def renaming(old: tuple[str, ...], new: tuple[str, ...], label: str) -> Change:
    """Return the change that moves the value of a property to another name."""
    head = f"{label}{dotted(old)} → {dotted(new)}"
    parents, old_name, new_name = old[:-1], old[-1], new[-1]

    def rename_beside(members: JsonMembers) -> Note | None:
        parent = members.find_object(parents)
        value = None if parent is None else parent.pop(old_name, None)
        if parent is None or value is None:
            return None
        parent[new_name] = value
        return Note(TRANSFORMED, f"{head} ({shown(text_of(value))})")

    def rename(members: JsonMembers) -> Note | None:
        value = members.move(old, new)
        return None if value is None else Note(TRANSFORMED, f"{head} ({shown(value)})")

    return rename_beside if new[:-1] == parents else rename


def setting(path: tuple[str, ...], text: bytes, label: str) -> Change:
    """Return the change that sets the JSON text of a value."""
    head, tail = f"{label}{dotted(path)} ", f" → {shown(text)}"
    added = Note(TRANSFORMED, f"{head}{shown(None)}{tail}")  # as for most events
    parents, name, value = path[:-1], path[-1], msgspec.Raw(text)

    def set_value(members: JsonMembers) -> Note | None:
        parent = members.find_object(parents, is_added=True)
        if parent is None:
            return None
        previous = parent.get(name)
        if previous is None:
            parent[name] = value
            return added
        before = text_of(previous)
        if before == text:
            return None
        parent[name] = value
        return Note(TRANSFORMED, f"{head}{shown(before)}{tail}")

    return set_value


def removal(path: tuple[str, ...], label: str) -> Change:
    """Return the change that removes a property."""
    head = f"{label}{dotted(path)} removed"

    def remove(members: JsonMembers) -> Note | None:
        removed = members.remove(path)
        return None if removed is None else Note(TRANSFORMED, f"{head} ({shown(removed)})")

    return remove


def reduction(own: tuple[str, ...], allowed: frozenset[str], label: str) -> Change:
    """Return the change that removes all properties but those that are allowed."""

    def reduce(members: JsonMembers) -> Note | None:
        names = [name for name in members.names(own) if name not in allowed]
        for name in names:
            members.remove((*own, name))
        if not names:
            return None
        return Note(TRANSFORMED, f"{label}not allowed in {own[0]} and removed: {shown_text(', '.join(names))}")

    return reduce


def absolute(path: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of a property from the event on; it begins at `own` unless it names another member."""
    return path if len(path) > 1 and path[0] in NESTED else (*own, *path)


def dotted(path: tuple[str, ...]) -> str:
    """Return a path as text, with a backslash before each dot in a name."""
    return ".".join(part.replace(".", "\\.") for part in path)


def shown(value: bytes | None) -> str:
    """Return JSON text, shortened for a sentence."""
    if value is None:
        return "(none)"
    if len(value) <= _SHOWN_MAX:
        return value.decode(errors="replace")
    # Cut before it is decoded: it may be a list of 30 KB. A character has at most four bytes.
    return shown_text(value[: 4 * (_SHOWN_MAX + 1)].decode(errors="replace"))


def shown_text(text: str) -> str:
    """Return text, shortened for a sentence."""
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"

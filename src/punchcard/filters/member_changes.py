"""The single changes that a transformation makes of the members of an event, each with its note."""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.filters.change_writer import TRANSFORMED, ChangeWriter, MemberEdit, shown, shown_text
from punchcard.filters.destination_filters import compile_expression
from punchcard.filters.json_members import JsonMembers, Members, find_object
from punchcard.filters.syntax import Condition, Path

NESTED: Final = ("properties", "traits", "context", "integrations")
"""Members of an event that are objects."""

_encode: Final = msgspec.json.Encoder().encode


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


class EventRenaming(msgspec.Struct, frozen=True, array_like=True, tag="event"):
    """The name of a track call becomes another one. Other calls have none."""

    name: str
    label: str

    def write(self, code: ChangeWriter) -> None:
        """Write the statements of the change."""
        text = _encode(self.name)
        _write_setting(code, code.find(()), ("event",), text, f"{self.label}event ", is_added=False)


class Renaming(msgspec.Struct, frozen=True, array_like=True, tag="rename"):
    """The value of a property moves to another name."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    label: str

    def write(self, code: ChangeWriter) -> None:
        """Write the statements of the change."""
        old, new = self.old, self.new
        if new[: len(old)] == old:  # into itself: it would be lost
            return
        parent = code.find(old[:-1])
        note = code.note(f"{self.label}{dotted(old)} → {dotted(new)} (", "value", ")")
        if new[:-1] == old[:-1]:
            code.add(f"value = None if {parent} is None else {parent}.pop({old[-1]!r}, None)")
            code.add(f"if value is not None: {parent}[{new[-1]!r}] = value; {note}")
        else:
            move = code.bind(_move, "move")
            code.add(f"value = {move}(root, {parent}, {old!r}, {new!r})")
            code.add(f"if value is not None: {note}")
            code.forget(new[:1])  # objects on the path of the new name may have been added
        code.forget(old)
        code.forget(new)


class Setting(msgspec.Struct, frozen=True, array_like=True, tag="set"):
    """The value at a path becomes a JSON text, not of an object; missing objects on the path are added."""

    path: tuple[str, ...]
    text: bytes
    label: str

    def write(self, code: ChangeWriter) -> None:
        """Write the statements of the change."""
        parent = code.find(self.path[:-1], is_added=True)
        _write_setting(code, parent, self.path, self.text, f"{self.label}{dotted(self.path)} ", is_added=True)


class Removal(msgspec.Struct, frozen=True, array_like=True, tag="remove"):
    """A property is removed."""

    path: tuple[str, ...]
    label: str

    def write(self, code: ChangeWriter) -> None:
        """Write the statements of the change."""
        parent = code.find(self.path[:-1])
        note = code.note(f"{self.label}{dotted(self.path)} removed (", "value", ")")
        code.add(f"value = None if {parent} is None else {parent}.pop({self.path[-1]!r}, None)")
        code.add(f"if value is not None: {note}")
        code.forget(self.path)


class Reduction(msgspec.Struct, frozen=True, array_like=True, tag="allow"):
    """All properties are removed but those that are allowed."""

    own: str
    allowed: frozenset[str]
    label: str

    def write(self, code: ChangeWriter) -> None:
        """Write the statements of the change."""
        reduce = code.bind(self._reduce, "reduce")
        note = code.note_of_text(f"{self.label}not allowed in {self.own} and removed: ", "value")
        code.add(f"if value := {reduce}({code.find((self.own,))}): {note}")
        code.forget((self.own,))

    def _reduce(self, members: Members | None) -> bytes:
        """Remove the members; return their names, as far as a note shows them."""
        names = [name for name in members or () if name not in self.allowed]
        if members is None or not names:
            return b""
        for name in names:
            del members[name]
        return shown_text(", ".join(names)).encode(errors="replace")


MemberChange = EventRenaming | Renaming | Setting | Removal | Reduction
"""One change of the members of an event."""


def compile_changes(changes: Iterable[MemberChange]) -> MemberEdit:
    """Compile changes into one function that makes them in their order.

    It looks for each object once, whatever the number of changes of its members.
    """
    code = ChangeWriter()
    for change in changes:
        change.write(code)
    return code.edit()


def set_computed(members: JsonMembers, path: tuple[str, ...], text: bytes, label: str) -> Note | None:
    """Set a computed value; return None if it is there already, or if a value on the path is not an object."""
    before = members.get(path)
    if before == text or not members.set(path, text):
        return None
    return Note(TRANSFORMED, f"{label}{dotted(path)} {shown(before)} → {shown(text)}")


def _write_setting(
    code: ChangeWriter, parent: str, path: tuple[str, ...], text: bytes, head: str, *, is_added: bool
) -> None:
    name, after = path[-1], f" → {shown(text)}"
    raw, same = code.bind_raw(text), code.bind(text, "text")
    code.add(f"if {parent} is not None:")
    code.add(f"    value = {parent}.get({name!r})")
    if is_added:
        note = code.note_of_text(f"{head}{shown(None)}{after}")  # as for most events
        code.add(f"    if value is None: {parent}[{name!r}] = {raw}; {note}")
    else:
        code.add("    if value is None: pass")
    code.add(f"    elif value is not {raw} and text_of(value) != {same}:")
    code.add(f"        {parent}[{name!r}] = {raw}; {code.note(head, 'value', after)}")
    code.forget(path)


def _move(root: Members, parent: Members | None, old: tuple[str, ...], new: tuple[str, ...]) -> object:
    """Move a member into another object; return its value, None if it could not be moved."""
    value = None if parent is None else parent.get(old[-1])
    if parent is None or value is None:
        return None
    target = find_object(root, new[:-1], is_added=True)
    if target is None:
        return None
    del parent[old[-1]]
    target[new[-1]] = value
    return value


def absolute(path: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of a property from the event on; it begins at `own` unless it names another member."""
    return path if len(path) > 1 and path[0] in NESTED else (*own, *path)


def dotted(path: tuple[str, ...]) -> str:
    """Return a path as text, with a backslash before each dot in a name."""
    return ".".join(part.replace(".", "\\.") for part in path)

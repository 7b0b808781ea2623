"""Write a function that changes the members of an event: objects are looked up once, constants are bound to names."""

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgspec

from punchcard.events.notes import Note
from punchcard.filters.json_members import Members, inner_object, text_of

TRANSFORMED: Final = "transformed"
"""The reason of the note of a change by a transformation."""

_SHOWN_MAX: Final = 60
_BYTES_MAX: Final = 4 * (_SHOWN_MAX + 1)  # of a value: a character has at most four
_ROOT: Final = "root"


Made = list[int | bytes]
"""What was changed: the number of the note of each change, and the JSON text of the value that the note is about."""


class MemberEdit:
    """A written function, and the notes about what it has changed.

    Args:
        change: Changes the members of an event in place; returns what was changed, empty if nothing.
        notes: The text of each note before and behind its value.
    """

    def __init__(self, change: Callable[[Members], Made], notes: Iterable[tuple[str, str]]) -> None:
        self.change = change
        self._notes = tuple(notes)

    def notes_about(self, made: Iterable[int | bytes]) -> list[Note]:
        """Return the notes about what was changed."""
        parts = iter(made)
        notes = []
        for number, value in cast("Iterable[tuple[int, bytes]]", zip(parts, parts, strict=True)):
            head, tail = self._notes[number]
            notes.append(Note(TRANSFORMED, head + (shown(value) if value else "") + tail))
        return notes


class ChangeWriter:
    """Writes the statements of one function of the members of an event, which returns what it has changed."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._notes: list[tuple[str, str]] = []
        self._names: dict[str, object] = {"inner": inner_object, "text_of": text_of, "Raw": msgspec.Raw}
        self._objects: dict[tuple[str, ...], str] = {}  # variables of the objects that were looked up, by path
        self._added: set[tuple[str, ...]] = set()  # those of them that were added if they were missing
        self._raws: dict[bytes, str] = {}
        self._variables = 0

    def add(self, line: str) -> None:
        """Write a statement. `root` has the members, `made` is the list that is returned, `value` is free for use."""
        self._lines.append(line)

    def find(self, path: tuple[str, ...], *, is_added: bool = False) -> str:
        """Return the variable with the object at a path, which is None if there is none; write how to look it up.

        Args:
            is_added: Add missing objects; the variable is then None if a value on the path is not an object.
        """
        if not path:
            return _ROOT
        variable = self._objects.get(path)
        if variable is not None and (not is_added or path in self._added):
            return variable
        parent = self.find(path[:-1], is_added=is_added)
        self._variables += 1
        variable = self._objects[path] = f"object_{self._variables}"
        added = ", is_added=True" if is_added else ""
        looked_up = f"inner({parent}, {path[-1]!r}{added})"
        self.add(f"{variable} = {looked_up if parent == _ROOT else f'None if {parent} is None else {looked_up}'}")
        if is_added:
            self._added.add(path)
        return variable

    def forget(self, path: tuple[str, ...]) -> None:
        """Look up the objects at and below a path again when they are used next: the value there may have changed."""
        for known in [known for known in self._objects if known[: len(path)] == path]:
            del self._objects[known]
            self._added.discard(known)

    def note(self, head: str, variable: str, tail: str) -> str:
        """Return the statement that adds a note with the value of a variable."""
        # The function runs for every event that matches: a call of our own would take longer than all of this.
        text = f"(bytes({variable}) if {variable}.__class__ is Raw else text_of({variable}))[:{_BYTES_MAX}]"
        return f"made += ({self._number_of(head, tail)}, {text})"

    def note_of_text(self, head: str, variable: str = "b''") -> str:
        """Return the statement that adds a note with a text of our own, which a variable has as bytes."""
        return f"made += ({self._number_of(head, '')}, {variable})"

    def _number_of(self, head: str, tail: str) -> int:
        self._notes.append((head, tail))
        return len(self._notes) - 1

    def bind(self, value: object, name: str) -> str:
        """Return a name that is bound to a value."""
        key = f"{name}_{len(self._names)}"
        self._names[key] = value
        return key

    def bind_raw(self, text: bytes) -> str:
        """Return a name that is bound to a JSON text as a member has it; equal texts share one object."""
        if text not in self._raws:
            self._raws[text] = self.bind(msgspec.Raw(text), "raw")
        return self._raws[text]

    def edit(self) -> MemberEdit:
        """Return the function with its notes."""
        body = "".join(f"    {line}\n" for line in ["made = []", *self._lines, "return made"])
        scope: dict[str, Any] = dict(self._names)
        # The text consists of our own names and constants: text of an author is included only through `repr`.
        exec(compile(f"def change(root):\n{body}", "<transformations>", "exec"), scope)
        return MemberEdit(cast("Callable[[Members], Made]", scope["change"]), self._notes)


def shown(value: bytes | None) -> str:
    """Return JSON text, shortened for a sentence."""
    if value is None:
        return "(none)"
    if len(value) <= _SHOWN_MAX:
        return value.decode(errors="replace")
    return shown_text(value[:_BYTES_MAX].decode(errors="replace"))  # it may be a list of 30 KB


def shown_text(text: str) -> str:
    """Return text, shortened for a sentence."""
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"

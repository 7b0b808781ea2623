"""The changes that several transformations make of an event, as one function that can be stored.

What was routed must not change when a configuration does. The changes are therefore stored with the results of an
event, and applied again to its received text when it is read from the log: that takes far less than storing the text
which they make.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from punchcard.events.model import Event, EventType
from punchcard.events.notes import Note
from punchcard.events.parse import EVENT_BYTES_MAX, read_rewritten, with_text
from punchcard.filters.json_members import decode_members, encode_members
from punchcard.filters.member_changes import NESTED, EventRenaming, MemberChange, Reduction, Renaming, compile_changes

WITH_TRAITS: Final = (EventType.IDENTIFY, EventType.GROUP)
"""Calls with their members in `traits`; the others have `properties`."""

_CHECKED: Final = (("context", "consent"), ("context", "device"))  # what is not free within the members of an event
_NOTES_REMEMBERED_MAX: Final = 256  # of a set: values often repeat
_SETS_REMEMBERED_MAX: Final = 64
_encoder: Final = msgspec.msgpack.Encoder()


class _StoredChanges(NamedTuple):
    of_properties: list[MemberChange]
    of_traits: list[MemberChange]


_decoder: Final = msgspec.msgpack.Decoder(_StoredChanges)


class Transformed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The result of transformations for an event that at least one of them has changed or dropped.

    Attributes:
        event: The event afterwards, None if it goes no further.
        reason: Why not, else "".
        detail: The same in a sentence.
        notes: What was changed, with values before and after; often the same object for the same values.
        changes: What `apply_stored` needs to make the same of the event again; None if it cannot.
    """

    event: Event | None
    reason: str = ""
    detail: str = ""
    notes: tuple[Note, ...] = ()
    changes: bytes | None = None


class ChangeSet:
    """Changes in their order. None of them depends on what another one has changed.

    Args:
        of_properties: The changes of a track, page or screen call.
        of_traits: The changes of an identify or group call.

    Attributes:
        stored: The changes as bytes, for `apply_stored`.
    """

    def __init__(self, of_properties: Sequence[MemberChange], of_traits: Sequence[MemberChange]) -> None:
        self.stored = _encoder.encode(_StoredChanges(list(of_properties), list(of_traits)))
        self._edits = compile_changes(of_properties), compile_changes(of_traits)
        paths = {path for change in (*of_properties, *of_traits) for path in _changed_paths(change)}
        # Whether an event is always valid afterwards, unless it is too large.
        self._leaves_valid = all(path[0] in NESTED for path in paths) and not may_affect(paths, _CHECKED)
        self._objects = tuple(name for name in NESTED if any(path[0] == name for path in paths))
        self._notes: tuple[dict[tuple[int | bytes, ...], tuple[Note, ...]], ...] = ({}, {})

    def apply(self, event: Event) -> Transformed | None:
        """Apply the changes to an event; None if there is nothing to do, or the event would not be valid."""
        number = event.type in WITH_TRAITS
        edit = self._edits[number]
        root = decode_members(event.raw)
        made = edit.change(root)
        if not made:
            return None
        known = self._notes[number]
        key = tuple(made)
        if (notes := known.get(key)) is None:
            if len(known) >= _NOTES_REMEMBERED_MAX:
                known.clear()
            notes = known[key] = tuple(edit.notes_about(made))
        if not self._leaves_valid:
            read = read_rewritten(event, encode_members(root))
            return Transformed(event=read, notes=notes, changes=self.stored) if isinstance(read, Event) else None
        wire = copy(event.wire)  # in a quarter of the time of reading it again
        for name in self._objects:
            members = root.get(name)
            if isinstance(members, dict):
                root[name] = raw = msgspec.Raw(encode_members(members))
                setattr(wire, name, raw)
        text = encode_members(root)
        if len(text) > EVENT_BYTES_MAX:
            return None
        event = Event(event.type, event.message_id, event.timestamp, event.received_at, wire, text, event.notes)
        return Transformed(event=event, notes=notes, changes=self.stored)

    def apply_again(self, event: Event) -> Event:
        """Return what the changes have made of an event when it was routed, with the notes about them."""
        edit = self._edits[event.type in WITH_TRAITS]
        root = decode_members(event.raw)
        notes = edit.notes_about(edit.change(root))
        return with_text(event, encode_members(root), notes)


def apply_stored(event: Event, stored: bytes) -> Event:
    """Return an event as it was routed, with the notes about what was changed.

    Args:
        event: As received.
        stored: The `stored` of the changes that were applied to it.
    """
    return _read(stored).apply_again(event)


@lru_cache(_SETS_REMEMBERED_MAX)
def _read(stored: bytes) -> ChangeSet:
    return ChangeSet(*_decoder.decode(stored))


def may_affect(changed: Iterable[tuple[str, ...]], paths: Iterable[tuple[str, ...]]) -> bool:
    """Return whether a change at any of some paths may change the value at any of other ones."""
    pairs = ((path, other) for path in changed for other in paths)
    return any(path[: len(other)] == other[: len(path)] for path, other in pairs)


def _changed_paths(change: MemberChange) -> Iterator[tuple[str, ...]]:
    match change:
        case EventRenaming():
            yield ("event",)
        case Renaming(old, new):
            yield old
            yield new
        case Reduction(own):
            yield (own,)
        case _:
            yield change.path

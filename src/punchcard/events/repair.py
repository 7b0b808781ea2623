"""Repair text of senders that JSON does not allow, so that one event never costs its whole batch. The slow path.

Libraries of JavaScript, Python and C write NaN, Infinity, half of a surrogate pair, raw control characters, or nesting
deeper than a decoder follows. Such a body is read token by token; each repair is noted with its path.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.notes import JSON_REPAIRED, NOTES_MAX, VALUE_NOT_FINITE, Note

LEVELS_MAX: Final = 100

# Strings, brackets, commas, and words that may be NaN; numbers, colons and white space are skipped. A string without an
# end is one token up to the end of the text, so that nothing is scanned twice.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*("|\\?\Z)|[\[\]{},]|[+-]?[NnIi][A-Za-z]*', re.DOTALL)
_NOT_FINITE: Final = re.compile(rb"[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
ESCAPES: Final = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""A backslash with the characters that belong to it: a surrogate pair, half of one (group 2), or anything else."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_CONTROL: Final = re.compile(rb"[\x00-\x1f]")
_DIRTY: Final = re.compile(rb"[\x00-\x1f]|\\u[dD][89a-fA-F]")
_POSITION_OF_ERROR: Final = re.compile(r"\(byte (\d+)\)")
_MAYBE_NOT_FINITE: Final = b"NnIi"
_ENDS_OF_IDS: Final = (b"id", b"ids")
_PATH_CHARACTERS_MAX: Final = 100
_NOTED_EVENTS_MAX: Final = 5_000
_REPAIRS_MAX: Final = 20_000  # eight for each event of a full batch; more would be a denial-of-service attack
_QUOTE, _COMMA, _OPEN_OBJECT, _OPEN_LIST, _CLOSE_OBJECT, _CLOSE_LIST = b'",{[}]'
_OPENING_OF: Final = {_CLOSE_OBJECT: _OPEN_OBJECT, _CLOSE_LIST: _OPEN_LIST}

Decoded = TypeVar("Decoded")
Notes = dict[int | None, list[Note]]


class Repaired(NamedTuple):
    """A text after its repair.

    Attributes:
        text: Possibly JSON now; decoding it decides.
        notes: The repairs, by the index of their event in `batch`; None for those beside `batch`, and for all of a body
            that is one event.
    """

    text: bytes
    notes: Notes


def decode_repaired(decode: Callable[[bytes], Decoded], text: bytes, *, has_batch: bool) -> tuple[Decoded, Repaired]:
    """Decode the text, after repairs if it needs any.

    Args:
        decode: Raises one of `UNREADABLE`.
        text: UTF-8.
        has_batch: True if the events are the items of the member `batch`.

    Raises:
        msgspec.DecodeError, RecursionError, UnicodeDecodeError: No repair helps; the error describes `text` as
        received.
    """
    try:
        return decode(text), Repaired(text, {})
    except RecursionError as error:
        first: Exception = error
        attempts: Sequence[bool] = (True,)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        if not _is_repairable(text, error):
            raise
        first, attempts = error, (False, True)
    for is_shallow in attempts:
        repair_result = repair(text, has_batch=has_batch, is_shallow=is_shallow)
        if repair_result is None:
            break
        try:
            return decode(repair_result.text), repair_result
        except RecursionError:
            continue
        except msgspec.ValidationError:
            raise
        except UNREADABLE:
            break
    raise first


def repair(text: bytes, *, has_batch: bool, is_shallow: bool = False) -> Repaired | None:
    """Replace what JSON does not allow; None if there is nothing to repair, or the brackets do not match.

    Args:
        text: UTF-8.
        has_batch: True if the events are the items of the member `batch`.
        is_shallow: True to replace everything nested deeper than 100 levels by null.
    """
    levels_max = LEVELS_MAX if is_shallow else len(text)
    repairs = _Repairs(text, has_batch=has_batch)
    brackets: list[int] = []
    places: list[bytes | int] = []  # for each level, the key or the index that is being read
    deep_from = 0
    expects_key = False
    for token in _TOKEN.finditer(text):
        word = token[0]
        sign = word[0]
        if sign == _COMMA:
            if brackets and len(brackets) <= levels_max:
                place = places[-1]
                if isinstance(place, int):
                    places[-1] = place + 1
                else:
                    expects_key = True
        elif sign == _QUOTE:
            if token[1] != b'"':
                return None
            if len(brackets) > levels_max:
                continue
            if expects_key:
                places[-1] = word[1:-1]
                expects_key = False
            if _DIRTY.search(word):
                _clean_string(word, token.start(), places, repairs)
        elif sign in (_OPEN_OBJECT, _OPEN_LIST):
            if len(brackets) == levels_max:
                deep_from = token.start()
            brackets.append(sign)
            places.append(b"" if sign == _OPEN_OBJECT else 0)
            expects_key = sign == _OPEN_OBJECT
            if has_batch and places == [b"batch", 0]:
                repairs.forget_events()  # if a member occurs twice, the last one counts
        elif sign in (_CLOSE_OBJECT, _CLOSE_LIST):
            if not brackets or brackets.pop() != _OPENING_OF[sign]:
                return None
            places.pop()
            expects_key = False
            if len(brackets) == levels_max:
                sentence = f"was nested deeper than {LEVELS_MAX} levels and is read as null"
                repairs.replace(deep_from, token.end(), b"null", Note(JSON_REPAIRED, sentence), places)
        elif len(brackets) <= levels_max and _NOT_FINITE.fullmatch(word):
            note = Note(VALUE_NOT_FINITE, f"was {word.decode()}, which JSON does not allow, and is read as null")
            repairs.replace(token.start(), token.end(), b"null", note, places)
        if repairs.count > _REPAIRS_MAX:
            return None
    return None if brackets else repairs.result()


class _Repairs:
    """Collects replacements of a text, in order, with their notes."""

    def __init__(self, text: bytes, *, has_batch: bool) -> None:
        self._text = text
        self._has_batch = has_batch
        self._parts: list[bytes] = []
        self._kept_from = 0
        self.count = 0
        self._notes: Notes = {}

    def replace(self, start: int, end: int, by: bytes, note: Note, places: Sequence[bytes | int]) -> None:
        """Replace a part of the text; the note's sentence follows the path of the places."""
        self._parts += [self._text[self._kept_from : start], by]
        self._kept_from = end
        self.count += 1
        self.note(note, places)

    def note(self, note: Note, places: Sequence[bytes | int]) -> None:
        """Add a note about the places."""
        index = None
        if self._has_batch and len(places) > 1 and places[0] == b"batch" and isinstance(places[1], int):
            index, places = places[1], places[2:]
        if len(self._notes) > _NOTED_EVENTS_MAX:
            return  # a batch has far fewer valid events
        notes = self._notes.setdefault(index, [])
        # Of the others only the number is reported.
        notes.append(note if len(notes) > NOTES_MAX else Note(note.reason, f"{_path(places)} {note.detail}"))

    def forget_events(self) -> None:
        """Remove the notes of events."""
        self._notes = {index: notes for index, notes in self._notes.items() if index is None}

    def result(self) -> Repaired | None:
        """Return the repaired text, None if nothing was replaced."""
        if not self._parts:
            return None
        return Repaired(b"".join([*self._parts, self._text[self._kept_from :]]), self._notes)


def _clean_string(word: bytes, start: int, places: Sequence[bytes | int], repairs: _Repairs) -> None:
    is_id = bool(places) and isinstance(places[-1], bytes) and places[-1].lower().endswith(_ENDS_OF_IDS)
    unescaped = ESCAPES.sub(_repair_escape_of_id if is_id else _repair_escape, word)
    cleaned = _CONTROL.sub(_escape, unescaped)
    notes = []
    if unescaped != word:
        shown = "� and its number, so that ids stay different" if is_id else "�"
        notes.append(Note(JSON_REPAIRED, f"had half of a surrogate pair, which is read as {shown}"))
    if cleaned != unescaped:
        notes.append(Note(JSON_REPAIRED, "had a control character that JSON requires to be escaped"))
    for number, note in enumerate(notes):
        if number == 0:
            repairs.replace(start, start + len(word), cleaned, note, places)
        else:
            repairs.note(note, places)


def _is_repairable(text: bytes, error: msgspec.DecodeError) -> bool:
    """Return False cheaply for nearly all text that is not JSON: 500 KB of garbage must cost no time."""
    position = _POSITION_OF_ERROR.search(str(error))
    if position is not None:
        at = int(position[1])
        if text[at : at + 1] < b" " or any(sign in _MAYBE_NOT_FINITE for sign in text[max(0, at - 1) : at + 2]):
            return True
    return _SURROGATE.search(text) is not None


def _path(places: Sequence[bytes | int]) -> str:
    path = ".".join(str(place) if isinstance(place, int) else place.decode(errors="replace") for place in places)
    shown = "".join(character if character.isprintable() else "�" for character in path[:_PATH_CHARACTERS_MAX])
    return (shown + "…" if len(path) > _PATH_CHARACTERS_MAX else shown) or "the event"


def _repair_escape(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[2] else escape[0]


def _repair_escape_of_id(escape: re.Match[bytes]) -> bytes:
    """Two ids that differ in nothing else must not become one: the second event would be called a duplicate."""
    return rb"\ufffd" + escape[2][1:].lower() if escape[2] else escape[0]


def _escape(control: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % control[0][0]

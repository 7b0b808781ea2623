"""Drop, mask or hash properties of events, for everything behind a source or for one destination. No I/O.

A hash is keyed with the key that also replaces deleted persons: it never changes, so equal values have equal hashes for
ever, and nobody without the key can find a value by trying.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from punchcard.filters.json_members import JsonMembers
from punchcard.filters.transformation_definitions import split_path
from punchcard.workspace.keyring import mask
from punchcard.workspace.model import PropertyControls

CONTROLLED: Final = "property_controlled"
"""The reason of the note of properties and traits that were dropped, masked or hashed."""
CONTROL_FAILED: Final = "property_control_failed"
NO_HASH_KEY: Final = "the key of the hashes of its properties cannot be read. Put the old secret key back."

_DIGEST_BYTES: Final = 16
_PERSON: Final = b"property"  # so that no hash of a property equals one of a person
_encode: Final = msgspec.json.Encoder().encode


class ControlledProperties:
    """The controls of a source or a destination, compiled.

    Args:
        hash_key: Key of the hashes.
    """

    def __init__(self, controls: PropertyControls, *, hash_key: bytes = b"") -> None:
        self._begun = blake2b(key=hash_key, digest_size=_DIGEST_BYTES, person=_PERSON)
        changes: Mapping[str, tuple[Sequence[str], Callable[[bytes], bytes | None]]] = {
            "dropped": (controls.drop, _drop),
            "masked": (controls.mask, _mask),
            "hashed": (controls.hash, self._hash),
        }
        self._changes = [
            (split_path(name), _encode(split_path(name)[-1].removesuffix("[]"))[:-1], verb, change)
            for verb, (names, change) in changes.items()
            for name in names
        ]

    def apply(self, raw: bytes) -> tuple[bytes, str] | None:
        """Return the JSON text of an event without the values, and what was done; None if it has none of them."""
        changes = [change for change in self._changes if change[1] in raw or b"\\" in raw]
        if not changes:
            return None
        members = JsonMembers(raw)
        done: list[str] = []
        for path, _, verb, change in changes:
            if members.change(path, change):
                done.append(f"{'.'.join(path)} {verb}")
        if not done:
            return None
        return members.encode(), ", ".join(done)

    def _hash(self, value: bytes) -> bytes:
        state = self._begun.copy()
        state.update(text_of_value(value).encode())
        return _encode(state.hexdigest())


def _drop(value: bytes) -> None:
    return None


def _mask(value: bytes) -> bytes:
    return _encode(mask(text_of_value(value)))


def text_of_value(value: bytes) -> str:
    """Return a text itself, and any other value as JSON: `12` and `"12"` are the same."""
    if value.lstrip().startswith(b'"'):
        return msgspec.json.decode(value, type=str)
    return msgspec.json.format(value, indent=-1).decode()  # reads no number, so none is out of range

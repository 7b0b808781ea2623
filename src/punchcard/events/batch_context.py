"""The `context` and `integrations` of a batch, which apply to each event below the event's own members."""

from collections.abc import Mapping
from typing import Final

import msgspec

from punchcard.events.envelope import empty_list_note, is_empty_list
from punchcard.events.faults import UNREADABLE
from punchcard.events.notes import Note

SharedMembers = dict[str, dict[str, msgspec.Raw]]
"""Members by the name of the event's member that contains them."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()
_NOTHING: Final = msgspec.Raw()
_NULL: Final = b"null"
# The event's own consent is never merged: categories that it leaves out were not consented to.
_NEVER_MERGED: Final = frozenset({"consent"})
_MERGED_LEVELS_MAX: Final = 8


def shared_members(context: msgspec.Raw, integrations: msgspec.Raw, ip: str, notes: list[Note]) -> SharedMembers:
    """Return the batch's `context` and `integrations` and the sender's address, which apply to every item."""
    shared: SharedMembers = {"context": {"ip": msgspec.Raw(_encoder.encode(ip))}} if ip else {}
    for name, raw in (("context", context), ("integrations", integrations)):
        if raw and (members := _members(raw)):
            shared[name] = {**shared.get(name, {}), **members}
        elif raw and is_empty_list(raw):
            notes.append(empty_list_note(f"{name} of the batch"))
    return shared


def with_shared(text: bytes, shared: Mapping[str, Mapping[str, msgspec.Raw]], notes: list[Note]) -> bytes:
    """Return the event's text with the shared members below its own; unchanged if it is not an object."""
    event = _members(text)
    if event is None:
        return text
    for name, members in shared.items():
        own = event.get(name, _NOTHING)
        if own and is_empty_list(own):
            notes.append(empty_list_note(name))
            own = _NOTHING
        own_members = {} if not own or bytes(own) == _NULL else _members(own)
        if own_members is not None:
            event[name] = msgspec.Raw(_encoder.encode(_merge(members, own_members, _MERGED_LEVELS_MAX)))
    return _encoder.encode(event)


def _merge(under: Mapping[str, msgspec.Raw], over: Mapping[str, msgspec.Raw], levels: int) -> dict[str, msgspec.Raw]:
    """Merge two objects; for a name in both, the upper value wins, or both are merged likewise if they are objects."""
    merged = {**under, **over}
    if levels and len(merged) < len(under) + len(over):
        for name, own in over.items():
            if name in under and name not in _NEVER_MERGED and bytes(own)[:1] == bytes(under[name])[:1] == b"{":
                lower, upper = _members(under[name]), _members(own)
                if lower is not None and upper is not None:
                    merged[name] = msgspec.Raw(_encoder.encode(_merge(lower, upper, levels - 1)))
    return merged


def _members(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _object.decode(raw)
    except UNREADABLE:
        return None

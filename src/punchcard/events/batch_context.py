"""The `context` and `integrations` of a batch, which count for each of its events under the event's own members."""

from collections.abc import Mapping
from typing import Final

import msgspec

from punchcard.events.envelope import empty_list_note, is_empty_list
from punchcard.events.faults import UNREADABLE
from punchcard.events.notes import Note

SharedMembers = dict[str, dict[str, msgspec.Raw]]
"""By name of the member of the event: the members inside it."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder()
_NOTHING: Final = msgspec.Raw()
_NULL: Final = b"null"
# The event's own consent counts as a whole: what it leaves out was not agreed to.
_NEVER_MERGED: Final = frozenset({"consent"})
_MERGED_LEVELS_MAX: Final = 8


def shared_members(context: msgspec.Raw, integrations: msgspec.Raw, ip: str, notes: list[Note]) -> SharedMembers:
    """The batch's own `context` and `integrations` and the sender's address, which every item gets under its own."""
    shared: SharedMembers = {"context": {"ip": msgspec.Raw(_encoder.encode(ip))}} if ip else {}
    for name, raw in (("context", context), ("integrations", integrations)):
        if raw and (members := _members(raw)):
            shared[name] = {**shared.get(name, {}), **members}
        elif raw and is_empty_list(raw):
            notes.append(empty_list_note(f"{name} of the batch"))
    return shared


def with_shared(text: bytes, shared: Mapping[str, Mapping[str, msgspec.Raw]], notes: list[Note]) -> bytes:
    """The event's text with the shared members under its own; as it is if it is no object."""
    event = _members(text)
    if event is None:
        return text
    for name, members in shared.items():
        own = event.get(name, _NOTHING)
        if own and is_empty_list(own):
            notes.append(empty_list_note(name))
            own = _NOTHING
        below = {} if not own or bytes(own) == _NULL else _members(own)
        if below is not None:
            event[name] = msgspec.Raw(_encoder.encode(_overlaid(members, below, _MERGED_LEVELS_MAX)))
    return _encoder.encode(event)


def _overlaid(under: Mapping[str, msgspec.Raw], over: Mapping[str, msgspec.Raw], levels: int) -> dict[str, msgspec.Raw]:
    """Both objects' members; of those with one name the upper one, or both merged likewise if both are objects."""
    merged = {**under, **over}
    if levels and len(merged) < len(under) + len(over):
        for name, own in over.items():
            if name in under and name not in _NEVER_MERGED and bytes(own)[:1] == bytes(under[name])[:1] == b"{":
                below, above = _members(under[name]), _members(own)
                if below is not None and above is not None:
                    merged[name] = msgspec.Raw(_encoder.encode(_overlaid(below, above, levels - 1)))
    return merged


def _members(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _object.decode(raw)
    except UNREADABLE:
        return None

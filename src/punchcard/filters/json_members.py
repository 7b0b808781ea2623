"""Changes of single members of a JSON object. What is not touched keeps its text, so no number changes its digits."""

from collections.abc import Callable
from typing import Final, cast

import msgspec

Members = dict[str, "msgspec.Raw | Members"]
"""The members of an object by name: a value is JSON text, or a dictionary if something in it was read or changed."""

decode_members: Final = cast(
    "Callable[[bytes | msgspec.Raw], Members]", msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
)
"""Return the members of JSON text; raises `msgspec.DecodeError` if it is not an object."""

encode_members: Final[Callable[[Members], bytes]] = msgspec.json.Encoder().encode
"""Return the JSON text of an object with these members."""


class JsonMembers:
    """The members of a JSON object. Objects inside it are decoded only on the path to a changed member.

    Args:
        raw: JSON text of an object.

    Attributes:
        root: The members.

    Raises:
        msgspec.DecodeError: It is not an object.
    """

    def __init__(self, raw: bytes) -> None:
        self.root = decode_members(raw)

    def encode(self) -> bytes:
        """Return the JSON text."""
        return encode_members(self.root)

    def get(self, path: tuple[str, ...]) -> bytes | None:
        """Return the JSON text at a path, None if there is none."""
        parent = find_object(self.root, path[:-1])
        value = None if parent is None else parent.get(path[-1])
        return None if value is None else text_of(value)

    def set(self, path: tuple[str, ...], value: bytes) -> bool:
        """Set the JSON text at a path; False if a value on the path is not an object. Missing objects are added."""
        parent = find_object(self.root, path[:-1], is_added=True)
        if parent is None:
            return False
        parent[path[-1]] = msgspec.Raw(value)
        return True

    def remove(self, path: tuple[str, ...]) -> bytes | None:
        """Remove the member at a path; return its JSON text, None if there is none."""
        parent = find_object(self.root, path[:-1])
        value = None if parent is None else parent.pop(path[-1], None)
        return None if value is None else text_of(value)


def find_object(root: Members, path: tuple[str, ...], *, is_added: bool = False) -> Members | None:
    """Return the object at a path, to be read or changed; None if there is none.

    Args:
        is_added: Add missing objects.
    """
    current: Members | None = root
    for part in path:
        if current is None:
            break
        current = inner_object(current, part, is_added=is_added)
    return current


def inner_object(members: Members, name: str, *, is_added: bool = False) -> Members | None:
    """Return the object that is a member, to be read or changed; None if the member is not an object.

    Args:
        is_added: Add a missing object; null counts as missing.
    """
    value = members.get(name)
    if isinstance(value, dict):
        return value
    text = b"" if value is None else bytes(value)
    if text[:1] == b"{" or text.lstrip()[:1] == b"{":
        inner = decode_members(text)
    elif is_added and (value is None or text.strip() == b"null"):
        inner = {}
    else:
        return None
    members[name] = inner
    return inner


def text_of(value: "msgspec.Raw | Members") -> bytes:
    """Return the JSON text of a member."""
    return bytes(value) if isinstance(value, msgspec.Raw) else encode_members(value)

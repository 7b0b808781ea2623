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

_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode_items: Final = msgspec.json.Encoder().encode
_ITEMS: Final = "[]"
_NULL: Final = b"null"


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

    def change(self, path: tuple[str, ...], change: Callable[[bytes], bytes | None]) -> bool:
        """Replace each value at a path, but null; return whether there is one.

        Args:
            path: A part such as `items[]` leads to each item of a list.
            change: Returns the JSON text that replaces one, None to remove it.
        """
        return _change_values(self.root, path, change)

    def values(self, path: tuple[str, ...]) -> list[bytes]:
        """Return the JSON texts at a path, as `change` replaces them."""
        texts: list[bytes] = []

        def note(text: bytes) -> bytes:
            texts.append(text)
            return text

        self.change(path, note)
        return texts


def _change_values(members: Members, path: tuple[str, ...], change: Callable[[bytes], bytes | None]) -> bool:
    name, *rest = path
    value = members.get(name)
    if value is None:
        return name.endswith(_ITEMS) and _change_items(members, name.removesuffix(_ITEMS), tuple(rest), change)
    if rest:
        inner = inner_object(members, name)
        return inner is not None and _change_values(inner, tuple(rest), change)
    text = text_of(value)
    if text == _NULL:
        return False
    replaced = change(text)
    if replaced is None:
        del members[name]
    else:
        members[name] = msgspec.Raw(replaced)
    return True


def _change_items(members: Members, name: str, path: tuple[str, ...], change: Callable[[bytes], bytes | None]) -> bool:
    """Change each item of a list that is a member, or at a path in each item that is an object."""
    text = text_of(members.get(name, {}))
    if not text.lstrip().startswith(b"["):
        return False
    items: Members = {str(number): item for number, item in enumerate(_decode_items(text))}
    changed = [_change_values(items, (number, *path), change) for number in list(items)]
    if any(changed):
        members[name] = msgspec.Raw(_encode_items(list(items.values())))
    return any(changed)


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

"""Which properties a schema plans: what is sent besides them is unplanned."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from punchcard.tracking_plans.json_schema import resolve

_ALTERNATIVES: Final = ("allOf", "anyOf", "oneOf")
_BRANCHES: Final = ("if", "then", "else")
_SHAPE_DEPTH_MAX: Final = 40


@dataclass(slots=True)
class Shape:
    """The members that objects at one place may have.

    Attributes:
        names: Planned members.
        inner: Shapes of members that are objects with planned members, or lists of them.
    """

    names: frozenset[str] = frozenset()
    inner: dict[str, "Shape"] = field(default_factory=dict)

    def unplanned(self, members: Mapping[str, object]) -> Iterator[tuple[str | int, ...]]:
        """Yield the paths of the members that are not planned."""
        for name in members.keys() - self.names:
            yield (name,)
        for name, shape in self.inner.items():
            value = members.get(name)
            if isinstance(value, dict):
                for path in shape.unplanned(value):
                    yield (name, *path)
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if isinstance(item, dict):
                        for path in shape.unplanned(item):
                            yield (name, index, *path)


def shape_of(schema: object, root: Mapping[str, object]) -> Shape | None:
    """Return the shape of the objects that a schema describes, None if it plans no members or any.

    A schema that allows additional properties explicitly, or has patterns of names, plans any member.
    """
    reader = _Reader(root)
    reader.read(schema)
    return reader.shape()


def closed_schema(schema: Mapping[str, object], shape: Shape) -> dict[str, object] | None:
    """Return the schema with everything forbidden that its shape does not plan, None if it is too involved for that.

    A value that is valid under it is valid under the schema itself and has no unplanned members. The opposite need not
    hold, so it only decides the usual case fast.
    """
    properties = schema.get("properties")
    if "$ref" in schema or not isinstance(properties, Mapping):
        return None
    members: dict[str, object] = dict(properties)
    for name, inner in shape.inner.items():
        member = members.get(name)
        if not isinstance(member, Mapping):
            return None
        is_list = "properties" not in member
        items = member.get("items") if is_list else member
        closed = closed_schema(items, inner) if isinstance(items, Mapping) and "$ref" not in member else None
        if closed is None or (not is_list and "items" in member):
            return None
        members[name] = {**member, "items": closed} if is_list else closed
    return {**schema, "properties": members, "additionalProperties": False}


def merge_shapes(first: Shape | None, second: Shape | None) -> Shape | None:
    """Return the shape of what either of two schemas plans."""
    if first is None or second is None:
        return first or second
    inner = dict(first.inner)
    for name, shape in second.inner.items():
        merged = merge_shapes(inner.get(name), shape)
        if merged is not None:
            inner[name] = merged
    return Shape(first.names | second.names, inner)


class _Reader:
    """Collects what all parts of a schema plan at one place."""

    def __init__(self, root: Mapping[str, object], depth: int = 0) -> None:
        self._root = root
        self._depth = depth
        self._members: dict[str, list[object]] = {}
        self._plans_members = False
        self._is_open = depth > _SHAPE_DEPTH_MAX

    def read(self, schema: object) -> None:
        if not isinstance(schema, Mapping) or self._is_open:
            return
        if "$ref" in schema:
            self.read(resolve(self._root, schema["$ref"]))
            return
        properties = schema.get("properties")
        if isinstance(properties, Mapping):
            self._plans_members = True
            for name, inner in properties.items():
                self._members.setdefault(name, []).append(inner)
        if schema.get("additionalProperties", False) is not False or schema.get("patternProperties"):
            self._is_open = True
        for key in _ALTERNATIVES:
            for inner in schema.get(key) or ():
                self.read(inner)
        for key in _BRANCHES:
            self.read(schema.get(key))

    def read_items(self, schema: object) -> None:
        """Read the schemas of the items of a list."""
        if not isinstance(schema, Mapping):
            return
        if "$ref" in schema:
            self.read_items(resolve(self._root, schema["$ref"]))
            return
        items = schema.get("items")
        for inner in items if isinstance(items, list | tuple) else (items,):
            self.read(inner)
        for key in _ALTERNATIVES:
            for inner in schema.get(key) or ():
                self.read_items(inner)

    def shape(self) -> Shape | None:
        if self._is_open or not self._plans_members:
            return None
        shapes: dict[str, Shape] = {}
        for name, schemas in self._members.items():
            inner = _Reader(self._root, self._depth + 1)
            for schema in schemas:
                inner.read(schema)
                inner.read_items(schema)
            shape = inner.shape()
            if shape is not None:
                shapes[name] = shape
        return Shape(frozenset(self._members), shapes)

"""Reads a stored part of the configuration as far as it can be read: a damaged document stops no other part."""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from punchcard.store.configuration import StoredDocument
from punchcard.workspace.model import Computation, Destination, Source, Workspace

Part = TypeVar("Part", Workspace, Source, Destination, Computation)
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


@dataclass(frozen=True, kw_only=True)
class SalvagedPart(Generic[Part]):
    """A part as it was read.

    Attributes:
        problem: Why the document could not be read whole, None if it could.
        lost: Names of the members that stand at their defaults, because they could not be read.
    """

    part: Part
    problem: str | None = None
    lost: frozenset[str] = frozenset()


def read_part(document: StoredDocument, type_: type[Part]) -> SalvagedPart[Part]:
    """Return the part that a document holds; of a damaged one, every member that can be read.

    A part with a problem says what is left of it to people and to the lookup of write keys. Nothing may act on it as if
    it were what an operator has configured.
    """
    identity = _identity(document, type_)
    try:
        return SalvagedPart(part=dataclasses.replace(msgspec.json.decode(document.body, type=type_), **identity))
    except _UNREADABLE as error:
        name = f"{document.kind} {document.slug}".rstrip()
        problem = f"the stored {name} cannot be read: {error}"
    try:
        members: Mapping[str, Any] = msgspec.json.decode(document.body, type=dict[str, Any])
    except _UNREADABLE:
        members = {}
    types = typing.get_type_hints(type_)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(type_):
        try:
            values[field.name] = msgspec.convert(members[field.name], types[field.name])
        except (KeyError, msgspec.ValidationError, RecursionError):
            continue
    if type_ is Source and "write_keys" not in values:
        values["write_keys"] = _write_keys(members)
    names = {field.name for field in dataclasses.fields(type_)}
    return SalvagedPart(
        part=type_(**{**_required(document, type_), **values, **identity}),
        problem=problem,
        lost=frozenset(names - values.keys()),
    )


def _identity(document: StoredDocument, type_: type[Part]) -> dict[str, Any]:
    """The members by which others find the part, as its row states them."""
    if type_ is Workspace:
        return {}
    return {"kind": document.kind, "key": document.slug} if type_ is Computation else {"slug": document.slug}


def _required(document: StoredDocument, type_: type[Part]) -> dict[str, Any]:
    """Values for the members without a default."""
    required: dict[type, dict[str, Any]] = {
        Workspace: {},
        Source: {"name": document.slug, "write_keys": ()},
        Destination: {"type": "unreadable", "sources": ()},
        Computation: {"name": document.slug, "definition": ""},
    }
    return required[type_]


def _write_keys(members: Mapping[str, Any]) -> tuple[str, ...]:
    """Write keys wherever the document still states some: events that come with them must not count as nobody's."""
    stated = members.get("write_keys", members.get("write_key"))
    if isinstance(stated, str):
        return (stated,)
    return tuple(key for key in stated if isinstance(key, str)) if isinstance(stated, list) else ()

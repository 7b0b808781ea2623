"""Reads stored parts of the configuration as far as possible: a damaged document affects no other part."""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from punchcard.store.workspace.configuration import StoredDocument
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.model import (
    AlertChannel,
    AlertRule,
    Computation,
    Destination,
    Source,
    Transformation,
    Workspace,
)

Part = TypeVar(
    "Part",
    bound=Workspace | Source | Destination | Computation | Transformation | AlertChannel | AlertRule | TrackingPlan,
)
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)


@dataclass(frozen=True, kw_only=True)
class SalvagedPart(Generic[Part]):
    """A part as far as it could be read.

    Attributes:
        problem: Why the document could not be read completely, None if it could.
        lost: Names of the members that have their defaults because they could not be read.
    """

    part: Part
    problem: str | None = None
    lost: frozenset[str] = frozenset()


def read_part(document: StoredDocument, type_: type[Part]) -> SalvagedPart[Part]:
    """Return the part in a document; of a damaged document, every member that can be read.

    A part with a problem may only be shown to people and used to look up write keys. It must not be used as if an
    operator had configured it so.
    """
    identity = _identity(document, type_)
    try:
        return SalvagedPart(part=dataclasses.replace(msgspec.json.decode(document.body, type=type_), **identity))
    except _UNREADABLE as error:
        name = f"{document.kind.replace('_', ' ')} {document.slug}".rstrip()
        problem = f"The stored {name} cannot be read: {error}."
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
    """Return the identifying members of the part, taken from its row."""
    if type_ is Workspace:
        return {}
    if type_ is AlertRule:
        return {"rule": document.slug}
    return {"kind": document.kind, "key": document.slug} if type_ is Computation else {"slug": document.slug}


def _required(document: StoredDocument, type_: type[Part]) -> dict[str, Any]:
    """Return values for the members without a default."""
    required: dict[type, dict[str, Any]] = {
        Workspace: {},
        Source: {"name": document.slug, "write_keys": ()},
        Destination: {"type": "unreadable", "sources": ()},
        Computation: {"name": document.slug, "definition": ""},
        Transformation: {"name": document.slug, "source": "", "condition": "all"},
        AlertChannel: {"name": document.slug, "url": ""},
        AlertRule: {},
        TrackingPlan: {"name": document.slug},
    }
    return required[type_]


def _write_keys(members: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the write keys that the document still contains: events with them must not count as unknown."""
    stated = members.get("write_keys", members.get("write_key"))
    if isinstance(stated, str):
        return (stated,)
    return tuple(key for key in stated if isinstance(key, str)) if isinstance(stated, list) else ()

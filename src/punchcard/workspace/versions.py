"""Versions of the configuration: every change is kept, encrypted, and can be compared and restored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection

from punchcard.errors import ConfigurationError
from punchcard.store.engine import Store
from punchcard.store.workspace import configuration_versions as versions
from punchcard.store.workspace.configuration import StoredDocument
from punchcard.store.workspace.configuration_versions import ConfigurationVersion, VersionPart
from punchcard.workspace.document import ConfigurationPart
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.persistence import PartKey, parts_by_key, read_documents

_CHANNELS: Final = {"operator": "App", "token": "API"}


@dataclass(frozen=True, kw_only=True)
class VersionChanges:
    """A version with the parts that it has changed, as they were before and after.

    Attributes:
        problem: Why they cannot be read, None if they can: they were encrypted with another key, say.
    """

    version: ConfigurationVersion
    before: Workspace
    after: Workspace
    keys: frozenset[PartKey] = frozenset()
    problem: str | None = None


def channel_of(actor: str) -> str:
    """Return how an actor has made a change: `App`, `API`, or what the actor is called, such as `config file`."""
    word, _, name = actor.partition(" ")
    return _CHANNELS.get(word, actor) if name else actor


def record_version(
    work: Connection,
    *,
    current: Workspace,
    final: Workspace,
    number: int,
    at: datetime,
    actor: str,
    keyring: Keyring,
    restored_from: int | None = None,
) -> None:
    """Store the version that a change leads to, in the unit of work of the change.

    Before the first one, the configuration so far is stored as a version without an actor.

    Args:
        current: The configuration before the change, secrets in plain text.
        number: Revision after the change.
    """
    old, new = parts_by_key(current), parts_by_key(final)
    if number > 1 and not versions.has_versions(work):
        _insert(work, old, number=number - 1, at=at, actor="", keyring=keyring)
    _insert(
        work,
        {key: part for key, part in new.items() if old.get(key) != part},
        sorted(old.keys() - new.keys()),
        number=number,
        at=at,
        actor=actor,
        keyring=keyring,
        restored_from=restored_from,
    )


def read_version(store: Store, number: int, keyring: Keyring) -> Workspace:
    """Return the configuration at a version, secrets in plain text.

    Raises:
        NotFoundError: There is no such version, or it is no longer kept.
        ConfigurationError: It was encrypted with another key.
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        if versions.find_version(work, number) is None:
            raise NotFoundError(f"There is no version {number}, or it is no longer kept.")
        parts = versions.read_parts_at(work, number)
    return _workspace_of(parts, keyring)


def read_changes(store: Store, listed: Sequence[ConfigurationVersion], keyring: Keyring) -> Sequence[VersionChanges]:
    """Return what each of these versions has changed, in their order.

    Raises:
        StorageError: The store is unavailable.
    """
    if not listed:
        return []
    numbers = [version.number for version in listed]
    with store.reading() as work:
        changed = versions.read_changed_parts(work, numbers)
        keys = {(part.kind, part.slug) for part in changed}
        # A list of one part skips the versions between, so what was there before is read for each.
        before = {number: _bodies(versions.read_parts_at(work, number - 1, keys=keys)) for number in numbers}
    after: dict[int, dict[PartKey, VersionPart]] = {number: {} for number in numbers}
    for part in changed:
        after[part.number][part.kind, part.slug] = part
    return [_changes(version, before[version.number], after[version.number], keyring) for version in listed]


def _changes(
    version: ConfigurationVersion,
    before: Mapping[PartKey, VersionPart],
    after: Mapping[PartKey, VersionPart],
    keyring: Keyring,
) -> VersionChanges:
    try:
        return VersionChanges(
            version=version,
            before=_workspace_of([part for key, part in before.items() if key in after], keyring),
            after=_workspace_of(after.values(), keyring),
            keys=frozenset(after),
        )
    except ConfigurationError as error:
        return VersionChanges(
            version=version, before=Workspace(), after=Workspace(), keys=frozenset(after), problem=error.message
        )


def _bodies(parts: Iterable[VersionPart]) -> dict[PartKey, VersionPart]:
    return {(part.kind, part.slug): part for part in parts}


def _workspace_of(parts: Iterable[VersionPart], keyring: Keyring) -> Workspace:
    documents = [
        StoredDocument(kind=part.kind, slug=part.slug, body=keyring.decrypt(part.body))
        for part in parts
        if part.body is not None
    ]
    workspace, _ = read_documents(documents)
    return workspace


def _insert(
    work: Connection,
    changed: Mapping[PartKey, ConfigurationPart],
    removed: Sequence[PartKey] = (),
    *,
    number: int,
    at: datetime,
    actor: str,
    keyring: Keyring,
    restored_from: int | None = None,
) -> None:
    # The whole part is encrypted: write keys, too, must not stay readable after they were removed.
    parts = [
        VersionPart(kind=kind, slug=slug, number=number, body=keyring.encrypt(msgspec.json.encode(part).decode()))
        for (kind, slug), part in changed.items()
    ]
    parts += [VersionPart(kind=kind, slug=slug, number=number, body=None) for kind, slug in removed]
    version = ConfigurationVersion(number=number, at=at, actor=actor, restored_from=restored_from)
    versions.insert_version(work, version, parts)

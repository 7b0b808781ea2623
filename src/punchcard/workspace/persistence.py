"""Reads the workspace from the store and writes changed parts, with encrypted secrets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError
from punchcard.store.engine import Store
from punchcard.store.workspace import configuration
from punchcard.store.workspace.configuration import StoredDocument
from punchcard.store.workspace.ownership import read_file_managed
from punchcard.tracking_plans.model import TrackingPlan
from punchcard.workspace.alert_settings import has_sealed_text, seal_channel, unseal_channel
from punchcard.workspace.document import Catalog, ConfigurationPart, has_sealed_values, seal, unseal
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import (
    AlertChannel,
    AlertRule,
    Computation,
    Destination,
    Source,
    Transformation,
    Workspace,
)
from punchcard.workspace.salvage import read_part
from punchcard.workspace.subject_vault import SubjectVault

PartKey = tuple[str, str]
"""Kind and slug of a part: `("destination", "points")`."""

_PART_TYPES: Final[Mapping[str, type[ConfigurationPart]]] = {
    "workspace": Workspace,
    "source": Source,
    "destination": Destination,
    "audience": Computation,
    "computed_trait": Computation,
    "transformation": Transformation,
    "alert_channel": AlertChannel,
    "alert_rule": AlertRule,
    "tracking_plan": TrackingPlan,
}
"""Of stored documents, by kind."""


@dataclass(frozen=True, kw_only=True)
class StoredWorkspace:
    """The stored configuration at one revision.

    Attributes:
        unreadable: Why a part could not be read completely, by kind and slug. `workspace` has what could be read of it,
            to be shown to people only.
        managed_by_file: Parts that the config file names.
        hash_key: Key of the hashes of properties; None if it does not exist or cannot be decrypted.
    """

    revision: int
    workspace: Workspace
    unreadable: Mapping[PartKey, str] = field(default_factory=dict)
    managed_by_file: frozenset[PartKey] = frozenset()
    hash_key: bytes | None = None


def load(store: Store, keyring: Keyring) -> StoredWorkspace:
    """Return the stored configuration with secrets in plain text and parts sorted by slug.

    Raises:
        ConfigurationError: All secrets were encrypted with another key. (If this affects only some destinations, they
            are unreadable.)
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        while True:
            revision = configuration.revision_of(work)
            stored = read(work)
            # On PostgreSQL each statement sees what was committed before it, so a change may come between the two.
            if configuration.revision_of(work) == revision:
                break
        hash_key = _read_hash_key(work, keyring)
    workspace, sealed = _unseal_readable(stored.workspace, keyring)
    unreadable = {**sealed, **stored.unreadable}
    return replace(stored, revision=revision, workspace=workspace, unreadable=unreadable, hash_key=hash_key)


def _read_hash_key(work: Connection, keyring: Keyring) -> bytes | None:
    try:
        return SubjectVault(keyring).read_key(work)
    except ConfigurationError:  # sources with hashed properties are stopped, and say why
        return None


def load_write_keys(store: Store) -> frozenset[str]:
    """Return the write keys of all sources, including disabled ones, as far as they can be read.

    Raises:
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        documents = configuration.read_documents(work)
    sources = [read_part(document, Source).part for document in documents if document.kind == "source"]
    return frozenset(key for source in sources for key in source.write_keys)


def read(work: Connection) -> StoredWorkspace:
    """Return the stored configuration with sealed secrets. A damaged document does not affect the others."""
    workspace, unreadable = read_documents(configuration.read_documents(work))
    return StoredWorkspace(
        revision=configuration.revision_of(work),
        workspace=workspace,
        unreadable=unreadable,
        managed_by_file=read_file_managed(work),
    )


def read_documents(documents: Iterable[StoredDocument]) -> tuple[Workspace, Mapping[PartKey, str]]:
    """Return the workspace that documents describe, and why a part could not be read completely, by kind and slug."""
    parts: list[ConfigurationPart] = []
    unreadable: dict[PartKey, str] = {}
    with_unknown_sources: set[str] = set()
    for document in documents:
        type_ = _PART_TYPES.get(document.kind)
        if type_ is None:
            continue
        salvaged = read_part(document, type_)
        if salvaged.problem is not None:
            unreadable[document.kind, document.slug] = salvaged.problem
            if "sources" in salvaged.lost:
                with_unknown_sources.add(document.slug)
        parts.append(salvaged.part)
    workspace = with_parts(parts)
    # If the sources of a destination cannot be read, it may be connected to any of them: events of all are held for it.
    slugs = tuple(source.slug for source in workspace.sources)
    destinations = tuple(
        replace(part, sources=slugs) if part.slug in with_unknown_sources else part for part in workspace.destinations
    )
    return replace(workspace, destinations=destinations), unreadable


def write(
    work: Connection,
    desired: Workspace,
    *,
    current: Workspace,
    clock: Clock,
    keyring: Keyring,
    catalog: Catalog = CATALOG,
) -> None:
    """Store every part of `desired` that differs from `current`, and delete the parts that it lacks."""
    old, new = parts_by_key(current), parts_by_key(desired)
    changed = [(key, part) for key, part in new.items() if old.get(key) != part]
    configuration.save_documents(
        work,
        [
            StoredDocument(
                kind=kind,
                slug=slug,
                body=msgspec.json.encode(_sealed(part, keyring, catalog)).decode(),
            )
            for (kind, slug), part in changed
        ],
        updated_at=clock.now(),
    )
    configuration.remove_documents(work, old.keys() - new.keys())
    if any(part.controls.hash for part in (*desired.sources, *desired.destinations)):
        SubjectVault(keyring).open_or_create(work)


def _sealed(part: ConfigurationPart, keyring: Keyring, catalog: Catalog) -> ConfigurationPart:
    """The part as it is stored."""
    if isinstance(part, Destination):
        return seal(part, keyring, catalog=catalog)
    return seal_channel(part, keyring) if isinstance(part, AlertChannel) else part


def _unseal_readable(workspace: Workspace, keyring: Keyring) -> tuple[Workspace, dict[PartKey, str]]:
    """Return the workspace with secrets in plain text; those that cannot be decrypted stay sealed."""
    destinations: list[Destination] = []
    channels: list[AlertChannel] = []
    problems: dict[PartKey, str] = {}
    errors: list[ConfigurationError] = []
    with_secrets = 0
    for destination in workspace.destinations:
        try:
            plain = unseal(destination, keyring)
        except ConfigurationError as error:
            errors.append(error)
            problems["destination", destination.slug] = error.message
            plain = destination
        with_secrets += has_sealed_values(destination)
        destinations.append(plain)
    for channel in workspace.alert_channels:
        with_secrets += has_sealed_text(channel)
        try:
            channels.append(unseal_channel(channel, keyring))
        except ConfigurationError as error:
            errors.append(error)
            problems["alert_channel", channel.slug] = error.message
            channels.append(channel)
    if errors and len(errors) == with_secrets:
        raise errors[0]  # no secret can be decrypted, so the key is wrong
    return replace(workspace, destinations=tuple(destinations), alert_channels=tuple(channels)), problems


def sort_parts(workspace: Workspace) -> Workspace:
    """Return the workspace with its parts sorted by slug: the order in a file has no meaning."""
    return replace(
        workspace,
        sources=tuple(sorted(workspace.sources, key=lambda source: source.slug)),
        destinations=tuple(sorted(workspace.destinations, key=lambda destination: destination.slug)),
        computations=tuple(sorted(workspace.computations, key=lambda computation: computation.key)),
        transformations=tuple(sorted(workspace.transformations, key=lambda transformation: transformation.slug)),
        alert_channels=tuple(sorted(workspace.alert_channels, key=lambda channel: channel.slug)),
        alert_rules=tuple(sorted(workspace.alert_rules, key=lambda rule: rule.rule)),
        tracking_plans=tuple(sorted(workspace.tracking_plans, key=lambda plan: plan.slug)),
    )


def parts_by_key(workspace: Workspace) -> Mapping[PartKey, ConfigurationPart]:
    """Return every part by kind and slug; the workspace's own fields are one part without a slug."""
    parts: dict[PartKey, ConfigurationPart] = {
        ("workspace", ""): replace(
            workspace,
            sources=(),
            destinations=(),
            computations=(),
            transformations=(),
            alert_channels=(),
            alert_rules=(),
            tracking_plans=(),
        )
    }
    parts.update({("source", source.slug): source for source in workspace.sources})
    parts.update({("destination", destination.slug): destination for destination in workspace.destinations})
    parts.update({(computation.kind, computation.key): computation for computation in workspace.computations})
    parts.update(
        {("transformation", transformation.slug): transformation for transformation in workspace.transformations}
    )
    parts.update({("alert_channel", channel.slug): channel for channel in workspace.alert_channels})
    parts.update({("alert_rule", rule.rule): rule for rule in workspace.alert_rules})
    parts.update({("tracking_plan", plan.slug): plan for plan in workspace.tracking_plans})
    return parts


def with_parts(parts: Iterable[ConfigurationPart]) -> Workspace:
    """Return the workspace of these parts, the inverse of `parts_by_key`. Without its own fields they have defaults."""
    given = list(parts)
    own = next((part for part in given if isinstance(part, Workspace)), Workspace())
    return sort_parts(
        replace(
            own,
            sources=tuple(part for part in given if isinstance(part, Source)),
            destinations=tuple(part for part in given if isinstance(part, Destination)),
            computations=tuple(part for part in given if isinstance(part, Computation)),
            transformations=tuple(part for part in given if isinstance(part, Transformation)),
            alert_channels=tuple(part for part in given if isinstance(part, AlertChannel)),
            alert_rules=tuple(part for part in given if isinstance(part, AlertRule)),
            tracking_plans=tuple(part for part in given if isinstance(part, TrackingPlan)),
        )
    )

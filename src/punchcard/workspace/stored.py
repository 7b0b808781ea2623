"""The workspace in the store: read whole, write what changed, secrets encrypted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError
from punchcard.store import configuration
from punchcard.store.configuration import StoredDocument
from punchcard.store.engine import Store
from punchcard.workspace.document import Catalog, seal, unseal
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Computation, Destination, Source, Workspace

_Part = TypeVar("_Part", Workspace, Source, Destination, Computation)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The configuration at one revision."""

    revision: int
    workspace: Workspace


def load(store: Store, keyring: Keyring) -> Stored:
    """The configuration as it stands, secrets in plain text; parts are in order of their slugs.

    Raises:
        ConfigurationError: the secrets were encrypted with another key, or a document cannot be read.
        StorageError: the store is away.
    """
    with store.reading() as work:
        while True:
            revision = configuration.revision_of(work)
            workspace = read(work)
            # PostgreSQL shows each statement what was committed before it: a change may fall between the two.
            if configuration.revision_of(work) == revision:
                break
    return Stored(revision=revision, workspace=unsealed(workspace, keyring))


def read(work: Connection) -> Workspace:
    """The configuration as it stands, secrets still sealed.

    Raises:
        ConfigurationError: a document cannot be read.
    """
    about = Workspace()
    sources: list[Source] = []
    destinations: list[Destination] = []
    computations: list[Computation] = []
    for document in configuration.read_documents(work):
        match document.kind:
            case "workspace":
                about = _decoded(document, Workspace)
            case "source":
                sources.append(_decoded(document, Source))
            case "destination":
                destinations.append(_decoded(document, Destination))
            case "audience" | "computed_trait":
                computations.append(_decoded(document, Computation))
    return in_order(
        replace(about, sources=tuple(sources), destinations=tuple(destinations), computations=tuple(computations))
    )


def write(
    work: Connection,
    wanted: Workspace,
    *,
    current: Workspace,
    clock: Clock,
    keyring: Keyring,
    catalog: Catalog = CATALOG,
) -> None:
    """Store every part of `wanted` that differs from `current`, and forget the parts that it lacks."""
    old, new = _parts(current), _parts(wanted)
    changed = [(key, part) for key, part in new.items() if old.get(key) != part]
    configuration.save_documents(
        work,
        [
            StoredDocument(
                kind=kind,
                slug=slug,
                body=msgspec.json.encode(
                    seal(part, keyring, catalog=catalog) if isinstance(part, Destination) else part
                ).decode(),
            )
            for (kind, slug), part in changed
        ],
        updated_at=clock.now(),
    )
    configuration.remove_documents(work, old.keys() - new.keys())


def unsealed(workspace: Workspace, keyring: Keyring) -> Workspace:
    """The workspace with its secrets in plain text.

    Raises:
        ConfigurationError: they were encrypted with another key.
    """
    return replace(workspace, destinations=tuple(unseal(one, keyring) for one in workspace.destinations))


def in_order(workspace: Workspace) -> Workspace:
    """The workspace with its parts in order of their slugs: the order in a file means nothing."""
    return replace(
        workspace,
        sources=tuple(sorted(workspace.sources, key=lambda source: source.slug)),
        destinations=tuple(sorted(workspace.destinations, key=lambda destination: destination.slug)),
        computations=tuple(sorted(workspace.computations, key=lambda computation: computation.key)),
    )


def _parts(workspace: Workspace) -> Mapping[tuple[str, str], Workspace | Source | Destination | Computation]:
    parts: dict[tuple[str, str], Workspace | Source | Destination | Computation] = {
        ("workspace", ""): replace(workspace, sources=(), destinations=(), computations=())
    }
    parts.update({("source", source.slug): source for source in workspace.sources})
    parts.update({("destination", destination.slug): destination for destination in workspace.destinations})
    parts.update({(one.kind, one.key): one for one in workspace.computations})
    return parts


def _decoded(document: StoredDocument, type_: type[_Part]) -> _Part:
    try:
        return msgspec.json.decode(document.body, type=type_)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"the stored {document.kind} {document.slug} cannot be read: {error}", code="unreadable_configuration"
        ) from error

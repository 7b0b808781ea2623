"""The workspace in the store: read whole, write what changed, secrets encrypted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError
from punchcard.store import configuration
from punchcard.store.configuration import StoredDocument
from punchcard.store.engine import Store
from punchcard.workspace.document import Catalog, has_sealed_values, seal, unseal
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Computation, Destination, Source, Workspace
from punchcard.workspace.salvage import Part, read_part

PartKey = tuple[str, str]
"""Kind and slug of a part: `("destination", "points")`."""


@dataclass(frozen=True, kw_only=True)
class StoredWorkspace:
    """The configuration at one revision.

    Attributes:
        unreadable: Parts that could not be read whole, by kind and slug: why. What could be read of them is in
            `workspace`, for people to see; nothing else may act on it.
    """

    revision: int
    workspace: Workspace
    unreadable: Mapping[PartKey, str] = field(default_factory=dict)


def load(store: Store, keyring: Keyring) -> StoredWorkspace:
    """The configuration as it stands, secrets in plain text; parts are in order of their slugs.

    Raises:
        ConfigurationError: all secrets were encrypted with another key. (Of one destination among others, that
            destination is unreadable.)
        StorageError: the store is away.
    """
    with store.reading() as work:
        while True:
            revision = configuration.revision_of(work)
            found = read(work)
            # PostgreSQL shows each statement what was committed before it: a change may fall between the two.
            if configuration.revision_of(work) == revision:
                break
    workspace, sealed = _unseal_readable(found.workspace, keyring)
    return StoredWorkspace(revision=revision, workspace=workspace, unreadable={**sealed, **found.unreadable})


def load_write_keys(store: Store) -> frozenset[str]:
    """Every write key that a source has, disabled ones too, as far as the rows of sources can be read.

    Raises:
        StorageError: the store is away.
    """
    with store.reading() as work:
        documents = configuration.read_documents(work)
    sources = [read_part(document, Source).part for document in documents if document.kind == "source"]
    return frozenset(key for source in sources for key in source.write_keys)


def read(work: Connection) -> StoredWorkspace:
    """The configuration as it stands, secrets still sealed. Whatever a document holds, the others are read."""
    about = Workspace()
    sources: list[Source] = []
    destinations: list[Destination] = []
    computations: list[Computation] = []
    unreadable: dict[PartKey, str] = {}
    connected_to_unknown: set[str] = set()

    def part_of(document: StoredDocument, type_: type[Part]) -> Part:
        found = read_part(document, type_)
        if found.problem is not None:
            unreadable[document.kind, document.slug] = found.problem
            if "sources" in found.lost:
                connected_to_unknown.add(document.slug)
        return found.part

    for document in configuration.read_documents(work):
        match document.kind:
            case "workspace":
                about = part_of(document, Workspace)
            case "source":
                sources.append(part_of(document, Source))
            case "destination":
                destinations.append(part_of(document, Destination))
            case "audience" | "computed_trait":
                computations.append(part_of(document, Computation))
    # A destination whose sources cannot be read may be any source's: events are held for it rather than lost to it.
    every = tuple(source.slug for source in sources)
    destinations = [
        replace(destination, sources=every) if destination.slug in connected_to_unknown else destination
        for destination in destinations
    ]
    return StoredWorkspace(
        revision=configuration.revision_of(work),
        workspace=sort_parts(
            replace(about, sources=tuple(sources), destinations=tuple(destinations), computations=tuple(computations))
        ),
        unreadable=unreadable,
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
    old, new = parts_by_key(current), parts_by_key(wanted)
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


def _unseal_readable(workspace: Workspace, keyring: Keyring) -> tuple[Workspace, dict[PartKey, str]]:
    """The workspace with its secrets in plain text; those of an unreadable destination stay sealed."""
    destinations: list[Destination] = []
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
    if errors and len(errors) == with_secrets:
        raise errors[0]  # not one is readable: it is the key that is wrong
    return replace(workspace, destinations=tuple(destinations)), problems


def sort_parts(workspace: Workspace) -> Workspace:
    """The workspace with its parts in order of their slugs: the order in a file means nothing."""
    return replace(
        workspace,
        sources=tuple(sorted(workspace.sources, key=lambda source: source.slug)),
        destinations=tuple(sorted(workspace.destinations, key=lambda destination: destination.slug)),
        computations=tuple(sorted(workspace.computations, key=lambda computation: computation.key)),
    )


def parts_by_key(workspace: Workspace) -> Mapping[PartKey, Workspace | Source | Destination | Computation]:
    """Every part by its kind and slug; the workspace's own fields are one part without a slug."""
    parts: dict[PartKey, Workspace | Source | Destination | Computation] = {
        ("workspace", ""): replace(workspace, sources=(), destinations=(), computations=())
    }
    parts.update({("source", source.slug): source for source in workspace.sources})
    parts.update({("destination", destination.slug): destination for destination in workspace.destinations})
    parts.update({(computation.kind, computation.key): computation for computation in workspace.computations})
    return parts

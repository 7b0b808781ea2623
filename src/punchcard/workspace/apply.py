"""Making a workspace the running one: one unit of work, one revision, every entrance the same way."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError, InvariantError
from punchcard.store import audit, configuration
from punchcard.store.engine import Store
from punchcard.workspace import persistence
from punchcard.workspace.document import Catalog, secret_keys, unseal
from punchcard.workspace.filter_ids import assign_filter_ids
from punchcard.workspace.filter_times import assign_filter_times
from punchcard.workspace.keyring import Keyring, is_masked, mask
from punchcard.workspace.model import Destination, Workspace
from punchcard.workspace.persistence import PartKey
from punchcard.workspace.plan import Change, plan
from punchcard.workspace.problems import KeyPath, Problem, raise_problems, render_path
from punchcard.workspace.telemetry import WorkspaceTelemetry
from punchcard.workspace.validate import find_problems


def apply(
    store: Store,
    wanted: Workspace,
    *,
    clock: Clock,
    keyring: Keyring,
    actor: str,
    expected_revision: int | None = None,
    is_whole: bool = False,
    catalog: Catalog = CATALOG,
) -> list[Change]:
    """Make `wanted` the configuration; what it lacks is removed, but for what is kept for the partner endpoint.

    A masked secret in it, as `export` prints it, keeps the stored one. Secrets that were encrypted with a lost key
    can be given anew.

    Args:
        actor: Who does it, for the audit log.
        expected_revision: The revision that the caller has seen; None to replace whatever stands.
        is_whole: True if what is kept for the partner endpoint is in `wanted` too, and goes if it is not.

    Returns:
        What was changed; empty if it stood already, and then the revision stays.

    Raises:
        ConfigurationError: `wanted` is not valid (one line per problem), or code `configuration_changed`: another
            change came first. Nothing was changed.
        StorageError: the store cannot be written.
    """
    with store.unit_of_work() as work:
        revision = configuration.lock_revision(work)
        if expected_revision is not None and revision != expected_revision:
            raise ConfigurationError(
                "the configuration was changed by somebody else meanwhile; look at it again and repeat the change",
                code="configuration_changed",
                revision=revision,
            )
        standing = persistence.read(work)
        current = _unseal_readable(standing.workspace, keyring)
        final = _complete(wanted if is_whole else _add_managed(wanted, current), current, catalog)
        if is_whole:
            _refuse_partial_change(current, wanted, standing.unreadable)
            final = _keep_unreadable_unchanged(final, current, standing.unreadable)
        else:
            current = _drop_replaced_unreadable(current, standing.unreadable, keep=final)
        changes = plan(current, final, catalog=catalog)
        if changes:
            final = _assign_filter_times(work, current, final, clock)
            persistence.write(work, final, current=current, clock=clock, keyring=keyring, catalog=catalog)
            if not configuration.raise_revision(work, expected=revision):
                raise InvariantError("the configuration's revision moved under its lock")
            for change in changes:
                _record_change(work, change, actor=actor, clock=clock)
    if changes:
        WorkspaceTelemetry().configuration_changed(revision=revision + 1, changes=changes)
    return changes


def preview(store: Store, wanted: Workspace, *, keyring: Keyring, catalog: Catalog = CATALOG) -> list[Change]:
    """What `apply` would change, with the same refusals.

    Raises:
        ConfigurationError: as `apply`.
        StorageError: the store is away.
    """
    with store.reading() as work:
        standing = persistence.read(work)
        current = _unseal_readable(standing.workspace, keyring)
    final = _complete(_add_managed(wanted, current), current, catalog)
    return plan(_drop_replaced_unreadable(current, standing.unreadable, keep=final), final, catalog=catalog)


def edit(
    store: Store,
    change: Callable[[Workspace], Workspace],
    *,
    clock: Clock,
    keyring: Keyring,
    actor: str,
    catalog: Catalog = CATALOG,
) -> list[Change]:
    """Change the running configuration by a function of it; other changes made at the same time are kept.

    Args:
        change: Called with the configuration as it stands (secrets in plain text), perhaps more than once.
        actor: Who does it, for the audit log.

    Raises:
        ConfigurationError: as `apply`, or the stored secrets were encrypted with another key.
        StorageError: the store cannot be written.
    """
    while True:
        standing = persistence.load(store, keyring)
        try:
            return apply(
                store,
                change(standing.workspace),
                clock=clock,
                keyring=keyring,
                actor=actor,
                expected_revision=standing.revision,
                is_whole=True,
                catalog=catalog,
            )
        except ConfigurationError as error:
            # Somebody else won this round, so each repetition is another's progress.
            if error.code != "configuration_changed":
                raise


def restore_masked_secrets(wanted: Destination, standing: Destination, *, catalog: Catalog = CATALOG) -> Destination:
    """The destination with each masked secret replaced by the one that stands, as `apply` does; others stay masked."""
    return _restore_secrets(wanted, standing, catalog, [])


def _record_change(work: Connection, change: Change, *, actor: str, clock: Clock) -> None:
    values = [
        {"path": render_path(value.path), "before": value.before, "after": value.after} for value in change.values
    ]
    audit.record(
        work,
        at=clock.now(),
        actor=actor,
        kind=change.kind,
        resource_type=change.part,
        resource_id=change.slug,
        changes=json.dumps(values, ensure_ascii=False),
    )


def _assign_filter_times(work: Connection, current: Workspace, final: Workspace, clock: Clock) -> Workspace:
    standing = {destination.slug: destination for destination in current.destinations}
    now = clock.now()
    return replace(
        final,
        destinations=tuple(
            destination
            if destination == standing.get(destination.slug)
            else assign_filter_times(
                destination,
                standing.get(destination.slug),
                now=now,
                changed_at=partial(configuration.changed_at, work, "destination", destination.slug),
            )
            for destination in final.destinations
        ),
    )


def _add_managed(wanted: Workspace, current: Workspace) -> Workspace:
    """The wanted workspace with what no config file holds: the labels, and what is kept for the partner endpoint."""
    labels = {source.slug: source.labels for source in current.sources}
    wanted = replace(
        wanted,
        labels=wanted.labels or current.labels,
        sources=tuple(
            replace(source, labels=source.labels or labels.get(source.slug, ())) for source in wanted.sources
        ),
    )
    sources = {source.slug for source in wanted.sources}
    destinations = {destination.slug for destination in wanted.destinations}
    return replace(
        wanted,
        sources=wanted.sources
        + tuple(source for source in current.sources if source.is_managed and source.slug not in sources),
        destinations=wanted.destinations
        + tuple(
            destination
            for destination in current.destinations
            if destination.is_managed and destination.slug not in destinations
        ),
    )


def _unseal_readable(workspace: Workspace, keyring: Keyring) -> Workspace:
    # A destination whose secrets cannot be read stays sealed: it differs from any wanted one, so it is written anew.
    def readable(destination: Destination) -> Destination:
        try:
            return unseal(destination, keyring)
        except ConfigurationError:
            return destination

    return replace(workspace, destinations=tuple(readable(destination) for destination in workspace.destinations))


def _complete(wanted: Workspace, current: Workspace, catalog: Catalog) -> Workspace:
    """The wanted workspace with masked secrets replaced by the stored ones, and no problem that was not there before.

    What an older version has stored and this one refuses disables its own part. It must not keep an operator from
    changing anything else, least of all from correcting it.
    """
    problems: list[Problem] = []
    standing = {destination.slug: destination for destination in current.destinations}
    completed = persistence.sort_parts(
        replace(
            wanted,
            destinations=tuple(
                assign_filter_ids(
                    _restore_secrets(destination, standing.get(destination.slug), catalog, problems),
                    standing.get(destination.slug),
                )
                for destination in wanted.destinations
            ),
        )
    )
    before = Counter(map(_signature, find_problems(current, catalog=catalog)))
    for problem in find_problems(completed, catalog=catalog):
        if before[_signature(problem)]:
            before[_signature(problem)] -= 1
        else:
            problems.append(problem)
    raise_problems(problems)
    return completed


def _signature(problem: Problem) -> tuple[object, ...]:
    """What a problem is, wherever its part stands in the list."""
    return (*(part for part in problem.path if not isinstance(part, int)), problem.message)


def _refuse_partial_change(current: Workspace, wanted: Workspace, unreadable: Mapping[PartKey, str]) -> None:
    """Refuse to change a part of which only a remainder is known: saving it would make that remainder the truth."""
    before, after = persistence.parts_by_key(current), persistence.parts_by_key(wanted)
    problems = [
        Problem(
            path=(f"{kind}s", slug) if slug else (kind,),
            message=f"{reason}. It cannot be changed piece by piece: delete it and add it again, or apply a config "
            "file that holds it",
        )
        for (kind, slug), reason in unreadable.items()
        if (kind, slug) in after and before[kind, slug] != after[kind, slug]
    ]
    raise_problems(problems)


def _keep_unreadable_unchanged(final: Workspace, current: Workspace, unreadable: Mapping[PartKey, str]) -> Workspace:
    """The final workspace without what completing it has added to parts that nobody has changed."""
    stands = {
        destination.slug: destination
        for destination in current.destinations
        if ("destination", destination.slug) in unreadable
    }
    return replace(
        final, destinations=tuple(stands.get(destination.slug, destination) for destination in final.destinations)
    )


def _drop_replaced_unreadable(current: Workspace, unreadable: Mapping[PartKey, str], *, keep: Workspace) -> Workspace:
    """The current workspace without the unreadable parts that are replaced: those are written anew, equal or not."""
    replaced = unreadable.keys() & persistence.parts_by_key(keep).keys()
    return replace(
        current,
        name="" if ("workspace", "") in replaced else current.name,  # no workspace has this name
        sources=tuple(source for source in current.sources if ("source", source.slug) not in replaced),
        destinations=tuple(
            destination for destination in current.destinations if ("destination", destination.slug) not in replaced
        ),
        computations=tuple(
            computation for computation in current.computations if (computation.kind, computation.key) not in replaced
        ),
    )


def _restore_secrets(
    wanted: Destination, standing: Destination | None, catalog: Catalog, problems: list[Problem]
) -> Destination:
    sections = {"settings": _drop_nulls(wanted.settings), "options": _drop_nulls(wanted.options)}
    kept: Mapping[str, Mapping[str, object]] = (
        {} if standing is None else {"settings": standing.settings, "options": standing.options}
    )
    for section, key in secret_keys(wanted, catalog=catalog):
        path: KeyPath = ("destinations", wanted.slug, section, key)
        value, secret = sections[section].get(key), kept.get(section, {}).get(key)
        if isinstance(value, Mapping):  # each of its values is a secret
            stored_values = secret if isinstance(secret, Mapping) else {}
            sections[section][key] = {
                name: _restore_secret(item, stored_values.get(name), (*path, str(name)), problems)
                for name, item in value.items()
            }
        elif key in sections[section]:
            sections[section][key] = _restore_secret(value, secret, path, problems)
    return replace(wanted, settings=sections["settings"], options=sections["options"])


def _restore_secret(value: object, secret: object, path: KeyPath, problems: list[Problem]) -> object:
    """Return the stored secret if the value is its mask, else the value."""
    if not isinstance(value, str) or not is_masked(value):
        return value
    if isinstance(secret, str) and mask(secret) == value:
        return secret
    reason = "none is stored" if secret is None else "the stored one is another or cannot be read"
    message = f'"{value}" stands for the stored secret, but {reason}; give the secret itself'
    problems.append(Problem(path=path, message=message))
    return value


def _drop_nulls(values: Mapping[str, object]) -> dict[str, object]:
    # In JSON a value is also left out by null; a file could not hold that.
    return {key: value for key, value in values.items() if value is not None}

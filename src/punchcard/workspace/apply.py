"""Applies a workspace as the running configuration: in one unit of work, as one revision, for file, App and API."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError, InvariantError
from punchcard.store.engine import Store
from punchcard.store.workspace import configuration
from punchcard.store.workspace.ownership import read_file_managed, write_file_managed
from punchcard.workspace import persistence
from punchcard.workspace.alert_settings import restore_secrets, unseal_channel
from punchcard.workspace.change_log import RecordedChange, record_changes
from punchcard.workspace.document import Catalog, secret_keys, unseal
from punchcard.workspace.filter_ids import assign_filter_ids
from punchcard.workspace.filter_times import assign_filter_times
from punchcard.workspace.keyring import Keyring, is_masked, mask
from punchcard.workspace.model import AlertChannel, Destination, Workspace
from punchcard.workspace.ownership import merge_file, named_parts, refuse_managed
from punchcard.workspace.persistence import PartKey, StoredWorkspace
from punchcard.workspace.plan import Change, plan
from punchcard.workspace.problems import KeyPath, Problem, raise_problems
from punchcard.workspace.telemetry import WorkspaceTelemetry
from punchcard.workspace.validate import find_problems
from punchcard.workspace.write_key_masks import restore_write_keys


def apply(
    store: Store,
    desired: Workspace,
    *,
    clock: Clock,
    keyring: Keyring,
    actor: str,
    expected_revision: int | None = None,
    is_whole: bool = False,
    from_file: bool = False,
    restored_from: int | None = None,
    catalog: Catalog = CATALOG,
) -> list[Change]:
    """Make `desired` the running configuration. What it lacks is removed, except what the partner endpoint manages.

    A masked secret, as `export` prints it, keeps the stored one. Secrets that were encrypted with a lost key can be
    replaced.

    Args:
        actor: Who makes the change, for the audit log.
        expected_revision: Revision that the change is based on; None to replace any revision.
        from_file: True if a config file describes `desired`: it manages what it names from then on, and what belongs
            to the App stays.
        is_whole: True if `desired` includes what the partner endpoint manages: if it is missing, it is removed.
        restored_from: Number of the version that `desired` restores, None if it restores none.

    Returns:
        The changes; empty if the configuration was the same, and then the revision stays.

    Raises:
        ConfigurationError: `desired` is not valid (one line per problem), or code `configuration_changed`: another
            change was saved first. Nothing was changed.
        ManagedByFileError: `is_whole`, and a part is changed that the config file manages.
        StorageError: The store cannot be written.
    """
    with store.unit_of_work() as work:
        revision = configuration.lock_revision(work)
        if expected_revision is not None and revision != expected_revision:
            raise ConfigurationError(
                "Somebody else has changed the configuration meanwhile. Reload it and make your change again.",
                code="configuration_changed",
                revision=revision,
            )
        stored = persistence.read(work)
        current = _unseal_readable(stored.workspace, keyring)
        named = named_parts(desired) if from_file else stored.managed_by_file
        if is_whole:
            # Before the change is validated: what the file manages must be corrected there anyway.
            refuse_managed(current, desired, stored.managed_by_file, catalog=catalog)
            final = _complete(desired, current, catalog)
            _refuse_partial_change(current, desired, stored.unreadable)
            final = _keep_unreadable_unchanged(final, current, stored.unreadable)
        else:
            current, final = _replace_parts(desired, current, stored, from_file=from_file, catalog=catalog)
        changes = plan(current, final, catalog=catalog)
        write_file_managed(work, named)
        if changes or named != stored.managed_by_file:
            final = _assign_filter_times(work, current, final, clock)
            persistence.write(work, final, current=current, clock=clock, keyring=keyring, catalog=catalog)
            if not configuration.raise_revision(work, expected=revision):
                raise InvariantError("The configuration's revision has changed while it was locked.")
            recorded = RecordedChange(current=current, final=final, number=revision + 1, restored_from=restored_from)
            record_changes(work, changes, recorded, actor=actor, clock=clock, keyring=keyring)
    if changes:
        WorkspaceTelemetry().configuration_changed(revision=revision + 1, changes=changes)
    return changes


def release_from_file(store: Store) -> int:
    """Leave everything that the config file manages to the App; return how many parts that were.

    Raises:
        StorageError: The store cannot be written.
    """
    with store.unit_of_work() as work:
        revision = configuration.lock_revision(work)
        released = read_file_managed(work)
        if released:
            write_file_managed(work, ())
            configuration.raise_revision(work, expected=revision)
    return len(released)


def preview(
    store: Store, desired: Workspace, *, keyring: Keyring, from_file: bool = False, catalog: Catalog = CATALOG
) -> list[Change]:
    """Return what `apply` would change.

    Raises:
        ConfigurationError: As `apply`.
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        stored = persistence.read(work)
        current = _unseal_readable(stored.workspace, keyring)
    current, final = _replace_parts(desired, current, stored, from_file=from_file, catalog=catalog)
    return plan(current, final, catalog=catalog)


def edit(
    store: Store,
    change: Callable[[Workspace], Workspace],
    *,
    clock: Clock,
    keyring: Keyring,
    actor: str,
    restored_from: int | None = None,
    catalog: Catalog = CATALOG,
) -> list[Change]:
    """Change the running configuration by a function. Concurrent changes are kept: the function is then called again.

    Args:
        change: Called with the current configuration (secrets in plain text), possibly more than once.
        actor: Who makes the change, for the audit log.
        restored_from: As for `apply`.

    Raises:
        ConfigurationError: As `apply`, or the stored secrets were encrypted with another key.
        StorageError: The store cannot be written.
    """
    while True:
        stored = persistence.load(store, keyring)
        try:
            return apply(
                store,
                change(stored.workspace),
                clock=clock,
                keyring=keyring,
                actor=actor,
                expected_revision=stored.revision,
                is_whole=True,
                restored_from=restored_from,
                catalog=catalog,
            )
        except ConfigurationError as error:
            # Another change was saved first. Each repetition means that somebody has made progress, so this ends.
            if error.code != "configuration_changed":
                raise


def restore_masked_secrets(desired: Destination, current: Destination, *, catalog: Catalog = CATALOG) -> Destination:
    """Return the destination with each masked secret replaced by the stored one if they match, as `apply` does."""
    return _restore_secrets(desired, current, catalog, [])


def _replace_parts(
    desired: Workspace, current: Workspace, stored: StoredWorkspace, *, from_file: bool, catalog: Catalog
) -> tuple[Workspace, Workspace]:
    """Return the current workspace without unreadable parts that are replaced, and the final one."""
    merged = merge_file(desired, current, stored.managed_by_file) if from_file else desired
    final = _complete(_add_managed(merged, current), current, catalog)
    if from_file:
        # Of an unreadable part that belongs to the App only a remainder is known: it stays as it is stored.
        named = named_parts(desired)
        others = {key: reason for key, reason in stored.unreadable.items() if key not in named}
        final = _keep_unreadable_unchanged(final, current, others)
        replaced = {key: reason for key, reason in stored.unreadable.items() if key in named}
        return _drop_replaced_unreadable(current, replaced, keep=final), final
    return _drop_replaced_unreadable(current, stored.unreadable, keep=final), final


def _assign_filter_times(work: Connection, current: Workspace, final: Workspace, clock: Clock) -> Workspace:
    current_by_slug = {destination.slug: destination for destination in current.destinations}
    now = clock.now()
    return replace(
        final,
        destinations=tuple(
            destination
            if destination == current_by_slug.get(destination.slug)
            else assign_filter_times(
                destination,
                current_by_slug.get(destination.slug),
                now=now,
                changed_at=partial(configuration.changed_at, work, "destination", destination.slug),
            )
            for destination in final.destinations
        ),
    )


def _add_managed(desired: Workspace, current: Workspace) -> Workspace:
    """Return the desired workspace with what config files do not contain: labels, and managed parts."""
    labels = {source.slug: source.labels for source in current.sources}
    desired = replace(
        desired,
        labels=desired.labels or current.labels,
        sources=tuple(
            replace(source, labels=source.labels or labels.get(source.slug, ())) for source in desired.sources
        ),
    )
    sources = {source.slug for source in desired.sources}
    destinations = {destination.slug for destination in desired.destinations}
    return replace(
        desired,
        sources=desired.sources
        + tuple(source for source in current.sources if source.is_managed and source.slug not in sources),
        destinations=desired.destinations
        + tuple(
            destination
            for destination in current.destinations
            if destination.is_managed and destination.slug not in destinations
        ),
    )


def _unseal_readable(workspace: Workspace, keyring: Keyring) -> Workspace:
    # A destination with unreadable secrets stays sealed: it differs from any desired one, so it is written again.
    def readable(destination: Destination) -> Destination:
        try:
            return unseal(destination, keyring)
        except ConfigurationError:
            return destination

    def readable_channel(channel: AlertChannel) -> AlertChannel:
        try:
            return unseal_channel(channel, keyring)
        except ConfigurationError:
            return channel

    return replace(
        workspace,
        destinations=tuple(readable(destination) for destination in workspace.destinations),
        alert_channels=tuple(readable_channel(channel) for channel in workspace.alert_channels),
    )


def _complete(desired: Workspace, current: Workspace, catalog: Catalog) -> Workspace:
    """Return the desired workspace with masked secrets restored; raise if it has problems that `current` has not.

    A part that an older version has stored and that this version refuses is disabled. It must not prevent an operator
    from changing other parts, or from correcting it.
    """
    problems: list[Problem] = []
    current_by_slug = {destination.slug: destination for destination in current.destinations}
    sources_by_slug = {source.slug: source for source in current.sources}
    completed = persistence.sort_parts(
        replace(
            desired,
            sources=tuple(
                restore_write_keys(source, sources_by_slug.get(source.slug), problems) for source in desired.sources
            ),
            destinations=tuple(
                assign_filter_ids(
                    _restore_secrets(destination, current_by_slug.get(destination.slug), catalog, problems),
                    current_by_slug.get(destination.slug),
                )
                for destination in desired.destinations
            ),
            alert_channels=restore_secrets(desired.alert_channels, current.alert_channels, problems),
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
    """Return what identifies a problem independently of the position of its part in a list."""
    return (*(part for part in problem.path if not isinstance(part, int)), problem.message)


def _refuse_partial_change(current: Workspace, desired: Workspace, unreadable: Mapping[PartKey, str]) -> None:
    """Refuse to change a part that is only partly readable: saving it would lose the rest."""
    before, after = persistence.parts_by_key(current), persistence.parts_by_key(desired)
    problems = [
        Problem(
            path=(f"{kind}s", slug) if slug else (kind,),
            message=f"{reason.rstrip('.')}. It cannot be changed partially. Delete it and add it again, or apply a "
            "config file that contains it.",
        )
        for (kind, slug), reason in unreadable.items()
        if (kind, slug) in after and before[kind, slug] != after[kind, slug]
    ]
    raise_problems(problems)


def _keep_unreadable_unchanged(final: Workspace, current: Workspace, unreadable: Mapping[PartKey, str]) -> Workspace:
    """Return the final workspace with unreadable destinations as they are stored, without generated values."""
    unreadable_destinations = {
        destination.slug: destination
        for destination in current.destinations
        if ("destination", destination.slug) in unreadable
    }
    return replace(
        final,
        destinations=tuple(
            unreadable_destinations.get(destination.slug, destination) for destination in final.destinations
        ),
    )


def _drop_replaced_unreadable(current: Workspace, unreadable: Mapping[PartKey, str], *, keep: Workspace) -> Workspace:
    """Return the current workspace without unreadable parts that are replaced, so that they are written again."""
    replaced = unreadable.keys() & persistence.parts_by_key(keep).keys()
    return replace(
        current,
        name="" if ("workspace", "") in replaced else current.name,  # differs from every valid name
        sources=tuple(source for source in current.sources if ("source", source.slug) not in replaced),
        destinations=tuple(
            destination for destination in current.destinations if ("destination", destination.slug) not in replaced
        ),
        computations=tuple(
            computation for computation in current.computations if (computation.kind, computation.key) not in replaced
        ),
        alert_channels=tuple(
            channel for channel in current.alert_channels if ("alert_channel", channel.slug) not in replaced
        ),
        alert_rules=tuple(rule for rule in current.alert_rules if ("alert_rule", rule.rule) not in replaced),
        tracking_plans=tuple(plan for plan in current.tracking_plans if ("tracking_plan", plan.slug) not in replaced),
    )


def _restore_secrets(
    desired: Destination, current: Destination | None, catalog: Catalog, problems: list[Problem]
) -> Destination:
    sections = {"settings": _drop_nulls(desired.settings), "options": _drop_nulls(desired.options)}
    stored_sections: Mapping[str, Mapping[str, object]] = (
        {} if current is None else {"settings": current.settings, "options": current.options}
    )
    for section, key in secret_keys(desired, catalog=catalog):
        path: KeyPath = ("destinations", desired.slug, section, key)
        value, secret = sections[section].get(key), stored_sections.get(section, {}).get(key)
        if isinstance(value, Mapping):  # each of its values is a secret
            stored_values = secret if isinstance(secret, Mapping) else {}
            sections[section][key] = {
                name: _restore_secret(item, stored_values.get(name), (*path, str(name)), problems)
                for name, item in value.items()
            }
        elif key in sections[section]:
            sections[section][key] = _restore_secret(value, secret, path, problems)
    return replace(desired, settings=sections["settings"], options=sections["options"])


def _restore_secret(value: object, secret: object, path: KeyPath, problems: list[Problem]) -> object:
    """Return the stored secret if the value is its mask, else the value itself."""
    if not isinstance(value, str) or not is_masked(value):
        return value
    if isinstance(secret, str) and mask(secret) == value:
        return secret
    reason = "no secret is stored" if secret is None else "the stored secret differs or cannot be read"
    message = f'"{value}" is the mask of a stored secret, but {reason}. Enter the secret itself.'
    problems.append(Problem(path=path, message=message))
    return value


def _drop_nulls(values: Mapping[str, object]) -> dict[str, object]:
    # In JSON, null means that a value is left out; TOML has no null.
    return {key: value for key, value in values.items() if value is not None}

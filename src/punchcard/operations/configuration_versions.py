"""The versions of the configuration as operators see them: list, compare, restore, undo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.operations.queued_awards import count_queued
from punchcard.operations.row_ids import is_row_id
from punchcard.store.engine import Store
from punchcard.store.workspace import configuration
from punchcard.store.workspace import configuration_versions as stored_versions
from punchcard.store.workspace.configuration_versions import ConfigurationVersion
from punchcard.workspace import persistence
from punchcard.workspace.apply import edit
from punchcard.workspace.change_texts import PartChange, describe_changes
from punchcard.workspace.editing import Edit, NotFoundError
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.ownership import find_managed
from punchcard.workspace.part_names import describe_part
from punchcard.workspace.persistence import PartKey, parts_by_key
from punchcard.workspace.plan import plan
from punchcard.workspace.restoring import Restore, restore_edit, undo_edit
from punchcard.workspace.versions import read_changes, read_version


@dataclass(frozen=True, kw_only=True)
class DescribedVersion:
    """A version with its changes in words.

    Attributes:
        is_first: True for what was there before versions were kept.
        problem: Why the changes cannot be read, None if they can.
    """

    version: ConfigurationVersion
    changes: Sequence[PartChange]
    is_first: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class RestorePlan:
    """What a restore would change.

    Attributes:
        changes: In words; empty if the configuration is as at the version.
        managed: Parts among them that the config file manages, which prevents the restore.
        left: Parts that differ, but stay as the config file has them.
        names: How messages name the parts of `managed` and `left`.
    """

    restore: Restore
    changes: Sequence[PartChange]
    managed: Sequence[PartKey] = ()
    left: Sequence[PartKey] = ()
    names: Mapping[PartKey, str] = field(default_factory=dict)

    @property
    def needs_owner(self) -> bool:
        """True if only owners may make the changes: those of alert channels."""
        return any(change.part == "alert_channel" for change in self.changes)


class ConfigurationVersions:
    """Lists, compares and restores versions.

    Args:
        keyring: Decrypts what the versions have stored.
    """

    def __init__(self, store: Store, keyring: Keyring, *, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock

    @staticmethod
    def number_of(text: str) -> int:
        """Return the number of a version that a path or a command names.

        Raises:
            NotFoundError: The text cannot be the number of a version.
        """
        if not is_row_id(text):
            raise _no_version(text)
        return int(text)

    def page(self, *, count: int, before: int | None = None, part: PartKey | None = None) -> Sequence[DescribedVersion]:
        """Return versions, newest first.

        Args:
            before: Only those with a lower number.
            part: Only those that have changed this part; other changes of them are left out.

        Raises:
            StorageError: The store is unavailable.
        """
        with self._store.reading() as work:
            listed = stored_versions.list_versions(work, count=count, before=before, part=part)
        return self._describe(listed, part)

    def count(self, *, part: PartKey | None = None) -> int:
        """Return how many versions there are, or have changed a part.

        Raises:
            StorageError: The store is unavailable.
        """
        with self._store.reading() as work:
            return stored_versions.count_versions(work, part=part)

    def get(self, number: int) -> DescribedVersion:
        """Return one version.

        Raises:
            NotFoundError: There is no such version, or it is no longer kept.
            StorageError: The store is unavailable.
        """
        return self._describe([self._find(number)], None)[0]

    def diff(self, number: int, other: int | None = None, *, part: PartKey | None = None) -> Sequence[PartChange]:
        """Return what turns one version into another, in words.

        Args:
            other: None for the current configuration.
            part: Only changes of this part.

        Raises:
            NotFoundError: There is no such version, or it is no longer kept.
            ConfigurationError: A version was encrypted with another key.
            StorageError: The store is unavailable.
        """
        before = read_version(self._store, number, self._keyring)
        after = self._current() if other is None else read_version(self._store, other, self._keyring)
        return _only(describe_changes(before, after), part)

    def plan(self, restore: Restore, *, skip_managed: bool = False) -> RestorePlan:
        """Return what a restore would change.

        Args:
            skip_managed: True to leave what the config file manages as it is.

        Raises:
            NotFoundError: There is no such version, or it has no such part.
            ConfigurationError: It was encrypted with another key, or a destination with a queue would be removed.
            StorageError: The store is unavailable.
        """
        stored = persistence.load(self._store, self._keyring)
        past = read_version(self._store, restore.number, self._keyring)
        desired = self._edit(past, restore)(stored.workspace)
        managed = find_managed(plan(stored.workspace, desired), stored.managed_by_file)
        left: Sequence[PartKey] = ()
        if skip_managed and managed:
            restore, left, managed = replace(restore, leave=restore.leave | frozenset(managed)), managed, ()
            desired = self._edit(past, restore)(stored.workspace)
        current, old = parts_by_key(stored.workspace), parts_by_key(past)
        return RestorePlan(
            restore=restore,
            changes=describe_changes(stored.workspace, desired),
            managed=managed,
            left=left,
            names={key: describe_part(key, current, old) for key in (*managed, *left)},
        )

    def restore(self, planned: RestorePlan, *, actor: str) -> int | None:
        """Restore what was planned; return the number of the new version, None if nothing differed.

        Raises:
            ManagedByFileError: It would change what the config file manages.
            ConfigurationError: The result is not valid today: a destination's source was deleted, say.
            StorageError: The store cannot be written.
        """
        past = read_version(self._store, planned.restore.number, self._keyring)
        return self._apply(self._edit(past, planned.restore), actor=actor, restored_from=planned.restore.number)

    def undo(self, number: int, *, actor: str) -> int | None:
        """Take back what a version has changed; return the number of the new version.

        Raises:
            NotFoundError: There is no such version, or it is no longer kept.
            ManagedByFileError: The config file manages what would change.
            ConfigurationError: One of its parts was changed again, or the result is not valid today.
            StorageError: The store cannot be written.
        """
        (changes,) = read_changes(self._store, [self._find(number)], self._keyring)
        change = undo_edit(changes.before, changes.after, changes.keys, count_queued=self._count_queued)
        return self._apply(change, actor=actor, restored_from=None)

    def current_revision(self) -> int:
        """Return the revision of the stored configuration.

        Raises:
            StorageError: The store is unavailable.
        """
        with self._store.reading() as work:
            return configuration.revision_of(work)

    def refuse_stale(self, change: Edit, *, part: PartKey, revision: int) -> Edit:
        """Return the edit for an operator who has seen a part of the configuration at a revision.

        Without this check, two operators who edit the same map would undo each other's changes silently.

        Raises:
            ConfigurationError: (the edit) The part was changed after the revision, code `changed_since`.
        """

        def checked(workspace: Workspace) -> Workspace:
            later = [described for described in self.page(count=1, part=part) if described.version.number > revision]
            if not later:
                return change(workspace)
            name = describe_part(part, parts_by_key(workspace))
            sentences = "; ".join(sentence for changed in later[0].changes for sentence in changed.sentences)
            raise ConfigurationError(
                f"{name[:1].upper()}{name[1:]} was changed by {later[0].version.actor} after you opened this page"
                f"{f': {sentences}' if sentences else ''}. Nothing was saved. Add that change to yours if you want to "
                "keep it: saving again replaces it with what this page shows.",
                code="changed_since",
            )

        return checked

    def newest_of(self, actor: str) -> int | None:
        """Return the number of the newest version if this actor has made it, else None.

        Raises:
            StorageError: The store is unavailable.
        """
        with self._store.reading() as work:
            newest = stored_versions.list_versions(work, count=1)
        return newest[0].number if newest and newest[0].actor == actor else None

    def _apply(self, change: Edit, *, actor: str, restored_from: int | None) -> int | None:
        changes = edit(
            self._store, change, clock=self._clock, keyring=self._keyring, actor=actor, restored_from=restored_from
        )
        if not changes:
            return None
        with self._store.reading() as work:
            return stored_versions.list_versions(work, count=1)[0].number

    def _edit(self, past: Workspace, restore: Restore) -> Edit:
        return restore_edit(past, restore, count_queued=self._count_queued)

    def _count_queued(self, destination: str) -> int:
        return count_queued(self._store, destination)

    def _current(self) -> Workspace:
        return persistence.load(self._store, self._keyring).workspace

    def _find(self, number: int) -> ConfigurationVersion:
        with self._store.reading() as work:
            version = stored_versions.find_version(work, number)
        if version is None:
            raise _no_version(number)
        return version

    def _describe(self, listed: Sequence[ConfigurationVersion], part: PartKey | None) -> Sequence[DescribedVersion]:
        return [
            DescribedVersion(
                version=changes.version,
                changes=()
                if not changes.version.actor
                else _only(describe_changes(changes.before, changes.after), part),
                is_first=not changes.version.actor,
                problem=changes.problem,
            )
            for changes in read_changes(self._store, listed, self._keyring)
        ]


def _no_version(number: int | str) -> NotFoundError:
    return NotFoundError(f"There is no version {number}, or it is no longer kept.")


def _only(changes: Sequence[PartChange], part: PartKey | None) -> Sequence[PartChange]:
    return [change for change in changes if part is None or change.key == part]

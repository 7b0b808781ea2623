"""The running configuration as operators read and edit it."""

from collections.abc import Sequence

from punchcard.clock import Clock
from punchcard.lake.reader import LakeReader
from punchcard.operations.configuration_versions import ConfigurationVersions
from punchcard.operations.refused_settings import changed_destinations, warn_of_refused_settings
from punchcard.operations.save_warnings import find_save_warnings
from punchcard.store.engine import Store
from punchcard.store.workspace.configuration import revision_of
from punchcard.workspace import persistence
from punchcard.workspace.apply import edit
from punchcard.workspace.editing import Edit
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.snapshot import Snapshot, SnapshotWatch
from punchcard.workspace.subject_vault import SubjectVault


class RunningConfiguration:
    """Reads and edits the configuration in the store.

    Attributes:
        versions: What it was before.
        subjects: Hashes and encrypts the subjects of regulations.
        keyring: Encrypts secrets that are stored outside the configuration.

    Args:
        watch: Provides the compiled configuration.
        lake: Events that changed filters and definitions are checked with.
    """

    def __init__(self, store: Store, keyring: Keyring, watch: SnapshotWatch, *, lake: LakeReader, clock: Clock) -> None:
        self._store = store
        self.keyring = keyring
        self._watch = watch
        self._lake = lake
        self._clock = clock
        self.versions = ConfigurationVersions(store, keyring, clock=clock)
        self.subjects = SubjectVault(keyring)
        self._read: tuple[int, Workspace] | None = None  # the revision with what was read of it

    def snapshot(self) -> Snapshot:
        """Return the compiled configuration.

        Raises:
            ConfigurationError: There is no good snapshot yet, and the stored configuration cannot be read.
            StorageError: There is no good snapshot yet, and the store is unavailable.
        """
        return self._watch.newest()

    def workspace(self) -> Workspace:
        """Return the configuration as stored, with secrets in plain text.

        Raises:
            ConfigurationError: All secrets were encrypted with another key.
            StorageError: The store is unavailable.
        """
        with self._store.reading() as work:
            revision = revision_of(work)
        read = self._read
        if read is None or read[0] != revision:
            stored = persistence.load(self._store, self.keyring)
            read = self._read = stored.revision, stored.workspace
        return read[1]

    def edit(self, change: Edit, *, actor: str) -> Sequence[str]:
        """Change the configuration; return warnings about likely mistakes.

        Args:
            actor: Who makes the change, for the audit log.

        Raises:
            ConfigurationError: The changed configuration is not valid. Nothing was changed.
            StorageError: The store cannot be written.
        """
        before = self.workspace()
        edit(self._store, change, clock=self._clock, keyring=self.keyring, actor=actor)
        self._watch.refresh()
        after = self.workspace()
        warnings = find_save_warnings(before, after, store=self._store, lake=self._lake, clock=self._clock)
        return [*warnings.all(), *warn_of_refused_settings(after, changed_destinations(before, after))]

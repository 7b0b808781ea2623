"""The Delta log of a lake on S3 during a repair: read from a local copy, and repaired without changing what is there.

A repair adds one commit behind every existing log file, and then a checkpoint of that version, which has the repaired
state. The commit is written only if no other process has written one: a worker that is appending either comes first,
and the repair begins again, or it loses the race, sees the repair and reads the table again. Damaged files stay where
they are; nobody reads them behind the checkpoint, and the next cleaning of the log deletes them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from punchcard.clock import Clock, to_micros
from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.delta_log import GoodState, LogFiles, restore_state
from punchcard.lake.location import LOG, LakeLocation
from punchcard.lake.object_log import APPLICATION, REPAIR, commit_content, commit_path, version_of
from punchcard.lake.object_store import ObjectStore
from punchcard.lake.object_table import upload_checkpoint
from punchcard.lake.table import LakeTable, LostRaceError


def without_replaced_damage(log: LogFiles) -> LogFiles:
    """Leave out damaged files that the newest readable checkpoint replaces: an earlier repair has left them there."""
    newest = max(log.checkpoints, default=-1)
    return replace(log, damaged=[path for path in log.damaged if int(path.name[:20]) > newest])


class ObjectLogCopy:
    """A copy of the log in a folder.

    Args:
        folder: An empty folder.

    Raises:
        LakeError: The object store is unavailable.
    """

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self.folder = folder
        self._versions: list[int] = []
        (folder / LOG).mkdir(parents=True)
        items = list(store.objects(LOG))
        for item, content in zip(items, store.read_all(items), strict=True):
            if content is not None:
                (folder / item.path).write_bytes(content)
            if (version := version_of(item.path)) is not None:
                self._versions.append(version)

    def repair(
        self,
        state: GoodState,
        *,
        added: Sequence[DataFile],
        removed: Sequence[DataFile],
        position: int,
        clock: Clock,
    ) -> None:
        """Repair the log: the state, changed by files, becomes the newest version.

        Args:
            position: The highest log position that the table holds then.

        Raises:
            LostRaceError: Another process has written a commit meanwhile; nothing has changed.
            LakeError: The object store is unavailable; repeat the repair.
        """
        local = self._local_table(state)
        through = position if position > local.last_position() else None
        local.commit(added, removed=removed, through_position=through, clock=clock, drops_rows=True)
        self._create_checkpoint()
        version = max(self._versions, default=-1) + 1
        barrier = commit_content(
            [],
            [],
            changes=False,
            now_millis=to_micros(clock.now()) // 1000,
            transactions={APPLICATION: position, REPAIR: version},
            operation="REPAIR",
        )
        if not self._store.create(commit_path(version), barrier):
            raise LostRaceError(f"Another process has written version {version} of the data lake during the repair.")
        upload_checkpoint(self._store, self.folder, local.version(), as_version=version)

    def _local_table(self, state: GoodState) -> LakeTable:
        restore_state(self.folder, state, aside=self.folder / ".damaged")
        table = LakeTable(LakeLocation(str(self.folder)))
        if not table.refresh():
            table.create_table()
        return table

    def _create_checkpoint(self) -> None:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            DeltaTable(self.folder).create_checkpoint()
        except (OSError, DeltaError) as error:
            raise LakeError(f"The data lake's log cannot be repaired: {error}.") from error

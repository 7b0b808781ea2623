"""The Delta table itself: opened, brought up to date, and committed to only in the state in which it was seen."""

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from punchcard.clock import Clock, to_micros
from punchcard.errors import LakeError, StorageError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import BOUNDED, PARTITION, table_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable

# The `txn` action of our commits: its version is the highest log position that the table holds.
_APPLICATION = "punchcard"
# A commit every few seconds makes 30,000 a day. Opening the table reads the last checkpoint and the commits behind it.
_COMMITS_PER_CHECKPOINT = 50
_CONFIGURATION = {
    "delta.checkpointInterval": str(_COMMITS_PER_CHECKPOINT),
    # Every commit lists the log, so it is kept short; who reads an older state begins again from the checkpoint.
    "delta.logRetentionDuration": "interval 30 minutes",
    # How long a reader may use a list of files; also how long a checkpoint carries the names of files merged away.
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.dataSkippingStatsColumns": ",".join(BOUNDED),
}


class LostRaceError(StorageError):
    """Somebody else has committed since the table was looked at: nothing of this commit happened."""

    code = "lost_race"


class LakeTable:
    """One process's view of the table. For one thread at a time.

    Raises:
        StorageError: from every method: the table cannot be reached.
    """

    def __init__(self, location: LakeLocation) -> None:
        self.location = location
        self._delta: DeltaTable | None = None
        self._opened = 0
        self._position = 0
        self._mark = location.repair_mark()
        self._checkpoint_due = _COMMITS_PER_CHECKPOINT  # a version; a process that starts makes one as a rule

    def refresh(self) -> bool:
        """See what has been committed; False if there is no table."""
        if (mark := self.location.repair_mark()) != self._mark:
            self._delta, self._mark = None, mark
        if self._delta is not None and not self.location.has_version(self._delta.version()):
            self._delta = None  # the newest commit is gone: what is left of the table, only a look at all of it says
        if self._delta is None and not self.location.has_table():
            self._position = 0
            return False
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        if self._delta is not None and self._delta.version() - self._opened < _COMMITS_PER_CHECKPOINT:
            try:
                self._delta.update_incremental()
                self._see()
                return True
            except (OSError, DeltaError):
                # The commits behind what we knew may have been cleaned away: begin again from the last checkpoint.
                self._delta = None
        try:
            # Also now and then because a view made of many increments is slow: after 2,000 each takes 100 ms.
            self._delta = DeltaTable(self.location.url)
            self._see()
        except TableNotFoundError:
            self._delta, self._position = None, 0
            return False
        except (OSError, DeltaError) as error:
            self._delta = None
            cause = str(error).partition("\n")[0]  # behind it deltalake lists its own calls
            raise LakeError(f"the data lake at {self.location.url} cannot be read: {cause}") from error
        self._opened = self._delta.version()
        return True

    def create(self) -> None:
        """Make the table if it was not there when last looked at.

        Raises:
            LakeError: there are data files without a log, which only a repair may put together.
        """
        if self._delta is not None:
            self._add_columns()
            return
        if self.location.has_data_files():
            # Its log is gone: a new table beside them would let a vacuum delete them.
            raise LakeError(f"the data lake at {self.location.url} cannot be read: it has data files and no log")
        self.create_anew()

    def create_anew(self) -> None:
        """Make the table, whatever lies in the folder."""
        from deltalake import DeltaTable, Schema
        from deltalake.exceptions import DeltaError

        try:
            if self.location.folder:
                self.location.folder.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                self.location.url,
                Schema.from_arrow(table_schema()),
                mode="ignore",
                partition_by=[PARTITION],
                configuration=_CONFIGURATION,
            )
            self.location.settle_commit(0)
        except (OSError, DeltaError) as error:
            if not self.refresh():  # or another process was faster
                raise LakeError(f"the data lake at {self.location.url} cannot be created: {error}") from error
            return
        self.refresh()

    def _add_columns(self) -> None:
        """Let a table of an older version have the columns of today."""
        from deltalake import Schema
        from deltalake.exceptions import DeltaError

        delta = cast("DeltaTable", self._delta)
        there = {field.name for field in delta.schema().fields}
        missing = [field for field in Schema.from_arrow(table_schema()).fields if field.name not in there]
        if not missing:
            return
        try:
            delta.alter.add_columns(missing)
            self.location.settle_commit(delta.version())
        except (OSError, DeltaError) as error:
            raise LakeError(f"the data lake at {self.location.url} cannot be given new columns: {error}") from error
        finally:
            self.refresh()

    def last_position(self) -> int:
        """The highest log position in the table as last seen, 0 if there is none."""
        return self._position

    def names(self, file: DataFile) -> bool:
        """Whether the file is part of the table as last seen."""
        return any(file.path == one.path for one in self.files())

    def files(self) -> list[DataFile]:
        """The data files as last seen, newest log positions first."""
        if self._delta is None:
            return []
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        names = ["path", f"partition.{PARTITION}", "size_bytes", "num_records", "min.log_position", "max.log_position"]
        try:
            actions = pa.table(self._delta.get_add_actions(flatten=True)).select(names)
        except (DeltaError, pa.ArrowException, KeyError) as error:
            raise LakeError(f"the data lake at {self.location.url} cannot be read: {error}") from error
        columns = actions.to_pydict()
        if any(value is None for values in columns.values() for value in values):
            raise LakeError(f"the data lake at {self.location.url} cannot be read: a commit is incomplete")
        files = [
            DataFile(path=path, day=_day(day), bytes=size, rows=rows, first_position=first, last_position=last)
            for path, day, size, rows, first, last in zip(*columns.values(), strict=True)
        ]
        return sorted(files, key=lambda file: (file.last_position, file.first_position), reverse=True)

    def commit(
        self,
        added: Sequence[DataFile],
        *,
        removed: Sequence[DataFile] = (),
        through_position: int | None,
        clock: Clock,
        drops_rows: bool = False,
    ) -> None:
        """Commit on top of the state last seen, or not at all.

        Args:
            added: Files that become part of the table.
            removed: Files that the added ones replace, rows unchanged.
            drops_rows: True if the removed files' rows are to be gone.
            through_position: The highest log position that the table holds after this commit; None leaves it.

        Raises:
            LostRaceError: the table has moved on, or holds that position already; this commit is not in it.
            StorageError: this commit is perhaps in it; look at `last_position` after a `refresh`.
        """
        from deltalake import CommitProperties, PostCommitHookProperties, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import AddAction, RemoveAction

        if through_position is not None and through_position <= self._position:
            raise LostRaceError(f"the lake holds the log through {self._position}")
        delta = cast("DeltaTable", self._delta)
        now = to_micros(clock.now()) // 1000
        changes = not removed or drops_rows
        actions = [
            AddAction(one.path, one.bytes, {PARTITION: one.day.isoformat()}, now, changes, one.statistics())
            for one in added
        ] + [RemoveAction(one.path, changes, now, one.bytes, {PARTITION: one.day.isoformat()}) for one in removed]
        transactions = None if through_position is None else [Transaction(_APPLICATION, through_position, now)]
        version = delta.version() + 1
        try:
            delta.create_write_transaction(
                actions,
                mode="append",
                schema=delta.schema(),
                partition_by=[PARTITION],
                # No retries: deltalake would repeat the commit on a state that we have not looked at.
                commit_properties=CommitProperties(max_commit_retries=0, app_transactions=transactions),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
            self.location.settle_commit(version)
        except CommitFailedError as error:
            self.refresh()
            if self.version() < version:
                raise LakeError(f"the data lake at {self.location.url} cannot be written: {error}") from error
            raise LostRaceError(f"the lake has moved on to version {self.version()}: {error}") from error
        except (OSError, DeltaError) as error:
            raise LakeError(f"the data lake at {self.location.url} cannot be written: {error}") from error
        self.refresh()
        if through_position is not None and self._position < through_position:
            raise LakeError(f"the lake holds the log through {self._position} after a commit of {through_position}")

    def keep_log_short(self) -> None:
        """Write a checkpoint when it is time, and forget commits that are older than some hours.

        Raises:
            StorageError: it could not be written; the table is as good as before.
        """
        from deltalake.exceptions import DeltaError

        if self._delta is None or self._delta.version() < self._checkpoint_due:
            return
        try:
            self._delta.create_checkpoint()
            self._delta.cleanup_metadata()
        except (OSError, DeltaError) as error:
            raise LakeError(f"the data lake's log at {self.location.url} cannot be shortened: {error}") from error
        self._checkpoint_due = self._delta.version() + _COMMITS_PER_CHECKPOINT

    def vacuum(self) -> int:
        """Delete files that no commit has named for an hour; returns how many."""
        from deltalake.exceptions import DeltaError

        if self._delta is None:
            return 0
        try:
            deleted = self._delta.vacuum(dry_run=False, full=True)
            self._delta.update_incremental()
        except (OSError, DeltaError) as error:
            raise LakeError(f"the data lake at {self.location.url} cannot be tidied: {error}") from error
        return len(deleted)

    def version(self) -> int:
        """The version as last seen, -1 if there is no table."""
        return -1 if self._delta is None else self._delta.version()

    def _see(self) -> None:
        # Read at once: deltalake looks it up in the log's files, which may be gone when it is asked for.
        if self._delta is not None:
            self._position = self._delta.transaction_version(_APPLICATION) or 0


def _day(value: datetime.date | str) -> datetime.date:
    return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(value)

"""The Delta table in a folder: opened, refreshed, and committed to only in the state in which it was last seen."""

import datetime
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, cast

from punchcard.clock import Clock, to_micros
from punchcard.errors import LakeError, StorageError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import BOUNDED, PARTITION, table_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable, Field

# The `txn` action of our commits: its version is the highest log position that the table holds.
_APPLICATION = "punchcard"
# A commit every few seconds makes 30,000 a day. Opening the table reads the last checkpoint and the commits behind it.
COMMITS_PER_CHECKPOINT = 50
_CONFIGURATION = {
    "delta.checkpointInterval": str(COMMITS_PER_CHECKPOINT),
    # Every commit lists the log, so it is kept short; a reader of an older state starts again from the checkpoint.
    "delta.logRetentionDuration": "interval 30 minutes",
    # How long a reader may use a list of files; also how long a checkpoint has the names of merged files.
    "delta.deletedFileRetentionDuration": "interval 1 hours",
    "delta.dataSkippingStatsColumns": ",".join(BOUNDED),
}


class LostRaceError(StorageError):
    """Another process has committed since the table was last seen; nothing of this commit was done."""

    code = "lost_race"


class LakeTable:
    """A process's view of the table. For one thread at a time.

    Raises:
        StorageError: From every method: the table cannot be reached.
    """

    def __init__(self, location: LakeLocation) -> None:
        self.location = location
        self._delta: DeltaTable | None = None
        self._opened = 0
        self._log_mark = 0  # of the log as it was read; 0 if it must be read again
        self._commit_mark = (0, 0)  # of its newest commit
        self._position = 0
        self._mark = location.repair_mark()
        self._checkpoint_due = COMMITS_PER_CHECKPOINT  # a version; a process usually writes one when it starts

    def refresh(self) -> bool:
        """Read what has been committed; False if there is no table."""
        if (repair_mark := self.location.repair_mark()) != self._mark:
            self._delta, self._mark = None, repair_mark
        if self._delta is not None and not self.location.has_version(self._delta.version()):
            self._delta = None  # the newest commit is gone: only reading the whole log shows what is left
        if self._delta is None and not self.location.has_table():
            self._position = 0
            return False
        mark = self.location.log_mark()  # before reading: what is committed meanwhile is read the next time
        if self._delta is not None and mark == self._log_mark and self._is_newest(self._delta.version()):
            return True
        self._log_mark = 0
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        if self._delta is not None and self._delta.version() - self._opened < COMMITS_PER_CHECKPOINT:
            try:
                self._delta.update_incremental()
                self._read_position()
                self._note_read(mark)
                return True
            except (OSError, DeltaError):
                # The commits after the known version may have been cleaned up: start again from the last checkpoint.
                self._delta = None
        try:
            # Also from time to time, because many increments make a view slow: after 2,000 each takes 100 ms.
            self._delta = DeltaTable(self.location.url)
            self._read_position()
        except TableNotFoundError:
            self._delta, self._position = None, 0
            return False
        except (OSError, DeltaError) as error:
            self._delta = None
            cause = str(error).partition("\n")[0]  # the other lines are deltalake's call stack
            raise LakeError(f"The data lake at {self.location.url} cannot be read: {cause}.") from error
        self._opened = self._delta.version()
        self._note_read(mark)
        return True

    def _note_read(self, mark: int) -> None:
        self._log_mark = mark
        self._commit_mark = self.location.commit_mark(cast("DeltaTable", self._delta).version())

    def _is_newest(self, version: int) -> bool:
        """Return whether no commit follows, and the newest was not written over since, as damage does.

        Two commits within one tick of the file system's clock have one mark.
        """
        return (
            self._log_mark != 0
            and self.location.commit_mark(version) == self._commit_mark
            and not self.location.has_version(version + 1)
        )

    def create(self) -> None:
        """Create the table if it was not there when last seen.

        Raises:
            LakeError: There are data files without a log, which need a repair.
        """
        if self._delta is not None:
            self._add_columns()
            return
        self.location.refuse_files_without_log()
        self.create_table()

    def create_table(self) -> None:
        """Create the table, whatever is in the folder."""
        from deltalake.exceptions import DeltaError

        try:
            if self.location.folder:
                self.location.folder.mkdir(parents=True, exist_ok=True)
            create_delta_table(self.location.url)
            self.location.make_commit_durable(0)
        except (OSError, DeltaError) as error:
            if not self.refresh():  # or another process was faster
                raise LakeError(f"The data lake at {self.location.url} cannot be created: {error}.") from error
            return
        self.refresh()

    def _add_columns(self) -> None:
        """Add the current columns to a table of an older version."""
        from deltalake.exceptions import DeltaError

        delta = cast("DeltaTable", self._delta)
        if not (missing := missing_columns({field.name for field in delta.schema().fields})):
            return
        try:
            delta.alter.add_columns(missing)
            self.location.make_commit_durable(delta.version())
        except (OSError, DeltaError) as error:
            raise LakeError(f"The data lake at {self.location.url} cannot be given new columns: {error}.") from error
        finally:
            self.refresh()

    def last_position(self) -> int:
        """Return the highest log position in the table as last seen, 0 if there is none."""
        return self._position

    def contains(self, file: DataFile) -> bool:
        """Return whether the file is part of the table as last seen."""
        return any(file.path == member.path for member in self.files())

    def files(self) -> list[DataFile]:
        """Return the data files as last seen, newest log positions first."""
        if self._delta is None:
            return []
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        names = ["path", f"partition.{PARTITION}", "size_bytes", "num_records", "min.log_position", "max.log_position"]
        try:
            actions = pa.table(self._delta.get_add_actions(flatten=True)).select(names)
        except (DeltaError, pa.ArrowException, KeyError) as error:
            raise LakeError(f"The data lake at {self.location.url} cannot be read: {error}.") from error
        columns = actions.to_pydict()
        if any(value is None for values in columns.values() for value in values):
            raise LakeError(
                f"The data lake at {self.location.url} cannot be read: a commit is incomplete. "
                "Run `punchcard lake repair`."
            )
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
            removed: Files that the added ones replace, with the same rows.
            drops_rows: True if the rows of the removed files are deleted.
            through_position: The highest log position that the table holds after this commit; None leaves it unchanged.

        Raises:
            LostRaceError: The table has changed, or already holds that position; this commit is not in it.
            StorageError: This commit may be in the table; check `last_position` after a `refresh`.
        """
        from deltalake import CommitProperties, PostCommitHookProperties, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import AddAction, RemoveAction

        if through_position is not None and through_position <= self._position:
            raise LostRaceError(f"The data lake already holds the log up to position {self._position}.")
        delta = cast("DeltaTable", self._delta)
        now = to_micros(clock.now()) // 1000
        changes = not removed or drops_rows
        actions = [
            AddAction(file.path, file.bytes, {PARTITION: file.day.isoformat()}, now, changes, file.statistics())
            for file in added
        ] + [RemoveAction(file.path, changes, now, file.bytes, {PARTITION: file.day.isoformat()}) for file in removed]
        transactions = None if through_position is None else [Transaction(_APPLICATION, through_position, now)]
        version = delta.version() + 1
        try:
            delta.create_write_transaction(
                actions,
                mode="append",
                schema=delta.schema(),
                partition_by=[PARTITION],
                # No retries: deltalake would repeat the commit on a state that we have not seen.
                commit_properties=CommitProperties(max_commit_retries=0, app_transactions=transactions),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
            self.location.make_commit_durable(version)
        except CommitFailedError as error:
            self.refresh()
            if self.version() < version:
                raise LakeError(f"The data lake at {self.location.url} cannot be written: {error}.") from error
            raise LostRaceError(f"The data lake has changed to version {self.version()}: {error}.") from error
        except (OSError, DeltaError) as error:
            raise LakeError(f"The data lake at {self.location.url} cannot be written: {error}.") from error
        self.refresh()
        if through_position is not None and self._position < through_position:
            raise LakeError(
                f"The data lake holds the log up to {self._position} after a commit up to {through_position}."
            )

    def shorten_log(self) -> None:
        """Write a checkpoint when it is due, and delete commits that are older than some hours.

        Raises:
            StorageError: It could not be written; the table is unchanged.
        """
        from deltalake.exceptions import DeltaError

        if self._delta is None or self._delta.version() < self._checkpoint_due:
            return
        try:
            self._delta.create_checkpoint()
            self._delta.cleanup_metadata()
        except (OSError, DeltaError) as error:
            raise LakeError(f"The data lake's log at {self.location.url} cannot be shortened: {error}.") from error
        self._checkpoint_due = self._delta.version() + COMMITS_PER_CHECKPOINT

    def vacuum(self) -> int:
        """Delete files that have been in no commit for an hour; return their number."""
        from deltalake.exceptions import DeltaError

        if self._delta is None:
            return 0
        try:
            deleted = self._delta.vacuum(dry_run=False, full=True)
            self._delta.update_incremental()
        except (OSError, DeltaError) as error:
            raise LakeError(f"Old files of the data lake at {self.location.url} cannot be deleted: {error}.") from error
        return len(deleted)

    def replaced_files(self) -> list[str]:
        """Return the files that were removed from the table and may still exist, relative to the root."""
        from deltalake.exceptions import DeltaError

        if self._delta is None:
            return []
        try:
            # All of them, however short the time since; this call only lists.
            return self._delta.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)
        except (OSError, DeltaError) as error:
            raise LakeError(f"Old files of the data lake at {self.location.url} cannot be listed: {error}.") from error

    def version(self) -> int:
        """Return the version as last seen, -1 if there is no table."""
        return -1 if self._delta is None else self._delta.version()

    def _read_position(self) -> None:
        # Read at once: deltalake reads it from the log's files, which may be deleted later.
        if self._delta is not None:
            self._position = self._delta.transaction_version(_APPLICATION) or 0


def create_delta_table(folder: str) -> None:
    """Create an empty table in a folder, unless there is one.

    Raises:
        OSError: The folder cannot be written.
        DeltaError: The folder cannot be written.
    """
    from deltalake import DeltaTable, Schema

    DeltaTable.create(
        folder,
        Schema.from_arrow(table_schema()),
        mode="ignore",
        partition_by=[PARTITION],
        configuration=_CONFIGURATION,
    )


def missing_columns(names: Collection[str]) -> list["Field"]:
    """Return the current columns that a table with these columns lacks."""
    from deltalake import Schema

    return [field for field in Schema.from_arrow(table_schema()).fields if field.name not in names]


def _day(value: datetime.date | str) -> datetime.date:
    return value if isinstance(value, datetime.date) else datetime.date.fromisoformat(value)

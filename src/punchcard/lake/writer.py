"""Append events to the lake, each log range exactly once.

One append is one commit of the table, and the commit itself has the log position up to which the table is complete.
Data files are written and made durable first. A crash before the commit leaves files that are in no commit (a vacuum
deletes them); after a crash behind the commit the range is complete. The commit is made on exactly the state of the
table in which the position was read, so of two writers one fails.
"""

import contextlib
import datetime
from collections.abc import Iterator

from punchcard.clock import Clock, SystemClock
from punchcard.errors import InvariantError, LakeError, StorageError
from punchcard.lake.compaction import merge_files, plan_merges
from punchcard.lake.data_file import DataFile, DataFileWriter
from punchcard.lake.delta_log import damaged_commits
from punchcard.lake.location import LakeLocation
from punchcard.lake.opening import open_table
from punchcard.lake.schema import LakeRows
from punchcard.lake.table import LostRaceError

_TRIES = 5  # commits lost to another process's compaction before this append fails
_MERGED_ROWS_MAX = 262_144  # in one call, which takes some seconds
_FILES_NAMED_MAX = 3


class RangeKnownError(LostRaceError):
    """The lake already holds a part of the log range: another process has appended it."""

    code = "lake_range_known"


class LakeWriter:
    """Writes the table at `url`. For one thread at a time.

    Args:
        url: A folder, `file:///folder` or `s3://bucket/prefix`.
        clock: Used for names of files and times of commits.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._location = LakeLocation(url)
        self._clock = clock or SystemClock()
        self._table = open_table(self._location, clock=self._clock)
        self._is_current = False  # False while our own last commit may be missing in the view

    def last_position(self) -> int:
        """Return the highest log position in the table, 0 if none.

        Raises:
            StorageError: The table cannot be read.
        """
        if not self._is_current:
            self._refresh()
        return self._table.last_position()

    def append(self, rows: LakeRows, *, first_position: int, last_position: int, after: int | None = None) -> None:
        """Add the rows of a log range in one commit.

        Args:
            rows: All events of the log records in the range, in log order; may be empty.
            first_position: The first log position covered.
            last_position: The last log position covered; the new `last_position()`.
            after: The `last_position()` that the rows follow without a gap; None accepts any before the range.

        Raises:
            InvariantError: The range is invalid, or the rows are not in it.
            RangeKnownError: The table holds a part of the range: another process leads.
            LostRaceError: The table is not complete up to `after`: it was repaired, or its newest commits are gone.
            StorageError: No row is in the table (disk full, storage away), or that is unknown at the moment; check
                `last_position()`.
        """
        if not 1 <= first_position <= last_position:
            raise InvariantError(f"{first_position} to {last_position} is not a log range.")
        if len(rows) and not first_position <= rows.positions()[0] <= rows.positions()[1] <= last_position:
            raise InvariantError(
                f"Rows at {rows.positions()} are outside the log range {first_position} to {last_position}."
            )
        with self._shared_lock():
            self._append(rows, first_position, last_position, after)

    def _append(self, rows: LakeRows, first_position: int, last_position: int, after: int | None) -> None:
        # The view must be current: based on one from before the log was last shortened, a commit would take the version
        # of one that was cleaned up, and nobody would ever see it.
        self._refresh()
        self._reject_known(first_position, last_position)
        if after is not None and self._table.last_position() != after:
            raise LostRaceError(f"The data lake holds the log up to {self._table.last_position()}, not up to {after}.")
        self._table.create()
        self._table.shorten_log()
        files = self._write_files(rows, f"{first_position:020}-{last_position:020}-{self._clock.new_id()}")
        for _ in range(_TRIES):
            try:
                self._table.commit(files, through_position=last_position, clock=self._clock)
            except LostRaceError:
                if self._table.last_position() < first_position:
                    continue  # another process has merged files
                self._delete_files(files)
                self._reject_known(first_position, last_position)
            except StorageError:
                # The commit may have succeeded anyway; if the table cannot be read now, it must be checked later.
                self._refresh()
                if self._table.last_position() < last_position:
                    self._delete_files(files)
                    raise
            return
        self._delete_files(files)
        raise LakeError(f"The data lake at {self._location.url} is constantly changed by other processes.")

    def compact(self, *, merges_max: int = 4) -> int:
        """Merge small files; return by how many their number fell. Nearly free if there is nothing to do.

        Readers can use the old files for an hour; the rows and `last_position()` do not change.

        Raises:
            StorageError: Not all of it was done; the table is intact.
        """
        with self._shared_lock():
            return self._compact(merges_max)

    def _compact(self, merges_max: int) -> int:
        self._refresh()
        saved = rows = 0
        for files in plan_merges(self._table.files())[:merges_max]:
            if rows >= _MERGED_ROWS_MAX:
                break  # appends wait meanwhile; the next call continues
            merged = merge_files(files, self._location, name=f"merged-{self._clock.new_id()}")
            try:
                self._table.commit([merged], removed=files, through_position=None, clock=self._clock)
            except LostRaceError:
                self._delete_files([merged])
                break
            saved += len(files) - 1
            rows += merged.rows
        return saved

    def drop_before(self, day: datetime.date) -> int:
        """Delete the events received before a day (UTC); return their number. `last_position()` does not change.

        Raises:
            StorageError: Nothing was deleted.
        """
        with self._shared_lock():
            return self._drop_before(day)

    def _drop_before(self, day: datetime.date) -> int:
        self._refresh()
        old = [file for file in self._table.files() if file.day < day]
        if not old:
            return 0
        try:
            self._table.commit([], removed=old, through_position=None, clock=self._clock, drops_rows=True)
        except LostRaceError:
            return 0  # another process has merged files; the next call deletes them
        return sum(file.rows for file in old)

    def vacuum(self) -> int:
        """Delete files that were merged, or left by a crash, more than an hour ago; return their number."""
        with self._shared_lock():
            self._refresh()
            return self._table.vacuum()

    def check(self) -> None:
        """Check that the table can be read by a process that opens it now, and that all its files exist.

        Raises:
            StorageError: The check failed; the message says what is wrong.
        """
        table = open_table(self._location)
        if not table.refresh():
            return
        sizes = self._location.data_file_bytes()
        self._location.refuse_incomplete_list([file.path for file in table.files()], sizes)
        missing = [file.path for file in table.files() if sizes.get(file.path) != file.bytes]
        if self._location.folder is not None:  # on an object store, `refresh` has read the log itself
            missing += [f"_delta_log/{path.name}" for path in damaged_commits(self._location.folder)]
        if missing:
            more = f" and {len(missing) - _FILES_NAMED_MAX} more" if len(missing) > _FILES_NAMED_MAX else ""
            named = ", ".join(missing[:_FILES_NAMED_MAX])
            raise LakeError(
                f"The data lake at {self._location.url} has missing or damaged files: {named}{more}. "
                "Run `punchcard lake repair`."
            )

    @contextlib.contextmanager
    def _shared_lock(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._location.writing())
            except OSError as error:
                raise LakeError(f"The data lake at {self._location.url} cannot be written: {error}.") from error
            yield

    def _refresh(self) -> None:
        self._is_current = False
        self._table.refresh()
        self._is_current = True

    def _reject_known(self, first_position: int, last_position: int) -> None:
        known = self._table.last_position()
        if first_position <= known:
            raise RangeKnownError(
                f"The data lake already holds the log up to {known}; {first_position} to {last_position} is rejected."
            )

    def _write_files(self, rows: LakeRows, name: str) -> list[DataFile]:
        import pyarrow as pa

        files: list[DataFile] = []
        try:
            for day, part in rows.by_day().items():
                with DataFileWriter(self._location, day, name=name) as writer:
                    for group in part.row_groups():
                        writer.write(group.to_arrow())
                files.append(writer.data_file())
        except LakeError:
            self._delete_files(files)
            raise
        except (OSError, pa.ArrowException) as error:
            self._delete_files(files)
            raise LakeError(f"The data lake at {self._location.url} cannot be written: {error}.") from error
        return files

    def _delete_files(self, files: list[DataFile]) -> None:
        for file in files:
            if not self._table.contains(file):
                with contextlib.suppress(OSError, LakeError):  # the next vacuum deletes it
                    self._location.remove(file.path)

"""Appends events to the lake, each log range exactly once.

One append is one commit of the table, and the commit itself carries the log position up to which the table is
complete. Data files are written and made durable first; a crash before the commit leaves files that nobody sees (a
vacuum deletes them), a crash after it leaves the range done. The commit is made on the very state of the table in which
the position was read, so of two writers one fails.
"""

import contextlib
import datetime
from collections.abc import Iterator

from punchcard.clock import Clock, SystemClock
from punchcard.errors import InvariantError, LakeError, StorageError
from punchcard.lake.compaction import merge, merges
from punchcard.lake.data_file import DataFile, DataFileWriter
from punchcard.lake.delta_log import damaged_commits
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import LakeRows
from punchcard.lake.table import LakeTable, LostRaceError

_TRIES = 5  # commits lost to another process's compaction before giving up for now
_MERGED_ROWS_MAX = 262_144  # of one call: some seconds
_FILES_NAMED_MAX = 3


class RangeKnownError(LostRaceError):
    """The lake holds some of the log range already: another process has appended it."""

    code = "lake_range_known"


class LakeWriter:
    """Writes the table at `url`. For one thread at a time.

    Args:
        url: A folder or the URL of an object store.
        clock: Names files and dates commits.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        self._location = LakeLocation(url)
        self._table = LakeTable(self._location)
        self._clock = clock or SystemClock()
        self._looked = False  # False while our own last commit may be missing in the view

    def last_position(self) -> int:
        """The highest log position contained, 0 if none.

        Raises:
            StorageError: the table cannot be read.
        """
        if not self._looked:
            self._refresh()
        return self._table.last_position()

    def append(self, rows: LakeRows, *, first_position: int, last_position: int, after: int | None = None) -> None:
        """Add the rows of a log range in one commit.

        Args:
            rows: All events of the log records in the range, in log order; perhaps none.
            first_position: The first log position covered.
            last_position: The last; from now on `last_position()`.
            after: The `last_position()` on which the rows follow without a gap; None takes any before the range.

        Raises:
            InvariantError: it is no range, or the rows are not of it.
            RangeKnownError: the table holds some of the range: another process leads.
            LostRaceError: the table is not complete up to `after`: it was repaired, or its newest commits are gone.
            StorageError: nothing of it is in the table (disk full, storage away), or that cannot be told at the moment;
                ask `last_position()`.
        """
        if not 1 <= first_position <= last_position:
            raise InvariantError(f"no log range: {first_position} to {last_position}")
        if len(rows) and not first_position <= rows.positions()[0] <= rows.positions()[1] <= last_position:
            raise InvariantError(f"rows of {rows.positions()} in the log range {first_position} to {last_position}")
        with self._no_repair():
            self._append(rows, first_position, last_position, after)

    def _append(self, rows: LakeRows, first_position: int, last_position: int, after: int | None) -> None:
        # The view must be of now, not only right: on one from before the log was last shortened, a commit would take
        # the place of one that is cleaned away, and nobody would ever see it.
        self._refresh()
        self._refuse_known(first_position, last_position)
        if after is not None and self._table.last_position() != after:
            raise LostRaceError(f"the lake holds the log through {self._table.last_position()}, not through {after}")
        self._table.create()
        self._table.keep_log_short()
        files = self._written(rows, f"{first_position:020}-{last_position:020}-{self._clock.new_id()}")
        for _ in range(_TRIES):
            try:
                self._table.commit(files, through_position=last_position, clock=self._clock)
            except LostRaceError:
                if self._table.last_position() < first_position:
                    continue  # another process has merged files
                self._take_away(files)
                self._refuse_known(first_position, last_position)
            except StorageError:
                # The commit may have been made all the same; who cannot see the table now must look again later.
                self._refresh()
                if self._table.last_position() < last_position:
                    self._take_away(files)
                    raise
            return
        self._take_away(files)
        raise LakeError(f"the data lake at {self._location.url} is changed by others all the time")

    def compact(self, *, merges_max: int = 4) -> int:
        """Merge small files; returns how many files are fewer now. Cheap if there is nothing to do.

        Readers go on with the files that they know for an hour; the rows and `last_position()` stay what they are.

        Raises:
            StorageError: not all of it was done; the table is whole.
        """
        with self._no_repair():
            return self._compact(merges_max)

    def _compact(self, merges_max: int) -> int:
        self._refresh()
        saved = rows = 0
        for files in merges(self._table.files())[:merges_max]:
            if rows >= _MERGED_ROWS_MAX:
                break  # appends wait for it; the next call goes on
            merged = merge(files, self._location, name=f"merged-{self._clock.new_id()}")
            try:
                self._table.commit([merged], removed=files, through_position=None, clock=self._clock)
            except LostRaceError:
                self._take_away([merged])
                break
            saved += len(files) - 1
            rows += merged.rows
        return saved

    def drop_before(self, day: datetime.date) -> int:
        """Forget the events received before a day (UTC); returns how many. `last_position()` stays what it is.

        Raises:
            StorageError: nothing was dropped.
        """
        with self._no_repair():
            return self._drop_before(day)

    def _drop_before(self, day: datetime.date) -> int:
        self._refresh()
        old = [file for file in self._table.files() if file.day < day]
        if not old:
            return 0
        try:
            self._table.commit([], removed=old, through_position=None, clock=self._clock, drops_rows=True)
        except LostRaceError:
            return 0  # another process has merged files; the next time does it
        return sum(file.rows for file in old)

    def vacuum(self) -> int:
        """Delete files that were merged away, or left by a crash, more than an hour ago; returns how many."""
        with self._no_repair():
            self._refresh()
            return self._table.vacuum()

    def check(self) -> None:
        """See that the table can be read by whoever opens it now, and that all of its files are there.

        Raises:
            StorageError: it cannot, or they are not; the message says what is wrong.
        """
        table = LakeTable(self._location)
        if not table.refresh():
            return
        missing = []
        if self._location.folder is not None:
            missing = [file.path for file in table.files() if self._location.size_of(file.path) != file.bytes]
            missing += [f"_delta_log/{path.name}" for path in damaged_commits(self._location.folder)]
        if missing:
            more = f" and {len(missing) - _FILES_NAMED_MAX} more" if len(missing) > _FILES_NAMED_MAX else ""
            named = ", ".join(missing[:_FILES_NAMED_MAX])
            raise LakeError(f"the data lake at {self._location.url} lacks files, or has damaged ones: {named}{more}")

    @contextlib.contextmanager
    def _no_repair(self) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._location.writing())
            except OSError as error:
                raise LakeError(f"the data lake at {self._location.url} cannot be written: {error}") from error
            yield

    def _refresh(self) -> None:
        self._looked = False
        self._table.refresh()
        self._looked = True

    def _refuse_known(self, first_position: int, last_position: int) -> None:
        known = self._table.last_position()
        if first_position <= known:
            refused = f"{first_position} to {last_position}"
            raise RangeKnownError(f"the lake holds the log through {known}: {refused} is refused")

    def _written(self, rows: LakeRows, name: str) -> list[DataFile]:
        import pyarrow as pa

        files: list[DataFile] = []
        try:
            for day, part in rows.by_day().items():
                with DataFileWriter(self._location, day, name=name) as writer:
                    for group in part.row_groups():
                        writer.write(group.to_arrow())
                files.append(writer.finished())
        except (OSError, pa.ArrowException) as error:
            self._take_away(files)
            raise LakeError(f"the data lake at {self._location.url} cannot be written: {error}") from error
        return files

    def _take_away(self, files: list[DataFile]) -> None:
        for file in files:
            if not self._table.names(file):
                with contextlib.suppress(OSError):  # the next vacuum finds it
                    self._location.remove(file.path)

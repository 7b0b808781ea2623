"""Repair a damaged table from its log, from data files in the folder, and from rows that are restored.

Each log position of each day is in the repaired table once: from a data file in the log, otherwise from a data file
that is not in the log and holds what is missing, otherwise from restored rows. What is in none of them is lost; it is
counted and reported with its days of receipt.
"""

import datetime
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from punchcard.clock import Clock
from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile, DataFileWriter
from punchcard.lake.delta_log import GoodState, newest_state, read_log_files, restore_state
from punchcard.lake.location import LOG, LakeLocation
from punchcard.lake.object_repair import ObjectLogCopy, without_replaced_damage
from punchcard.lake.object_store_errors import OBJECT_STORE_UNAVAILABLE
from punchcard.lake.opening import open_table
from punchcard.lake.parquet_check import check_data_file, count_rows_within, find_data_files, read_rows_within
from punchcard.lake.schema import LakeRows
from punchcard.lake.table import LostRaceError

if TYPE_CHECKING:
    import pyarrow as pa

_TRIES = 3

IsMissing = Callable[[int, datetime.date], bool]
"""Whether the table lacks the events received on a day with a log position."""

RestoreRows = Callable[[IsMissing, int], Iterator[LakeRows]]
"""Restores the missing rows up to a log position, as far as they can be restored."""


@dataclass(kw_only=True)
class RepairReport:
    """What a repair has found and done, or would do.

    Attributes:
        damaged_log_files: Names of files of the Delta log that cannot be read.
        is_log_damaged: Whether the log needs repair, because of damaged or of missing files.
        version: The newest readable version of the table before the repair, -1 if none was left.
        damaged_files: Data files that are missing or cannot be read.
        recovered_files: Data files that were not in the table and hold events that it lacks.
        restored_events: Number of restored events.
        lost_events: Number of lost events; a minimum if the log did not say how many there were.
        lost_days: Days of receipt of the lost events.
        position: The log position up to which the table is complete, as far as possible.
    """

    damaged_log_files: list[str] = field(default_factory=list)
    is_log_damaged: bool = False
    version: int = -1
    damaged_files: list[DataFile] = field(default_factory=list)
    recovered_files: list[DataFile] = field(default_factory=list)
    restored_events: int = 0
    lost_events: int = 0
    lost_days: list[datetime.date] = field(default_factory=list)
    position: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether there was nothing to repair."""
        return not (self.is_log_damaged or self.damaged_files or self.recovered_files or self.restored_events)


def repair_lake(url: str, *, restore: RestoreRows, clock: Clock, dry_run: bool) -> RepairReport:
    """Repair the table at `url`. Writers of other processes wait meanwhile, and then read the table again.

    Args:
        restore: Restores rows.
        dry_run: Only report what would be done.

    Raises:
        LakeError: The lake cannot be read or written, or other processes write an object store all the time.
    """
    location = LakeLocation(url)
    for _ in range(_TRIES):
        with (
            _exclusive_lock(location, dry_run=dry_run),
            tempfile.TemporaryDirectory(prefix="punchcard-repair-") as scratch,
        ):
            try:
                return _Repair(location, clock=clock, dry_run=dry_run).run(Path(scratch), restore)
            except LostRaceError:
                continue  # only an object store has no lock
    raise LakeError(f"The data lake at {location.url} is written all the time. Stop the worker during the repair.")


@contextmanager
def _exclusive_lock(location: LakeLocation, *, dry_run: bool) -> Iterator[None]:
    if dry_run:
        yield
        return
    try:
        with location.writing(exclusive=True):
            yield
    except OSError as error:
        raise LakeError(f"The data lake at {location.url} cannot be repaired: {error}.") from error


class _Repair:
    """A repair, step by step."""

    def __init__(self, location: LakeLocation, *, clock: Clock, dry_run: bool) -> None:
        self._location = location
        self._copy: ObjectLogCopy | None = None  # of the log, if that is on an object store
        self._clock = clock
        self._dry_run = dry_run
        self._report = RepairReport()
        self._restored_from_damaged: Counter[datetime.date] = Counter()

    def run(self, scratch: Path, restore: RestoreRows) -> RepairReport:
        """Examine everything, then write what is missing."""
        report = self._report
        if self._location.objects is not None:
            self._copy = ObjectLogCopy(self._location.objects, scratch / "log")
        log = read_log_files(self._log_folder() / LOG)
        if self._copy is not None:
            log = without_replaced_damage(log)
        state = newest_state(log, scratch)
        report.version = state.version
        newest_known = max([*log.commits, *log.checkpoints, -1])
        report.damaged_log_files = [path.name for path in log.damaged]
        report.is_log_damaged = (
            bool(log.damaged)
            or state.version < newest_known
            or (state.version < 0 and self._location.has_data_files())
            or not _opens(self._location)
        )
        named = state.table.files()
        sizes = self._location.data_file_bytes()
        self._location.refuse_incomplete_list([file.path for file in named], sizes)
        good = [file for file in named if sizes.get(file.path) == file.bytes and check_data_file(self._location, file)]
        report.damaged_files = [file for file in named if file not in good]
        candidates: list[DataFile] = []
        if report.is_log_damaged or report.damaged_files or state.version < 0:
            candidates = find_data_files(self._location, except_for=good)
            report.recovered_files = _missing_among(candidates, good)
        covered = [*good, *report.recovered_files]
        position = max([state.table.last_position(), *(file.last_position for file in covered)])
        report.position = position

        def is_missing(at: int, day: datetime.date) -> bool:
            return not any(file.day == day and file.first_position <= at <= file.last_position for file in covered)

        if not self._dry_run and report.is_log_damaged and self._location.folder is not None:
            self._restore_log(self._location.folder, state)
        restored = self._copy_missing(candidates, covered, after=state.table.last_position())
        covered += restored
        restored += [written for rows in restore(is_missing, position) for written in self._write(rows)]
        self._count_losses()
        if not (report.is_whole or self._dry_run):
            self._commit(state, restored)
        return report

    def _log_folder(self) -> Path:
        return self._copy.folder if self._copy is not None else self._location.folder or Path()

    def _restore_log(self, folder: Path, state: GoodState) -> None:
        stamp = f"{self._clock.now():%Y%m%dT%H%M%S}-{self._clock.new_id()[:8]}"
        restore_state(folder, state, aside=folder / f".damaged-{stamp}")

    def _copy_missing(
        self, candidates: Sequence[DataFile], covered: Sequence[DataFile], *, after: int
    ) -> list[DataFile]:
        """Copy rows that no covered file holds from files that hold others as well, so cannot be added whole.

        Such a file is a merge that the log has lost, while some of the files that it joined are still in the table.
        Only positions of damaged files and those `after` the log's state are copied: rows missing elsewhere were
        deleted.
        """
        copied: list[DataFile] = []
        for file in sorted(candidates, key=lambda candidate: -candidate.rows):
            held = [other for other in (*covered, *copied) if other.day == file.day]
            gaps = _gaps((file.first_position, file.last_position), held)
            damaged = self._damaged_ranges(file.day)
            for gap, lack in product(gaps, [*damaged, (after + 1, file.last_position)]):
                part = max(gap[0], lack[0]), min(gap[1], lack[1])
                rows = count_rows_within(self._location, file, [part]) if part[0] <= part[1] else 0
                if not rows:
                    continue
                if lack in damaged:
                    self._restored_from_damaged[file.day] += rows
                groups = read_rows_within(self._location, file, part)
                copied.append(self._restore_file(file.day, *part, rows, groups))
        return copied

    def _write(self, rows: LakeRows) -> list[DataFile]:
        """Write the rows as data files; in a dry run, return only their numbers."""
        files: list[DataFile] = []
        for day, part in rows.by_day().items():
            first, last = part.positions()
            self._restored_from_damaged[day] += part.count_within(self._damaged_ranges(day))
            groups = (group.to_arrow() for group in part.row_groups())
            files.append(self._restore_file(day, first, last, len(part), groups))
        return files

    def _restore_file(
        self, day: datetime.date, first: int, last: int, rows: int, groups: "Iterable[pa.RecordBatch | pa.Table]"
    ) -> DataFile:
        self._report.restored_events += rows
        if self._dry_run:
            return DataFile(path="", day=day, bytes=0, rows=rows, first_position=first, last_position=last)
        name = f"restored-{first:020}-{last:020}-{self._clock.new_id()}"
        try:
            with DataFileWriter(self._location, day, name=name) as writer:
                for group in groups:
                    writer.write(group)
        except OSError as error:
            raise LakeError(f"The data lake at {self._location.url} cannot be written: {error}.") from error
        return writer.data_file()

    def _damaged_ranges(self, day: datetime.date) -> list[tuple[int, int]]:
        """Return the first and the last position of each damaged file of a day."""
        return [(file.first_position, file.last_position) for file in self._report.damaged_files if file.day == day]

    def _count_losses(self) -> None:
        """Compare what the damaged files held with what was recovered at their positions, day by day.

        A merge that the log's state does not know of joins rows of damaged files with later rows: a recovered file is
        counted row by row.
        """
        report = self._report
        held: Counter[datetime.date] = Counter()
        for file in report.damaged_files:
            held[file.day] += file.rows
        recovered = self._restored_from_damaged.copy()
        for file in report.recovered_files:
            recovered[file.day] += count_rows_within(self._location, file, self._damaged_ranges(file.day))
        lost = {day: rows - recovered[day] for day, rows in held.items() if rows > recovered[day]}
        report.lost_events, report.lost_days = sum(lost.values()), sorted(lost)

    def _commit(self, state: GoodState, restored: Sequence[DataFile]) -> None:
        report = self._report
        if self._copy is not None and report.is_log_damaged:
            self._copy.repair(
                state,
                added=[*report.recovered_files, *restored],
                removed=report.damaged_files,
                position=report.position,
                clock=self._clock,
            )
            return
        table = open_table(self._location)
        if not table.refresh():
            table.create_table()
        if self._copy is not None and table.version() != max(state.version, 0):
            raise LostRaceError("Another process has written the data lake during the repair.")
        through = report.position if report.position > table.last_position() else None
        table.commit(
            [*report.recovered_files, *restored],
            removed=report.damaged_files,
            through_position=through,
            clock=self._clock,
            drops_rows=True,
        )
        try:
            self._location.set_repair_mark(self._clock.new_id())
        except OSError as error:
            raise LakeError(f"The data lake at {self._location.url} cannot be written: {error}.") from error


def _opens(location: LakeLocation) -> bool:
    try:
        open_table(location).refresh()
    except LakeError as error:
        if error.code == OBJECT_STORE_UNAVAILABLE:
            raise  # nothing is damaged
        return False
    return True


def _missing_among(candidates: Sequence[DataFile], good: Sequence[DataFile]) -> list[DataFile]:
    """Select the data files that hold what no good file holds; of two that overlap, the larger."""
    chosen: list[DataFile] = []
    for file in sorted(candidates, key=lambda candidate: (-candidate.rows, candidate.path)):
        overlaps = (
            other.day == file.day
            and other.first_position <= file.last_position
            and file.first_position <= other.last_position
            for other in (*good, *chosen)
        )
        if not any(overlaps):
            chosen.append(file)
    return chosen


def _gaps(positions: tuple[int, int], files: Sequence[DataFile]) -> list[tuple[int, int]]:
    """Return the parts of a range of log positions that are in no range of the files: first and last of each."""
    first, last = positions
    gaps: list[tuple[int, int]] = []
    for file in sorted(files, key=lambda file: file.first_position):
        if first <= min(file.first_position - 1, last):
            gaps.append((first, min(file.first_position - 1, last)))
        first = max(first, file.last_position + 1)
    return [*gaps, (first, last)] if first <= last else gaps

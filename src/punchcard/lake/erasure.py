"""Delete the events of persons from the lake: data files are written again without their rows.

One file is one commit, so that appends wait for nobody and an erasure that was interrupted continues with the files
that are left. Replaced files stay for readers that have just listed them; `LakeEraser.remove_files` deletes them.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from punchcard.clock import Clock
from punchcard.errors import LakeError
from punchcard.events.sequence import EVENTS_PER_RECORD_MAX, seq_of
from punchcard.lake.data_file import DataFile, DataFileWriter
from punchcard.lake.location import LakeLocation
from punchcard.lake.opening import open_files, open_table, read_failure
from punchcard.lake.schema import with_current_columns
from punchcard.lake.subject_events import Place, SubjectEvent, previous_id_in
from punchcard.lake.table import LostRaceError
from punchcard.profiles.erasure import ErasedIds

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_FILES_PER_QUERY: Final = 64
_TRIES: Final = 50
_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "threads": 1,
    "memory_limit": "512MB",
    "autoinstall_known_extensions": False,
}
_FROM: Final = "FROM read_parquet(?, hive_partitioning = false, union_by_name = true, filename = true)"
_NAMED: Final = f"""
    SELECT filename, log_position, event_index, source, message_id, user_id, anonymous_id, {{email}}, NULL::BLOB
    {_FROM}
    WHERE type <> '' AND (user_id IN (SELECT v FROM users) OR anonymous_id IN (SELECT v FROM devices)
          OR {{email}} IN (SELECT v FROM mails))
"""
# Apart from the others: the column of texts is the largest by far, and few files have such rows. An alias call has an
# id of a person that is in no column.
_NO_EVENTS: Final = f"""
    SELECT filename, log_position, event_index, source, message_id, user_id, anonymous_id, {{email}}, encode(payload)
    {_FROM}
    WHERE type = ''
"""
_ALIASES: Final = f"""
    SELECT filename, log_position, event_index, source, message_id, user_id, anonymous_id, {{email}}, encode(payload)
    {_FROM}
    WHERE type = 'alias' AND coalesce(user_id NOT IN (SELECT v FROM users), true)
          AND coalesce(anonymous_id NOT IN (SELECT v FROM devices), true)
          AND coalesce({{email}} NOT IN (SELECT v FROM mails), true)
"""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was deleted.

    Attributes:
        rows: Number of events.
        files: Data files that no reader needs any more, relative to the root of the lake.
    """

    rows: int
    files: tuple[str, ...]


class LakeEraser:
    """Finds and deletes events of persons. For one thread at a time.

    Args:
        url: A folder or the URL of an object store.
    """

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._location = LakeLocation(url)
        self._table = open_table(self._location, clock=clock)
        self._files = open_files(self._location)
        self._clock = clock

    def candidates(self, ids: ErasedIds) -> Iterator[SubjectEvent]:
        """Yield the events that have an id of a subject, and the items that are not valid events.

        Raises:
            StorageError: The lake cannot be read.
        """
        if self._table.refresh():
            yield from self._candidates(ids, self._table.files())

    def erase(
        self, ids: ErasedIds, *, events: Sequence[SubjectEvent] | None = None, scrubbed: Collection[Place] = ()
    ) -> Erasure:
        """Delete the events of the subjects.

        Args:
            events: Only these, as they were found a moment ago; None for all that the lake has.
            scrubbed: Events of other persons with results that name a subject: the name is replaced.

        Raises:
            StorageError: Not all of it was done; call again.
        """
        rows = 0
        only = None if events is None else {event.place for event in events}
        for _ in range(_TRIES):
            if not self._table.refresh():
                return Erasure(rows=rows, files=())
            try:
                rows += self._erase_listed(ids, events, scrubbed)
            except LostRaceError:
                # Another process has merged files: the events are in other ones.
                events = [event for event in self.candidates(ids) if only is None or event.place in only]
                continue
            return Erasure(rows=rows, files=tuple(self._table.replaced_files()))
        raise LakeError(f"The data lake at {self._location.url} is constantly changed by other processes.")

    def naming(self, ids: ErasedIds, paths: Sequence[str]) -> tuple[str, ...]:
        """Return those of some replaced files that may have events of the subjects.

        Raises:
            StorageError: A file cannot be read.
        """
        return tuple(path for path in paths if self._may_name(path, ids))

    def _may_name(self, path: str, ids: ErasedIds) -> bool:
        """Return whether a file has an id of a subject, an item that is not a valid event, or an alias call."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet

        columns = {
            "type": frozenset({"", "alias"}),
            "user_id": ids.user_ids,
            "anonymous_id": ids.anonymous_ids,
            "email": ids.emails,
        }
        try:
            with self._location.open(path) as source:
                parquet = pyarrow.parquet.ParquetFile(source)
                present = [name for name in columns if name in parquet.schema_arrow.names]
                for number in range(parquet.num_row_groups):
                    group = parquet.read_row_group(number, columns=present, use_threads=False)
                    for name in present:
                        values = pa.array(sorted(columns[name]), type=pa.string())
                        if pc.any(pc.is_in(group.column(name).cast(pa.string()), value_set=values)).as_py():
                            return True
        except FileNotFoundError:
            return False  # deleted meanwhile
        except (OSError, pa.ArrowException) as error:
            raise LakeError(f"A file of the data lake at {self._location.url} cannot be read: {error}.") from error
        return False

    def remove_files(self, paths: Collection[str]) -> None:
        """Delete files that were replaced, unless they are part of the table.

        Raises:
            StorageError: The lake cannot be read.
        """
        self._table.refresh()
        current = {file.path for file in self._table.files()}
        for path in paths:
            if path not in current:
                with suppress(FileNotFoundError):  # an earlier call, or a vacuum, has deleted it
                    self._remove(path)

    def _remove(self, path: str) -> None:
        try:
            self._location.remove(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LakeError(f"A file of the data lake cannot be deleted: {error}.") from error

    def _erase_listed(self, ids: ErasedIds, events: Iterable[SubjectEvent] | None, scrubbed: Collection[Place]) -> int:
        """Write the files of the table again that have events of subjects; return the number of events deleted.

        Raises:
            LostRaceError: A file with one of the events is not in the table any more.
        """
        rows = 0
        files = self._table.files()
        by_path: dict[str, set[Place]] = {}
        for event in self._candidates(ids, files) if events is None else events:
            if event.is_of(ids):
                by_path.setdefault(event.path, set()).add(event.place)
        if not by_path.keys() <= {file.path for file in files}:
            raise LostRaceError("Files were merged by another process.")
        scrubbed_positions = {position for position, _ in scrubbed}
        for file in files:
            erased = by_path.get(file.path, set())
            has_scrubbed = any(file.first_position <= position <= file.last_position for position in scrubbed_positions)
            if not erased and not has_scrubbed:
                continue
            self._table.refresh()  # before writing: an object store's table refuses commits that took too long
            with self._location.writing():
                replacement, is_changed = self._rewrite(file, erased, ids if has_scrubbed else None)
                if is_changed:
                    self._replace(file, replacement)
                else:
                    self._discard(replacement)
            rows += len(erased)
        return rows

    def _replace(self, file: DataFile, replacement: DataFile | None) -> None:
        """Commit what a file was written again as, however often another process appends meanwhile.

        Raises:
            LostRaceError: Another process has merged the file; the replacement is deleted.
        """
        try:
            for _ in range(_TRIES):
                if not self._table.contains(
                    file
                ):  # its rows are in another file: with this commit, they would be twice
                    raise LostRaceError(f"{file.path} was merged by another process.")
                with suppress(LostRaceError):  # the commit that was lost has read what is new
                    self._table.commit(
                        [] if replacement is None else [replacement],
                        removed=[file],
                        through_position=None,
                        clock=self._clock,
                        drops_rows=True,
                    )
                    return
            raise LakeError(f"The data lake at {self._location.url} is constantly changed by other processes.")
        except BaseException:
            self._table.refresh()
            if replacement is not None and not self._table.contains(replacement):
                self._discard(replacement)
            raise

    def _discard(self, file: DataFile | None) -> None:
        if file is not None:
            with suppress(OSError, LakeError):  # the next vacuum deletes it
                self._location.remove(file.path)

    def _rewrite(
        self, file: DataFile, erased: set[Place], scrubbed_ids: ErasedIds | None
    ) -> tuple[DataFile | None, bool]:
        """Write the rows of a file that stay; None if none does. Also return whether anything has changed."""
        import pyarrow as pa
        import pyarrow.parquet

        is_changed = bool(erased)
        try:
            with self._location.open(file.path) as source:
                parquet = pyarrow.parquet.ParquetFile(source)
                if len(erased) >= file.rows:
                    return None, True
                with DataFileWriter(self._location, file.day, name=f"erased-{self._clock.new_id()}") as writer:
                    for number in range(parquet.num_row_groups):
                        group = with_current_columns(parquet.read_row_group(number, use_threads=False))
                        group = _without(group, erased)
                        if scrubbed_ids is not None:
                            group, is_scrubbed = _scrub_results(group, scrubbed_ids)
                            is_changed = is_changed or is_scrubbed
                        if group.num_rows:
                            writer.write(group.unify_dictionaries().combine_chunks())
        except (OSError, pa.ArrowException) as error:
            message = f"A file of the data lake at {self._location.url} cannot be written again: {error}."
            raise LakeError(message) from error
        return writer.data_file(), is_changed

    def _candidates(self, ids: ErasedIds, files: Sequence[DataFile]) -> Iterator[SubjectEvent]:
        if not files:
            return
        with self._files.connect(_CONFIG) as connection:
            for table, values in (("users", ids.user_ids), ("devices", ids.anonymous_ids), ("mails", ids.emails)):
                _create_table(connection, table, values)
            for begin in range(0, len(files), _FILES_PER_QUERY):
                yield from self._query(connection, ids, files[begin : begin + _FILES_PER_QUERY])

    def _query(
        self, connection: "duckdb.DuckDBPyConnection", ids: ErasedIds, files: Sequence[DataFile]
    ) -> Iterator[SubjectEvent]:
        import duckdb

        paths = dict(zip(self._files.paths(files), (file.path for file in files), strict=True))
        self._files.prepare(files)
        try:
            for query in (_NAMED, _NO_EVENTS, _ALIASES):
                try:
                    rows = connection.execute(query.format(email="email"), [list(paths)])
                except duckdb.BinderException:  # none of these files has the column, which was added later
                    rows = connection.execute(query.format(email="NULL::VARCHAR"), [list(paths)])
                while batch := rows.fetchmany(10_000):
                    for path, position, index, source, message_id, user_id, anonymous_id, email, text in batch:
                        previous_id = previous_id_in(text) if query is _ALIASES else None
                        if query is _ALIASES and not ids.has_former_id(previous_id):
                            continue
                        yield SubjectEvent(
                            path=paths[path],
                            place=(position, index),
                            source=source or "",
                            message_id=message_id or "",
                            user_id=user_id,
                            anonymous_id=anonymous_id,
                            email=email,
                            text=None if query is _ALIASES else text,
                            previous_id=previous_id,
                        )
        except duckdb.Error as error:
            raise read_failure(self._files, error, self._location.url) from error


def _create_table(connection: "duckdb.DuckDBPyConnection", name: str, values: Collection[str]) -> None:
    import pyarrow as pa

    connection.register("new_values", pa.table({"v": pa.array(sorted(values), type=pa.string())}))
    connection.execute(f"CREATE TEMP TABLE {name} AS SELECT v FROM new_values")
    connection.unregister("new_values")


def _without(group: "pa.Table", erased: set[Place]) -> "pa.Table":
    """Return the rows that are not erased."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not erased:
        return group
    # One number for each place, as Engage has it: compared in columns, not row by row.
    keys = pc.add(pc.multiply(group.column("log_position"), EVENTS_PER_RECORD_MAX), group.column("event_index"))
    erased_keys = [seq_of(position, index) for position, index in erased]
    return group.filter(pc.invert(pc.is_in(keys, value_set=pa.array(erased_keys, type=pa.int64()))))


def _scrub_results(group: "pa.Table", ids: ErasedIds) -> tuple["pa.Table", bool]:
    """Return the rows with results that name no subject, and whether any has changed."""
    import pyarrow as pa

    number = group.schema.get_field_index("results")
    texts: list[Any] = group.column(number).to_pylist()
    replaced = {text: _scrub_json(text, ids) for text in set(texts) if text is not None and ids.mentions(text)}
    if not replaced:
        return group, False
    column = pa.array([replaced.get(text, text) for text in texts], type=pa.string()).dictionary_encode()
    return group.set_column(number, group.schema.field(number), pa.chunked_array([column])), True


def _scrub_json(text: str, ids: ErasedIds) -> str:
    """Return results with details that name no subject."""
    results = json.loads(text)
    for result in results:
        if result.get("detail"):
            result["detail"] = ids.scrub(result["detail"])
    return json.dumps(results, ensure_ascii=False, separators=(",", ":"))

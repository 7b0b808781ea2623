"""The facts of all people in a DuckDB file, structured for computation; everything in it comes from lake and store.

The file may be lost: it is restored from both. `stamp` says which state of the store it belongs to.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from punchcard.computations.conditions import as_number
from punchcard.engage.facts import (
    FILE_VERSION,
    FactRows,
    Meta,
    MovedPeople,
    TimeLimitError,
    columns_sum,
    interrupting,
    unit_of_work,
)
from punchcard.errors import StorageError
from punchcard.events.sequence import seq_of
from punchcard.store.engage.profile_merging import final_profiles

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "memory_limit": "1500MB",
    "autoinstall_known_extensions": False,
    "enable_external_access": False,
    "preserve_insertion_order": False,
}
_TABLES = """
CREATE TABLE facts (
    profile BIGINT, happened BIGINT, seq BIGINT, event VARCHAR, source VARCHAR, properties VARCHAR, context VARCHAR,
    revenue DECIMAL(38, 9), value DECIMAL(38, 9), total DECIMAL(38, 9)
);
CREATE TABLE traits (profile BIGINT, name VARCHAR, text VARCHAR, json VARCHAR, computation VARCHAR);
CREATE TABLE people (profile BIGINT, known BOOLEAN);
CREATE TABLE meta (version INTEGER, position BIGINT, stamp BIGINT, computed_at BIGINT);
"""
# Made where they are missing: a file of an earlier version is used on, and its lists are read again.
_ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS list_members (list VARCHAR, profile BIGINT);
CREATE TABLE IF NOT EXISTS lists (name VARCHAR, revision VARCHAR);
CREATE TABLE IF NOT EXISTS moved AS SELECT * FROM facts LIMIT 0;
"""
_ROW = "profile, happened, seq, event, source, encode(properties), encode(context)"  # the columns of `FactRows`
_HOT = ", ".join(
    as_number(f"JSON_EXTRACT_STRING(properties, '$.\"{name}\"')") + f" AS {name}"
    for name in ("revenue", "value", "total")
)


class FactStore:
    """The file at `path`. For one process; queries from several threads need a cursor each.

    Args:
        path: The file; created if it is missing, recreated if another version wrote it or it is damaged.

    Raises:
        StorageError: The file cannot be created; from every method: it cannot be read or written.
    """

    shards = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = self._opened()
        self._number = 0

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def meta(self) -> Meta:
        """Return the state of the facts."""
        position, stamp, computed_at = self.rows("SELECT position, stamp, computed_at FROM meta")[0]
        return Meta(position=position, stamp=stamp, computed_at=computed_at)

    def recreate(self) -> None:
        """Begin again with an empty file."""
        self.close()
        self._forget()
        self._connection = self._opened()

    def unit_of_work(self) -> AbstractContextManager[None]:
        """Commit everything written inside, or nothing if an exception is raised."""
        return unit_of_work(self)

    def begin(self) -> None:
        """Begin a unit of work."""
        self.run("BEGIN TRANSACTION")

    def commit(self) -> None:
        """Commit the unit of work."""
        import duckdb

        try:
            self.run("COMMIT")
        except duckdb.Error as error:
            raise StorageError(f"{self._path} cannot be written: {error}.") from error

    def rollback(self) -> None:
        """Undo the unit of work, if it is not committed."""
        import duckdb

        with suppress(duckdb.TransactionException):  # it is committed, or ended by its failure
            self._connection.rollback()

    def save_meta(self, meta: Meta) -> None:
        """Save the state of the facts."""
        self.run(
            "UPDATE meta SET position = ?, stamp = ?, computed_at = ?", meta.position, meta.stamp, meta.computed_at
        )

    def add_facts(self, rows: FactRows) -> None:
        """Add events."""
        if rows.seqs:
            with self._as_table(rows.to_arrow()) as name:
                self.run(f"INSERT INTO facts SELECT *, {_HOT} FROM {name}")

    def add_people(self, people: Sequence[tuple[int, bool]]) -> None:
        """Add people: profile, and whether it has more than anonymous ids."""
        import pyarrow as pa

        if people:
            table = pa.table({"p": [row[0] for row in people], "k": [row[1] for row in people]})
            with self._as_table(table) as name:
                self.run(f"INSERT INTO people SELECT p, k FROM {name}")

    def make_known(self, profiles: Iterable[int]) -> None:
        """Mark profiles that have more than anonymous ids."""
        with self._numbers(profiles) as name:
            self.run(f"UPDATE people SET known = true WHERE profile IN (SELECT n FROM {name})")

    def merge(self, merges: Sequence[tuple[int, int]]) -> None:
        """Move everything of merged profiles to the remaining one: (profile, merged), in order."""
        import pyarrow as pa

        if not merges:
            return
        direct = [(profile, merged) for merged, profile in final_profiles(merges).items()]
        table = pa.table({"p": [row[0] for row in direct], "m": [row[1] for row in direct]})
        with self._as_table(table) as name:
            for moved in ("facts", "list_members"):
                self.run(
                    f"UPDATE {moved} SET profile = merges.p FROM {name} AS merges WHERE {moved}.profile = merges.m"
                )
            known = f"SELECT p FROM {name} JOIN people ON people.profile = m WHERE people.known"
            self.run(f"UPDATE people SET known = true WHERE profile IN ({known})")
            self.run(f"DELETE FROM people WHERE profile IN (SELECT m FROM {name})")
            self.run(f"DELETE FROM traits WHERE profile IN (SELECT m FROM {name})")

    def merge_again(self, merges: Sequence[tuple[int, int]]) -> None:
        """Merge while the facts are restored; of profiles that are merged already there is nothing to move."""
        self.merge(merges)

    def take_people(self, profiles: Iterable[int]) -> MovedPeople:
        """Remove merged profiles and return what another shard adds: their events stay in `moved` until it has them."""
        with self._numbers(profiles) as name:
            chosen = f"WHERE profile IN (SELECT n FROM {name})"
            rows = self.rows(f"SELECT {_ROW} FROM facts {chosen}")
            members = self.rows(f"SELECT list, profile FROM list_members {chosen}")
            known = self.rows(f"SELECT profile FROM people {chosen} AND known")
            self.run(f"INSERT INTO moved SELECT * FROM facts {chosen}")
            for table in ("facts", "list_members", "people", "traits"):
                self.run(f"DELETE FROM {table} {chosen}")
        return MovedPeople(
            FactRows.from_rows(rows), [(list_, profile) for list_, profile in members], [p for (p,) in known]
        )

    def moved_facts(self) -> FactRows:
        """Return the events that were taken last, of which another shard perhaps has none."""
        return FactRows.from_rows(self.rows(f"SELECT {_ROW} FROM moved"))

    def forget_moved(self) -> None:
        """Delete the events that other shards have by now."""
        self.run("DELETE FROM moved")

    def move_into_lists(self, members: Sequence[tuple[str, int]]) -> None:
        """Add members that another shard had: list and profile."""
        import pyarrow as pa

        if members:
            table = pa.table({"l": [row[0] for row in members], "p": [row[1] for row in members]})
            with self._as_table(table) as name:
                self.run(f"INSERT INTO list_members SELECT l, p FROM {name}")

    def set_traits(self, traits: Sequence[tuple[int, str, str, str]]) -> None:
        """Set traits: (profile, name, JSON, computation). A trait with the JSON `null` is stored and has no value."""
        import pyarrow as pa

        if not traits:
            return
        table = pa.table(
            {
                "p": pa.array([trait[0] for trait in traits], type=pa.int64()),
                "n": pa.array([trait[1] for trait in traits], type=pa.string()),
                "j": pa.array([trait[2] for trait in traits], type=pa.string()),
                "c": pa.array([trait[3] for trait in traits], type=pa.string()),
            }
        )
        with self._as_table(table) as name:
            self.run(f"DELETE FROM traits USING {name} AS new WHERE traits.profile = new.p AND traits.name = new.n")
            self.run(f"INSERT INTO traits SELECT p, n, json_extract_string(j, '$'), j, c FROM {name}")

    def touch(self, profiles: Iterable[int]) -> None:
        """Make these people the content of the table `touched`."""
        self.run("CREATE OR REPLACE TEMP TABLE touched (profile BIGINT)")
        with self._numbers(profiles) as name:
            self.run(f"INSERT INTO touched SELECT n FROM {name}")

    def list_revisions(self) -> dict[str, str]:
        """Return the revision of each static list with complete members."""
        return dict(self.rows("SELECT name, revision FROM lists"))

    def forget_lists(self) -> None:
        """Delete the members of all static lists; they are read again from the store."""
        self.run("DELETE FROM list_members")
        self.run("DELETE FROM lists")

    def begin_list(self, name: str) -> None:
        """Delete what was read of a list's next revision."""
        self.run("DELETE FROM list_members WHERE list = ?", _next_of(name))

    def add_list_members(self, name: str, profiles: Iterable[int]) -> None:
        """Add members to the next revision of a list, which do not count before `complete_list`."""
        with self._numbers(profiles) as numbers:
            self.run(f"INSERT INTO list_members SELECT ?, n FROM {numbers}", _next_of(name))

    def complete_list(self, name: str, revision: str) -> None:
        """Replace the members of a list by those of its next revision."""
        self.run("DELETE FROM list_members WHERE list = ?", name)
        self.run("UPDATE list_members SET list = ? WHERE list = ?", name, _next_of(name))
        self.run("DELETE FROM lists WHERE name = ?", name)
        self.run("INSERT INTO lists VALUES (?, ?)", name, revision)

    def people_before(self, position: int) -> set[int]:
        """Return everybody who has events before a log position."""
        return {row[0] for row in self.rows("SELECT DISTINCT profile FROM facts WHERE seq < ?", seq_of(position, 0))}

    def forget_before(self, position: int) -> None:
        """Delete the events before a log position."""
        self.run("DELETE FROM facts WHERE seq < ?", seq_of(position, 0))

    def forget_behind(self, position: int) -> None:
        """Delete the events after a log position."""
        for table in ("facts", "moved"):
            self.run(f"DELETE FROM {table} WHERE seq >= ?", seq_of(position + 1, 0))

    def delete_people(self, table: str, profiles: Iterable[int]) -> None:
        """Delete what a table (`facts`, `traits`, `people` or `list_members`) has of these people."""
        with self._numbers(profiles) as name:
            self.run(f"DELETE FROM {table} WHERE profile IN (SELECT n FROM {name})")

    def delete_events(self, seqs: Iterable[int]) -> None:
        """Delete events by their places in the log."""
        with self._numbers(seqs) as name:
            self.run(f"DELETE FROM facts WHERE seq IN (SELECT n FROM {name})")

    def copy_files(self) -> list[Path]:
        """Copy the file, outside a unit of work; return the copy."""
        copy = self._path.with_name(self._path.name + ".snapshot")
        self.run("CHECKPOINT")
        # Closed meanwhile: a process that closes a file it has read loses the lock that DuckDB has on it.
        self.close()
        try:
            shutil.copyfile(self._path, copy)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be copied: {error}.") from error
        finally:
            self._connection = self._opened()
        return [copy]

    def discard_deleted(self) -> None:
        """Write the file again without the bytes that deleted rows have left in it: seconds for ten million events.

        Raises:
            StorageError: It could not be written; the file is as before.
        """
        import duckdb

        copy = self._copy_path()
        self.close()
        try:
            self._forget_copy()
            with duckdb.connect(config={**_CONFIG, "enable_external_access": True}) as connection:
                for name, path, mode in (("old", self._path, " (READ_ONLY)"), ("new", copy, "")):
                    quoted = str(path).replace("'", "''")
                    connection.execute(f"ATTACH '{quoted}' AS {name}{mode}")
                connection.execute("COPY FROM DATABASE old TO new")
                connection.execute("CHECKPOINT new")
            copy.replace(self._path)
        except (OSError, duckdb.Error) as error:
            raise StorageError(f"{self._path} cannot be written again: {error}.") from error
        finally:
            self._connection = self._opened()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return self._execute(sql, values).fetchall()

    def totals(self, sql: str, *values: object, seconds_max: float = 0.0) -> tuple[int, ...]:
        """Run a query that returns one row of numbers, for at most `seconds_max`; 0 for no limit.

        Raises:
            TimeLimitError: The query was interrupted.
        """
        import duckdb

        try:
            with interrupting(self._connection.interrupt, after_seconds=seconds_max):
                return columns_sum(self.rows(sql, *values))
        except duckdb.InterruptException as error:
            raise TimeLimitError(f"The query was stopped after {seconds_max:g} s.") from error

    def run(self, sql: str, *values: object) -> None:
        """Run a statement."""
        self._execute(sql, values)

    def _execute(self, sql: str, values: Sequence[object]) -> "duckdb.DuckDBPyConnection":
        import duckdb

        try:
            return self._connection.execute(sql, list(values)) if values else self._connection.execute(sql)
        except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException) as error:
            raise StorageError(f"{self._path} cannot be used: {error}.") from error

    @contextmanager
    def _as_table(self, table: "pa.Table") -> Iterator[str]:
        self._number += 1
        name = f"arrow_{self._number}"
        self._connection.register(name, table)
        try:
            yield name
        finally:
            self._connection.unregister(name)

    @contextmanager
    def _numbers(self, numbers: Iterable[int]) -> Iterator[str]:
        import pyarrow as pa

        with self._as_table(pa.table({"n": pa.array(sorted(set(numbers)), type=pa.int64())})) as name:
            yield name

    def _opened(self) -> "duckdb.DuckDBPyConnection":
        import duckdb

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._forget_copy()
            if self._path.exists() and (existing := self._open_existing()) is not None:
                return existing
            self._forget()
            connection = duckdb.connect(str(self._path), config=_CONFIG)
            connection.execute(_TABLES + _ADDED_TABLES)
            connection.execute("INSERT INTO meta VALUES (?, 0, 0, 0)", [FILE_VERSION])
        except (OSError, duckdb.Error) as error:
            raise StorageError(f"{self._path} cannot be opened: {error}.") from error
        return connection

    def _open_existing(self) -> "duckdb.DuckDBPyConnection | None":
        """Open the existing file; None if it cannot be used."""
        import duckdb

        try:
            connection = duckdb.connect(str(self._path), config=_CONFIG)
            if connection.execute("SELECT version FROM meta").fetchall() == [(FILE_VERSION,)]:
                connection.execute(_ADDED_TABLES)
                return connection
            connection.close()
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise  # another process uses it
        except (duckdb.CatalogException, duckdb.SerializationException, duckdb.InvalidInputException):
            return None
        return None

    def _forget(self) -> None:
        for path in (self._path, self._path.with_name(self._path.name + ".wal")):
            path.unlink(missing_ok=True)

    def _copy_path(self) -> Path:
        return self._path.with_name(self._path.name + ".copy")

    def _forget_copy(self) -> None:
        """Remove what a crash has left of a rewriting."""
        copy = self._copy_path()
        for path in (copy, copy.with_name(copy.name + ".wal")):
            path.unlink(missing_ok=True)


def _next_of(name: str) -> str:
    return f"{name}/next"  # no list has this name: a key has no slash

"""What Engage computes over: the facts of all people, in one file or divided into shards by profile."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from punchcard.errors import PunchcardError

if TYPE_CHECKING:
    import pyarrow as pa


FILE_VERSION = 2
"""Version of the tables and their contents; a file with another version is recreated."""

_INTERRUPT_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The state of the facts.

    Attributes:
        position: The last log position with included events.
        stamp: The state of the store that traits and people belong to; negative while they are restored: see `state`.
        computed_at: The moment that the computed traits are valid for, microseconds since 1970.
    """

    position: int
    stamp: int
    computed_at: int

    @property
    def state(self) -> int:
        """The state of the store that the events belong to, also while people and traits are restored."""
        return self.stamp if self.stamp >= 0 else -1 - self.stamp

    def unfinished(self) -> "Meta":
        """Return this state with people and traits that must be restored."""
        return Meta(position=self.position, stamp=-1 - self.state, computed_at=0)


@dataclass
class FactRows:
    """Events to be added to the facts, one list per column."""

    profiles: list[int] = field(default_factory=list)
    happened: list[int] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    properties: list[bytes | None] = field(default_factory=list)
    contexts: list[bytes | None] = field(default_factory=list)

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[Any, ...]]) -> "FactRows":
        """Return rows that were read, in the order of the columns above."""
        return cls(*(list(column) for column in zip(*rows, strict=True)))

    def only(self, mask: Sequence[bool]) -> "FactRows":
        """Return the rows for which `mask` is True."""
        lists = (getattr(self, field.name) for field in fields(self))
        return FactRows(*(list(compress(values, mask)) for values in lists))

    def to_arrow(self) -> "pa.Table":
        """Return the rows as an Arrow table."""
        import pyarrow as pa

        return pa.table(
            {
                "profile": pa.array(self.profiles, type=pa.int64()),
                "happened": pa.array(self.happened, type=pa.int64()),
                "seq": pa.array(self.seqs, type=pa.int64()),
                "event": pa.array(self.events, type=pa.string()),
                "source": pa.array(self.sources, type=pa.string()),
                "properties": pa.array(self.properties, type=pa.string()),
                "context": pa.array(self.contexts, type=pa.string()),
            }
        )


class TimeLimitError(PunchcardError):
    """A query took longer than its time limit."""

    code = "time_limit_exceeded"


@dataclass
class MovedPeople:
    """What one shard gives to others because profiles of it are merged into theirs.

    Attributes:
        facts: Their events.
        list_members: Static list and profile.
        known: Those with more than anonymous ids.
    """

    facts: FactRows = field(default_factory=FactRows)
    list_members: list[tuple[str, int]] = field(default_factory=list)
    known: list[int] = field(default_factory=list)


class Facts(Protocol):
    """The facts of all people. Every method but `close` raises StorageError if they cannot be read or written."""

    @property
    def shards(self) -> int:
        """Number of the parts that the people are divided into."""

    def close(self) -> None:
        """Close the files."""

    def recreate(self) -> None:
        """Begin again with empty files."""

    def meta(self) -> Meta:
        """Return the state of the facts."""

    def unit_of_work(self) -> AbstractContextManager[None]:
        """Commit everything written inside, or nothing if an exception is raised."""

    def save_meta(self, meta: Meta) -> None:
        """Save the state of the facts."""

    def add_facts(self, rows: FactRows) -> None:
        """Add events."""

    def add_people(self, people: Sequence[tuple[int, bool]]) -> None:
        """Add people: profile, and whether it has more than anonymous ids."""

    def make_known(self, profiles: Iterable[int]) -> None:
        """Mark profiles that have more than anonymous ids."""

    def merge(self, merges: Sequence[tuple[int, int]]) -> None:
        """Move everything of merged profiles to the remaining one: (profile, merged), in order."""

    def merge_again(self, merges: Sequence[tuple[int, int]]) -> None:
        """Merge while the facts are restored: some, or all, of it may be done already."""

    def set_traits(self, traits: Sequence[tuple[int, str, str, str]]) -> None:
        """Set traits: (profile, name, JSON, computation). A trait with the JSON `null` is stored and has no value."""

    def touch(self, profiles: Iterable[int]) -> None:
        """Make these people the content of the table `touched`."""

    def list_revisions(self) -> dict[str, str]:
        """Return the revision of each static list with complete members."""

    def forget_lists(self) -> None:
        """Delete the members of all static lists; they are read again from the store."""

    def begin_list(self, name: str) -> None:
        """Delete what was read of a list's next revision."""

    def add_list_members(self, name: str, profiles: Iterable[int]) -> None:
        """Add members to the next revision of a list, which do not count before `complete_list`."""

    def complete_list(self, name: str, revision: str) -> None:
        """Replace the members of a list by those of its next revision."""

    def people_before(self, position: int) -> set[int]:
        """Return everybody who has events before a log position."""

    def forget_before(self, position: int) -> None:
        """Delete the events before a log position."""

    def forget_behind(self, position: int) -> None:
        """Delete the events after a log position."""

    def delete_people(self, table: str, profiles: Iterable[int]) -> None:
        """Delete what a table (`facts`, `traits`, `people` or `list_members`) has of these people."""

    def delete_events(self, seqs: Iterable[int]) -> None:
        """Delete events by their places in the log."""

    def copy_files(self) -> list[Path]:
        """Copy the files, outside a unit of work; return the copies, which the caller deletes."""

    def discard_deleted(self) -> None:
        """Write the files again without the bytes that deleted rows have left in them."""

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query in each shard and return all rows, in no order between shards."""

    def totals(self, sql: str, *values: object, seconds_max: float = 0.0) -> tuple[int, ...]:
        """Run a query that returns one row of numbers in each shard; return the sum of each column.

        Args:
            seconds_max: Interrupt it after this time; 0 for no limit.

        Raises:
            TimeLimitError: The query was interrupted.
        """

    def run(self, sql: str, *values: object) -> None:
        """Run a statement in each shard."""


class Transactional(Protocol):
    """Facts that take statements between `begin` and `commit` or `rollback`."""

    def begin(self) -> None:
        """Begin a unit of work."""

    def commit(self) -> None:
        """Commit it."""

    def rollback(self) -> None:
        """Undo it."""


@contextmanager
def unit_of_work(facts: Transactional) -> Iterator[None]:
    """Commit everything written inside, or nothing if an exception is raised."""
    facts.begin()
    try:
        yield
        facts.commit()
    except BaseException:
        facts.rollback()
        raise


@contextmanager
def interrupting(interrupt: Callable[[], object], *, after_seconds: float) -> Iterator[None]:
    """Call `interrupt` after this time, and again until the block ends: DuckDB ignores a call before a query begins.

    Args:
        after_seconds: 0 for never.
    """
    if not after_seconds:
        yield
        return
    is_over = threading.Event()

    def run() -> None:
        seconds = after_seconds
        while not is_over.wait(seconds):
            interrupt()
            seconds = _INTERRUPT_AGAIN_SECONDS

    thread = threading.Thread(target=run, name="time-limit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()  # so that it cannot interrupt a later query


def columns_sum(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the sum of each column."""
    return tuple(sum(column) for column in zip(*rows, strict=True))

"""The facts of all people, divided into shards: shard `k` of `n` has the people with `profile % n == k`.

Each shard is a file of facts with a stamp of its own, and computes for its people while the others do the same. One
process leads all of them: a unit of work is committed in one shard after the other, behind the store's. Results are
never saved without those of every shard, so no shard can be behind the others while its results count.

A crash between two commits leaves shards that differ by one unit of work. A merge of profiles in different shards moves
events from one to the other; until the next unit of work begins, which is after both are committed, the giving shard
also keeps them in `moved`. So each event is in one of them, and `merge_again` brings it to where it belongs.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from punchcard.engage.facts import FactRows, Facts, Meta, MovedPeople, Transactional, columns_sum, unit_of_work
from punchcard.store.engage.profile_merging import final_profiles

_Row = TypeVar("_Row")
_Own = TypeVar("_Own")
_Result = TypeVar("_Result")


class Shard(Facts, Transactional, Protocol):
    """A shard of the facts."""

    def take_people(self, profiles: Iterable[int]) -> MovedPeople:
        """Remove merged profiles and return what another shard adds."""

    def move_into_lists(self, members: Sequence[tuple[str, int]]) -> None:
        """Add members that another shard had: list and profile."""

    def moved_facts(self) -> FactRows:
        """Return the events that were taken last, of which another shard perhaps has none."""

    def forget_moved(self) -> None:
        """Delete the events that other shards have by now."""


class FactShards:
    """Several shards, used as one. Use from one thread.

    Args:
        parts: Shard 0, 1, …; at least two. Those that do not belong together begin again with empty files.

    Raises:
        StorageError: From every method: a shard cannot be read or written.
    """

    def __init__(self, parts: Sequence[Shard]) -> None:
        self._parts = tuple(parts)
        self.shards = len(parts)
        self._threads = ThreadPoolExecutor(self.shards, thread_name_prefix="fact-shard")
        metas = self._each(lambda part: part.meta())
        if not belong_together(metas):
            self.recreate()
        # What was moved by the last unit of work is in both shards if its commits were completed.
        self._has_moved = _is_same_state(metas)

    def close(self) -> None:
        """Close the files."""
        self._threads.shutdown()
        for part in self._parts:
            part.close()

    def recreate(self) -> None:
        """Begin again with empty files."""
        self._each(lambda part: part.recreate())

    def meta(self) -> Meta:
        """Return the state of the facts; if a crash has left shards in two states, an unfinished one."""
        metas = self._each(lambda part: part.meta())
        if _is_same_state(metas):
            return replace(metas[0], computed_at=min(meta.computed_at for meta in metas))
        newest = max(metas, key=lambda meta: meta.state)
        return replace(newest, position=min(meta.position for meta in metas)).unfinished()

    def unit_of_work(self) -> AbstractContextManager[None]:
        """Commit everything written inside, or nothing if an exception is raised; a crash may leave a part of it."""
        return unit_of_work(self)

    def begin(self) -> None:
        """Begin a unit of work: the one before is committed in all shards."""
        self._each(lambda part: part.begin())
        if self._has_moved:
            self._each(lambda part: part.forget_moved())
            self._has_moved = False

    def commit(self) -> None:
        """Commit it in each shard."""
        for part in self._parts:
            part.commit()

    def rollback(self) -> None:
        """Undo it where it is not committed."""
        self._each(lambda part: part.rollback())
        self._has_moved = True

    def save_meta(self, meta: Meta) -> None:
        """Save the state of the facts."""
        self._each(lambda part: part.save_meta(meta))

    def add_facts(self, rows: FactRows) -> None:
        """Add events."""
        divided = [
            rows.only([profile % self.shards == number for profile in rows.profiles]) for number in range(self.shards)
        ]
        self._each_with(lambda part, own: part.add_facts(own), divided)

    def add_people(self, people: Sequence[tuple[int, bool]]) -> None:
        """Add people: profile, and whether it has more than anonymous ids."""
        self._each_with(lambda part, own: part.add_people(own), self._divided(people, profile_of=lambda row: row[0]))

    def make_known(self, profiles: Iterable[int]) -> None:
        """Mark profiles that have more than anonymous ids."""
        self._each_with(lambda part, own: part.make_known(own), self._divided(profiles, profile_of=int))

    def merge(self, merges: Sequence[tuple[int, int]]) -> None:
        """Move everything of merged profiles to the remaining one: (profile, merged), in order."""
        if merges:
            self._merge(final_profiles(merges), again=False)

    def merge_again(self, merges: Sequence[tuple[int, int]]) -> None:
        """Merge while the facts are restored; first, give what was taken before the crash to those that lack it."""
        into = final_profiles(merges)
        for rows in self._each(lambda part: part.moved_facts()):
            self._give(MovedPeople(facts=rows), into, again=True)
        self._merge(into, again=True)
        self._has_moved = True

    def set_traits(self, traits: Sequence[tuple[int, str, str, str]]) -> None:
        """Set traits: (profile, name, JSON, computation)."""
        self._each_with(lambda part, own: part.set_traits(own), self._divided(traits, profile_of=lambda row: row[0]))

    def touch(self, profiles: Iterable[int]) -> None:
        """Make these people the content of the table `touched`."""
        self._each_with(lambda part, own: part.touch(own), self._divided(profiles, profile_of=int))

    def list_revisions(self) -> dict[str, str]:
        """Return the revision of each static list with complete members: the same one in every shard."""
        first, *others = self._each(lambda part: part.list_revisions())
        return {
            name: revision for name, revision in first.items() if all(other.get(name) == revision for other in others)
        }

    def forget_lists(self) -> None:
        """Delete the members of all static lists; they are read again from the store."""
        self._each(lambda part: part.forget_lists())

    def begin_list(self, name: str) -> None:
        """Delete what was read of a list's next revision."""
        self._each(lambda part: part.begin_list(name))

    def add_list_members(self, name: str, profiles: Iterable[int]) -> None:
        """Add members to the next revision of a list, which do not count before `complete_list`."""
        divided = self._divided(profiles, profile_of=int)
        self._each_with(lambda part, own: part.add_list_members(name, own), divided)

    def complete_list(self, name: str, revision: str) -> None:
        """Replace the members of a list by those of its next revision."""
        self._each(lambda part: part.complete_list(name, revision))

    def people_before(self, position: int) -> set[int]:
        """Return everybody who has events before a log position."""
        return set().union(*self._each(lambda part: part.people_before(position)))

    def forget_before(self, position: int) -> None:
        """Delete the events before a log position."""
        self._each(lambda part: part.forget_before(position))

    def forget_behind(self, position: int) -> None:
        """Delete the events after a log position."""
        self._each(lambda part: part.forget_behind(position))

    def delete_people(self, table: str, profiles: Iterable[int]) -> None:
        """Delete what a table has of these people."""
        divided = self._divided(profiles, profile_of=int)
        self._each_with(lambda part, own: part.delete_people(table, own), divided)

    def delete_events(self, seqs: Iterable[int]) -> None:
        """Delete events by their places in the log."""
        places = list(seqs)
        self._each(lambda part: part.delete_events(places))

    def copy_files(self) -> list[Path]:
        """Copy the files, outside a unit of work; return the copies, in the order of the shards."""
        return [copy for copies in self._each(lambda part: part.copy_files()) for copy in copies]

    def discard_deleted(self) -> None:
        """Write the files again without the bytes that deleted rows have left in them."""
        self._each(lambda part: part.discard_deleted())

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query in each shard and return all rows, in no order between shards."""
        return [row for rows in self._each(lambda part: part.rows(sql, *values)) for row in rows]

    def totals(self, sql: str, *values: object, seconds_max: float = 0.0) -> tuple[int, ...]:
        """Run a query that returns one row of numbers in each shard; return the sum of each column."""
        return columns_sum(self._each(lambda part: part.totals(sql, *values, seconds_max=seconds_max)))

    def run(self, sql: str, *values: object) -> None:
        """Run a statement in each shard."""
        self._each(lambda part: part.run(sql, *values))

    def _merge(self, into: dict[int, int], *, again: bool) -> None:
        inside = [
            (profile, merged) for merged, profile in into.items() if profile % self.shards == merged % self.shards
        ]
        across = [merged for merged, profile in into.items() if profile % self.shards != merged % self.shards]
        local = self._divided(inside, profile_of=lambda merge: merge[0])
        self._each_with(lambda part, own: part.merge(own), local)
        if across:
            self._has_moved = True
            taken = self._each_with(
                lambda part, own: part.take_people(own) if own else MovedPeople(), self._divided(across, profile_of=int)
            )
            for people in taken:
                self._give(people, into, again=again)

    def _give(self, people: MovedPeople, into: dict[int, int], *, again: bool) -> None:
        """Add what was taken from a shard to those of the remaining profiles, instead of what they have of it."""
        facts = replace(people.facts, profiles=[into.get(profile, profile) for profile in people.facts.profiles])
        if again:
            self.delete_events(facts.seqs)
        self.add_facts(facts)
        self.make_known({into[profile] for profile in people.known})
        members = [(name, into[profile]) for name, profile in people.list_members]
        divided = self._divided(members, profile_of=lambda member: member[1])
        self._each_with(lambda part, own: part.move_into_lists(own), divided)

    def _divided(self, rows: Iterable[_Row], *, profile_of: Callable[[_Row], int]) -> list[list[_Row]]:
        """Return the rows of each shard."""
        divided: list[list[_Row]] = [[] for _ in self._parts]
        for row in rows:
            divided[profile_of(row) % self.shards].append(row)
        return divided

    def _each(self, act: Callable[[Shard], _Result]) -> list[_Result]:
        """Call a function with each shard, all at the same time; return the results once the last one is done."""
        return self._each_with(lambda part, _: act(part), [None] * self.shards)

    def _each_with(self, act: Callable[[Shard, _Own], _Result], own: Sequence[_Own]) -> list[_Result]:
        """Call a function with each shard and the value that belongs to it, all at the same time."""
        futures = [self._threads.submit(act, part, value) for part, value in zip(self._parts, own, strict=True)]
        wait(futures)  # a shard that goes on while another has failed would write into the next unit of work
        return [future.result() for future in futures]


def belong_together(metas: Sequence[Meta]) -> bool:
    """Return whether shards were led together: at most the last unit of work is missing in some of them."""
    states = [meta.state for meta in metas]
    return max(states) - min(states) <= 1


def _is_same_state(metas: Sequence[Meta]) -> bool:
    return len({(meta.stamp, meta.position) for meta in metas}) == 1

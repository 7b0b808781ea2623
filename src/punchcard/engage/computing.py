"""Compute definitions over the facts and return the changes, for touched people or for everybody."""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from zoneinfo import ZoneInfo

import msgspec

from punchcard.computations.dates import local_day
from punchcard.computations.model import (
    Definition,
    beginning_at,
    depends_on_day,
    depends_on_moment,
    time_limits,
    trait_keys,
)
from punchcard.computations.sql import ComputationQuery, statement, value_json
from punchcard.engage.facts import Facts
from punchcard.errors import PunchcardError, StorageError

UTC_ZONE = ZoneInfo("UTC")
_MINUTE_MICROS = 60_000_000
_CLOCK_SLACK_MICROS = 60_000_000


@dataclass(frozen=True, kw_only=True)
class RequestedComputation:
    """An audience or a computed trait, prepared for computation.

    Attributes:
        kind: `audience` or `computed_trait`.
        definition: The parsed definition, as configured.
        includes_anonymous: True to count people who have only anonymous ids.
        since: Microseconds since 1970 before which no event counts, 0 for all of history.
        zone: Time zone in which days begin and end.
        list_revision: Revision of the static list that it has the members of, "" for none.
    """

    key: str
    kind: str
    definition: Definition
    includes_anonymous: bool = False
    since: int = 0
    zone: ZoneInfo = UTC_ZONE
    list_revision: str = ""

    def query(self) -> ComputationQuery:
        """Return the query for the compiler."""
        definition = beginning_at(self.definition, self.since) if self.since else self.definition
        return ComputationQuery(definition=definition, includes_anonymous=self.includes_anonymous)


class Change(msgspec.Struct, frozen=True, gc=False):
    """A person's new value of a computed trait.

    Attributes:
        value: JSON text; for an audience `true` or `false`.
        before: The previous value, None if there was none.
    """

    key: str
    profile: int
    value: str
    before: str | None


class ComputingError(PunchcardError):
    """DuckDB cannot compute one of these definitions.

    Args:
        keys: The computations that were computed together.
    """

    code = "computing_failed"

    def __init__(self, problem: str, *, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(problem)


def empty_value(computation: RequestedComputation) -> str:
    """Return the value of a profile that had a value and no longer has one."""
    if computation.kind == "audience":
        return "false"
    return "0" if getattr(computation.definition, "reducer", "") in ("count", "unique_count") else "null"


def group_by_dependency(computations: Sequence[RequestedComputation]) -> list[list[RequestedComputation]]:
    """Group computations so that each depends only on computations of earlier groups."""
    by_key = {computation.key: computation for computation in computations}
    sorter = TopologicalSorter(
        {key: trait_keys(computation.definition) & by_key.keys() for key, computation in by_key.items()}
    )
    sorter.prepare()
    levels = []
    while sorter.is_active():
        ready = sorter.get_ready()
        levels.append([by_key[key] for key in sorted(ready)])
        sorter.done(*ready)
    return levels


def touched_by_time(facts: Facts, computations: Sequence[RequestedComputation], *, begin: int, end: int) -> set[int]:
    """Return the people with an event that reached an age limit between two moments (microseconds since 1970)."""
    names: dict[int, set[str]] = {}
    for computation in computations:
        for name, age in time_limits(computation.definition):
            names.setdefault(age, set()).add(name)
    if not names or begin >= end:
        return set()
    # One query per age, because the file's statistics then skip nearly all row groups.
    parts = [
        f"SELECT profile FROM facts WHERE happened > {begin - age} AND happened <= {end - age} AND event IN ("
        + ", ".join("?" for _ in event_names)
        + ")"
        for age, event_names in names.items()
    ]
    values = [name for event_names in names.values() for name in event_names]
    return {row[0] for row in facts.rows(" UNION ".join(parts), *values)}


def changed_by_date(
    computations: Sequence[RequestedComputation], *, begin: int, end: int
) -> list[RequestedComputation]:
    """Return the computations with results that may change with the day, or for durations with the minute."""
    return [
        computation
        for computation in computations
        if (
            depends_on_day(computation.definition)
            and local_day(begin, computation.zone) != local_day(end, computation.zone)
        )
        or (depends_on_moment(computation.definition) and begin // _MINUTE_MICROS != end // _MINUTE_MICROS)
    ]


def next_moment(now: int, *, last: int) -> tuple[int, bool]:
    """Return the moment to compute for, and whether the clock was set back so far that every result may be wrong.

    If the clock was set back only a little, the last moment is used until the clock has caught up.

    Args:
        now: Current time of the clock, microseconds since 1970.
        last: The moment of the last computation.
    """
    if now >= last:
        return now, False
    return (last, False) if now >= last - _CLOCK_SLACK_MICROS else (now, True)


def compute(facts: Facts, level: Sequence[RequestedComputation], *, now: int, only_touched: bool) -> list[Change]:
    """Return the values that differ from the stored ones, for the people in `touched` or for everybody.

    Args:
        level: Computations that do not depend on each other.
        now: The moment to compute for, microseconds since 1970.

    Raises:
        ComputingError: One of them cannot be computed.
        StorageError: The facts cannot be read.
    """
    if not level:
        return []
    queries = [computation.query() for computation in level]
    changes: list[Change] = []
    try:
        sql = statement(queries, now=now, zone=level[0].zone, only_touched=only_touched)
        facts.run("CREATE OR REPLACE TEMP TABLE results AS " + sql)
        for number, computation in enumerate(level):
            changes += _differences(facts, computation, number, only_touched=only_touched)
    except StorageError:
        raise
    except Exception as error:  # any error of compiler or DuckDB concerns these definitions only
        raise ComputingError(str(error), keys=[computation.key for computation in level]) from error
    return changes


def _differences(facts: Facts, computation: RequestedComputation, number: int, *, only_touched: bool) -> list[Change]:
    """Return the new values; a custom trait of that name is replaced even if it is alike, as nobody has computed it."""
    empty = empty_value(computation)
    value = value_json(computation.definition, f"c{number}")
    among = " AND profile IN (SELECT profile FROM touched)" if only_touched else ""
    rows = facts.rows(
        f"""
        SELECT COALESCE(new.profile, old.profile), COALESCE(new.value, '{empty}'),
            CASE WHEN old.computation <> '' THEN old.json END
        FROM (SELECT profile, {value} AS value FROM results WHERE {value} IS NOT NULL) AS new
        FULL OUTER JOIN (
            SELECT profile, json, computation FROM traits WHERE name = ?{among}
        ) AS old ON old.profile = new.profile
        WHERE COALESCE(new.value, '{empty}') <> COALESCE(old.json, '{empty}')
            OR old.computation = '' AND COALESCE(new.value, old.json) <> 'null'
        """,
        computation.key,
    )
    return [Change(computation.key, profile, new, before) for profile, new, before in rows]


def size_of(facts: Facts, computation: RequestedComputation) -> int:
    """Return the number of members of an audience, or of profiles with a value."""
    (size,) = facts.totals(
        "SELECT count(*) FROM traits WHERE name = ? AND computation <> '' AND json NOT IN ('false', 'null')",
        computation.key,
    )
    return size


def leave_as_custom(facts: Facts, key: str) -> None:
    """Let the values that a deleted computation of this key has left count as custom, as the store has them."""
    facts.run("UPDATE traits SET computation = '' WHERE name = ? AND computation <> ''", key)


def apply(facts: Facts, changes: Sequence[Change], kinds: dict[str, str]) -> None:
    """Write the new values into the facts."""
    facts.set_traits([(change.profile, change.key, change.value, kinds[change.key]) for change in changes])

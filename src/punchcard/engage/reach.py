"""Whom a previewed definition concerns: customers with an email, changes against the stored values, other audiences.

The table `preview` of the facts holds the previewed values.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from punchcard.engage.facts import Facts
from punchcard.store.engage.profiles import count_with_email
from punchcard.store.engine import Store

OVERLAPS_MAX = 5
# Emails of more people are estimated from as many: looking them up takes a quarter of a second.
_SAMPLED_MAX = 20_000


class Group(msgspec.Struct, frozen=True):
    """A number of people.

    Attributes:
        with_email: How many of them have an email; without one nothing is sent to a destination.
        is_estimated: True if that was estimated from a sample.
    """

    people: int = 0
    with_email: int = 0
    is_estimated: bool = False

    @property
    def without_email(self) -> int:
        """How many of them have none."""
        return self.people - self.with_email


class Overlap(msgspec.Struct, frozen=True):
    """People who are also in another audience."""

    key: str
    people: int


class Reach(msgspec.Struct, frozen=True):
    """Whom a definition concerns.

    Attributes:
        matches: Everyone with a value by the definition.
        current: Everyone with a stored value of the computation.
        changes: Everyone who has another value by the definition than the stored one.
        entering: How many of the changes have no stored value.
        leaving: How many of them have no value by the definition.
        overlaps: Other audiences with the most of the matches, the largest overlap first.
    """

    matches: Group = Group()
    current: Group = Group()
    changes: Group = Group()
    entering: int = 0
    leaving: int = 0
    overlaps: tuple[Overlap, ...] = ()


def measure_reach(store: Store, facts: Facts, *, key: str, value: str) -> Reach:
    """Compare the previewed values with what is stored.

    Args:
        key: Key of the computation, "" for one that does not exist yet.
        value: SQL of a previewed value as JSON.

    Raises:
        StorageError: Store or facts cannot be read.
    """
    facts.run(
        f"""
        CREATE OR REPLACE TEMP TABLE preview_changes AS
        SELECT COALESCE(new.profile, old.profile) AS profile, new.value AS value, old.json AS json
        FROM (SELECT profile, {value} AS value FROM preview) AS new
        FULL OUTER JOIN (
            SELECT profile, json FROM traits WHERE name = ? AND computation <> '' AND json NOT IN ('false', 'null')
        ) AS old ON old.profile = new.profile
        """,
        key,
    )
    entering, leaving = facts.totals(
        "SELECT count(*) FILTER (json IS NULL), count(*) FILTER (value IS NULL) FROM preview_changes"
    )
    overlaps: Counter[str] = Counter()
    for name, count in facts.rows(
        """
        SELECT name, count(*) FROM traits JOIN preview USING (profile)
        WHERE computation = 'audience' AND json = 'true' AND name <> ?
        GROUP BY name
        """,
        key,
    ):
        overlaps[name] += count
    largest = sorted(overlaps.items(), key=lambda overlap: (-overlap[1], overlap[0]))[:OVERLAPS_MAX]
    return Reach(
        matches=_group(store, facts, "value IS NOT NULL"),
        current=_group(store, facts, "json IS NOT NULL"),
        changes=_group(store, facts, "value IS DISTINCT FROM json"),
        entering=entering,
        leaving=leaving,
        overlaps=tuple(Overlap(*overlap) for overlap in largest),
    )


def _group(store: Store, facts: Facts, condition: str) -> Group:
    (people,) = facts.totals(f"SELECT count(*) FROM preview_changes WHERE {condition}")
    limit = f" ORDER BY hash(profile) LIMIT {_SAMPLED_MAX // facts.shards}" if people > _SAMPLED_MAX else ""
    rows = facts.rows(f"SELECT profile FROM preview_changes WHERE {condition}{limit}")
    sample: Sequence[int] = [row[0] for row in rows]
    with store.reading() as work:
        with_email = count_with_email(work, sample)
    if people > len(sample):
        return Group(people, round(with_email * people / len(sample)), is_estimated=True)
    return Group(people, with_email)

"""Facts that are divided into shards give what undivided ones give, through merges and crashes.

The same lives are led in a world with one shard and in worlds with several; each is compared with the reference
evaluator by its people, since profiles and their numbers must be the same.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.clock import to_micros
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.engage.fact_opening import discard_other_facts, shard_paths
from punchcard.engage.fact_shards import FactShards
from punchcard.engage.fact_store import FactStore
from punchcard.errors import ConfigurationError, StorageError
from punchcard.events.sequence import seq_of
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.examples import examples
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.reference import Happened, Person, expected_result

Batch = list[tuple[str, str, str]]

BEGIN = datetime(2026, 3, 6, 20, tzinfo=UTC)
EXAMPLES = settings(max_examples=examples(12, part=3), deadline=None, suppress_health_check=list(HealthCheck))
AUDIENCE = "event('Order Completed').within(2 days).count() >= 2"
FUNNEL = "event('Cart Viewed').where( event('Order Completed').within(parent: 1 day).count() >= 1 ).count() >= 1"
COUNT = "event('Order Completed').count()"
OF_AUDIENCE = "trait('buyers') = true AND event('Cart Viewed').count() >= 1"

# An event has an anonymous id, a user id, or both, which merges them.
events = st.tuples(
    st.sampled_from(["", "", "ann", "bea", "cid"]),
    st.sampled_from(["a1", "a2", "a3", "a4", "a5", "a6"]),
    st.sampled_from(["Order Completed", "Cart Viewed"]),
)
steps = st.lists(
    st.tuples(
        st.lists(events, min_size=1, max_size=6),
        st.sampled_from(["", "", "crash", "facts lost", "killed in commit", "one file lost"]),
        st.sampled_from([0, 6, 30]),
    ),
    min_size=2,
    max_size=6,
)


class KilledError(BaseException):  # the engine isolates failures of an event, and ends with this
    """The process has ended between the commits of two shards."""


class Life:
    """A world, and the reference of what happens in it."""

    def __init__(self, folder: str, shards: int) -> None:
        self.store = Store(with_tables(f"sqlite:///{folder}/store-{shards}.db"))
        (Path(folder) / str(shards)).mkdir()
        self.world = EngageWorld(Path(folder) / str(shards), self.store, BEGIN, shards=shards)
        world = self.world
        world.configure(
            world.audience("buyers", AUDIENCE, include_anonymous=True),
            world.audience("bought_after", FUNNEL, include_anonymous=True),
            world.audience("both", OF_AUDIENCE, include_anonymous=True),
            world.trait("orders", COUNT, include_anonymous=True),
        )
        self.happened: list[tuple[str, str, Happened]] = []

    def receive(self, batch: Batch) -> None:
        for user, anonymous, name in batch:
            self.world.clock.advance(1)
            now = self.world.clock.now()
            number = len(self.happened)
            ids = {"anonymousId": anonymous} | ({"userId": user} if user else {})
            call = {"type": "track", "event": name, "messageId": f"m{number}", "timestamp": now.isoformat()}
            self.world.receive([{**call, **ids, "properties": {"n": number}}])
            happened = Happened(to_micros(now), seq_of(self.world.position, 0), name, "web", {"n": number}, {})
            self.happened.append((user, anonymous, happened))

    def goes_on(self, batch: Batch, what: str) -> None:
        self.receive(batch)
        if what == "killed in commit":
            self.kill_in_commit()
        elif what in ("crash", "facts lost"):
            self.world.crash(loses_facts=what == "facts lost")
        elif what == "one file lost":
            self.world.crash()
            self.world.facts_paths[-1].unlink(missing_ok=True)
        self.world.run_until_idle()

    def kill_in_commit(self) -> None:
        """End the process while the shards commit the next step: the last of them has not."""
        (self.world.engine or self.world.start())
        last: Any = getattr(self.world.facts, "_parts", [self.world.facts])[-1]

        def killed() -> None:
            raise KilledError

        last.commit = killed
        last.rollback = killed  # a process that is gone undoes nothing
        with pytest.raises(KilledError):
            self.world.run_until_idle()
        self.world.crash()

    def values(self) -> dict[str, dict[int, str]]:
        return {key: self.world.values(key) for key in ("buyers", "bought_after", "both", "orders")}

    def agrees(self) -> None:
        """Everybody's value is what the reference says of all events of the profile."""
        with self.store.reading() as work:
            rows = work.exec_driver_sql("SELECT type || ' ' || value, profile_id FROM external_ids")
            owners = {str(row[0]): int(row[1]) for row in rows}
        lives: dict[int, list[Happened]] = defaultdict(list)
        for user, anonymous, happened in self.happened:
            lives[owners[f"user_id {user}" if user else f"anonymous_id {anonymous}"]].append(happened)
        now = to_micros(self.world.clock.now())
        values = self.values()
        for key, text in (("buyers", AUDIENCE), ("bought_after", FUNNEL), ("orders", COUNT)):
            definition = (parse_trait if key == "orders" else parse_audience)(text)
            expected = {}
            for profile, life in lives.items():
                result = expected_result(definition, Person(life, {}), now)
                if result not in (None, False, 0):
                    expected[profile] = result
            stored = {profile: json.loads(value) for profile, value in values[key].items()}
            assert {profile: value for profile, value in stored.items() if value != 0} == expected, key
        assert self.world.engine is not None
        assert self.world.engine.check() == 0
        assert self.world.facts is not None
        assert self.world.facts.totals("SELECT count(*), count(DISTINCT seq) FROM facts") == (len(self.happened),) * 2

    def end(self) -> None:
        self.world.crash()
        self.store.close()


@EXAMPLES
@given(steps=steps, shards=st.sampled_from([2, 3]))
def test_shards_give_what_the_reference_says_through_merges_and_crashes(
    steps: list[tuple[Batch, str, int]], shards: int
) -> None:
    with TemporaryDirectory() as folder:
        undivided, divided = Life(folder, 1), Life(folder, shards)
        for batch, what, hours in steps:
            for life in (undivided, divided):
                life.goes_on(batch, what)
                life.world.advance(hours=hours)
                life.world.run_until_idle()
                life.agrees()
            assert divided.values() == undivided.values()
        undivided.end()
        divided.end()


def test_each_shard_has_the_people_with_its_remainder_after_a_merge_across_shards(tmp_path: Path) -> None:
    life = Life(str(tmp_path), 2)
    life.goes_on([("", "a1", "Order Completed"), ("", "a2", "Order Completed"), ("", "a2", "Cart Viewed")], "")
    life.goes_on([("ann", "a1", "Cart Viewed"), ("ann", "a2", "Order Completed")], "")
    life.agrees()
    life.world.crash()
    for number, path in enumerate(life.world.facts_paths):
        store = FactStore(path)
        profiles = {
            row[0] for table in ("facts", "people", "traits") for row in store.rows(f"SELECT profile FROM {table}")
        }
        assert {profile % 2 for profile in profiles} <= {number}
        store.close()
    life.end()


def test_events_that_one_shard_has_given_and_the_other_has_not_committed_are_not_lost(tmp_path: Path) -> None:
    life = Life(str(tmp_path), 2)
    life.goes_on([("", "a1", "Order Completed"), ("", "a2", "Order Completed"), ("", "a2", "Cart Viewed")], "")
    life.goes_on([("ann", "a1", "Cart Viewed"), ("ann", "a2", "Order Completed")], "killed in commit")
    life.agrees()
    life.end()


def test_shards_of_two_times_are_restored_instead_of_used(tmp_path: Path) -> None:
    life = Life(str(tmp_path), 2)
    life.goes_on([("", "a1", "Order Completed"), ("", "a2", "Order Completed")], "")
    life.world.crash()
    old = life.world.facts_paths[1].read_bytes()
    life.goes_on([("ann", "a1", "Cart Viewed"), ("ann", "a2", "Order Completed")], "")
    life.goes_on([("ann", "a1", "Cart Viewed")], "")
    life.world.crash()
    life.world.facts_paths[1].write_bytes(old)
    life.goes_on([("bea", "a3", "Cart Viewed")], "")
    life.agrees()
    life.end()


def test_a_failed_commit_of_one_shard_is_a_failure_of_storage(tmp_path: Path) -> None:
    life = Life(str(tmp_path), 2)
    life.goes_on([("", "a1", "Order Completed")], "")
    life.receive([("", "a2", "Order Completed")])
    assert isinstance(life.world.facts, FactShards)
    last: Any = life.world.facts._parts[1]
    commit = last.commit

    def fails() -> None:
        last.run("ROLLBACK")
        commit()

    last.commit = fails
    with pytest.raises(StorageError):
        life.world.run_until_idle()
    life.world.crash()
    life.world.run_until_idle()
    life.agrees()
    life.end()


def test_another_number_of_shards_restores_the_facts_and_leaves_no_file_of_the_former(tmp_path: Path) -> None:
    life = Life(str(tmp_path), 1)
    life.goes_on([("", "a1", "Order Completed"), ("ann", "a2", "Order Completed")], "crash")
    life.world.crash()
    path = life.world.facts_path
    life.world.facts_paths = shard_paths(path, 3)
    discard_other_facts(path, life.world.facts_paths)
    assert not path.exists()
    life.goes_on([("ann", "a1", "Cart Viewed")], "")
    life.agrees()
    life.world.crash()
    discard_other_facts(path, [path])
    assert sorted(file.name for file in path.parent.glob("engage*")) == []
    life.end()


@pytest.mark.parametrize("number", [0, -1, 65])
def test_a_number_of_shards_that_cannot_be_is_refused_with_the_setting_to_correct(number: int) -> None:
    with pytest.raises(ConfigurationError, match="PUNCHCARD_ENGAGE_SHARDS to a number from 1 to 64"):
        shard_paths(Path("engage.duckdb"), number)

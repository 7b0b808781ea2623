"""Retention of profiles: who was not seen for long is deleted with ids, traits and memberships; awards stay."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract.privacy_world import ANN, BOB, CONFIG, order, process, transactions

from punchcard.engage.fact_store import FactStore
from punchcard.operations.profile_retention import delete_old_profiles
from punchcard.operations.retention import PROFILES, change_retention, count_expired, find_data_set, list_retention
from punchcard.testing.public_api import PublicApiServer

AUDIENCE = """
[[audiences]]
name = "Buyers"
definition = "event('Order Completed').count() >= 1"
"""


@pytest.fixture
def api(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    """A running API; Ann was not seen for 100 days, Bob was."""
    with PublicApiServer(tmp_path, store_url, CONFIG + AUDIENCE) as server:
        server.send(order(ANN, 1), order(BOB, 2))
        process(server)
        server.clock.advance(timedelta(days=100).total_seconds())
        server.send(order(BOB, 3))
        process(server)
        yield server


def forget(api: PublicApiServer, **defaults: int) -> bool:
    """Run retention of profiles as the Engage process does, which computes everything again afterwards."""
    facts = api.facts
    assert facts is not None
    is_changed = delete_old_profiles(api.store, facts, defaults, clock=api.clock)
    if is_changed:
        facts.close()
        api._engine = None
    api.engage()
    return is_changed


def has_profile(api: PublicApiServer, person: tuple[str, str, str]) -> bool:
    """Return whether a profile has the user id of a person."""
    with api.store.reading() as work:
        from punchcard.store.engage.profiles import owners_of

        return bool(owners_of(work, [("user_id", person[0])]))


def size(api: PublicApiServer) -> Any:
    """Return the size of the audience."""
    return api._engine.states.current["buyers"].size if api._engine else None


def test_what_is_previewed_is_deleted_and_awards_stay(api: PublicApiServer, tmp_path: Path) -> None:
    assert size(api) == 2
    awards = transactions(api)
    data_set = find_data_set(PROFILES)
    assert not forget(api)  # for ever, by default
    with api.store.unit_of_work() as work:
        assert count_expired(work, str(tmp_path / "lake"), data_set, 90, now=api.clock.now()) == 1
        assert count_expired(work, str(tmp_path / "lake"), data_set, 101, now=api.clock.now()) == 0
        assert change_retention(work, data_set, 90, actor="operator", now=api.clock.now())
    assert forget(api)
    assert (has_profile(api, ANN), has_profile(api, BOB)) == (False, True)
    assert size(api) == 1
    assert transactions(api) == awards
    assert api.request("GET", "/api/events/m-1").status == 200
    with api.store.reading() as work:
        (period,) = [each for each in list_retention(work, {}) if each.data_set is data_set]
    assert period.deleted == 1
    assert not forget(api)
    audit = json.dumps(api.request("GET", "/api/audit-events").json())
    assert '"retention"' in audit.lower()


def test_who_comes_back_gets_a_new_profile_without_the_past(api: PublicApiServer) -> None:
    assert forget(api, profile_retention_days=90)
    api.send(order(ANN, 4, event="Checked In"))
    process(api)
    assert has_profile(api, ANN)
    assert size(api) == 1  # the earlier order does not count


def test_stopping_leaves_the_rest(api: PublicApiServer) -> None:
    assert api.facts is not None
    defaults = {"profile_retention_days": 90}
    assert not delete_old_profiles(api.store, api.facts, defaults, clock=api.clock, is_stopping=lambda: True)
    assert has_profile(api, ANN)


def test_a_file_of_facts_written_again_has_no_deleted_bytes(tmp_path: Path) -> None:
    path = tmp_path / "engage.duckdb"
    with closing(FactStore(path)) as facts:
        facts.add_people([(number, True) for number in range(1_000)])
        facts.set_traits([(number, "name", f'"{_name(number)}"', "") for number in range(1_000)])
        facts.run("CHECKPOINT")
        facts.delete_people("traits", range(500))
        facts.run("CHECKPOINT")
        assert _named_in(path, range(500))  # or the file would show nothing
        meta = facts.meta()
        facts.discard_deleted()
        facts.run("CHECKPOINT")
        assert not _named_in(path, range(500))
        assert facts.meta() == meta
        assert facts.rows("SELECT count(*) FROM traits") == [(500,)]
        assert facts.rows("SELECT count(*) FROM people") == [(1_000,)]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    with closing(FactStore(path)) as again:
        assert again.rows("SELECT min(profile) FROM traits") == [(500,)]


def test_what_a_crash_left_of_a_rewriting_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "engage.duckdb"
    left = [tmp_path / "engage.duckdb.copy", tmp_path / "engage.duckdb.copy.wal"]
    for name in left:
        name.write_bytes(b"ann@example.com")
    with closing(FactStore(path)):
        pass
    assert not any(name.exists() for name in left)


def _name(number: int) -> str:
    """Return a text that cannot be compressed."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def _named_in(path: Path, numbers: range) -> int:
    """Return how many of these names a file contains."""
    content = path.read_bytes()
    return sum(_name(number).encode() in content for number in numbers)

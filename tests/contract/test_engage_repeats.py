"""What identity writes about people who are known: almost nothing, on both engines."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from punchcard.engage import identity_resolution
from punchcard.engage.person_events import PersonEvent
from punchcard.profiles.rules import ANONYMOUS_ID, EMAIL, USER_ID, ExternalId, IdentityRules
from punchcard.store.engage import profile_queries, profiles
from punchcard.store.engage.profiles import RepeatedTraits
from punchcard.store.engage.schema import profile_traits
from punchcard.store.engage.schema import profiles as profiles_table
from punchcard.store.engine import Store

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ANN, VISITOR = ExternalId(USER_ID, "ann"), ExternalId(ANONYMOUS_ID, "visitor")
PLAN = {"plan": '"gold"', "city": '"Rome"'}
LONG = {"n" * 250 + str(number): "1" for number in range(5)}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with closing(Store(store_url)) as store:
        yield store


def call(
    seq: int,
    *,
    seconds: float,
    traits: dict[str, str] | None = None,
    ids: Sequence[ExternalId] = (ANN,),
    received: float | None = None,
) -> PersonEvent:
    """Return an event at a number of seconds; it is received then, or at another time."""
    at, received_at = (
        BEGIN + timedelta(seconds=seconds),
        BEGIN + timedelta(seconds=seconds if received is None else received),
    )
    return PersonEvent(tuple(ids), at, received_at, "web", f"m{seq}", seq, traits)


def take(store: Store, *batches: Sequence[PersonEvent]) -> None:
    for batch in batches:
        with store.unit_of_work() as work:
            changes = identity_resolution.plan_changes(work, list(batch), rules=IdentityRules(), reserved=())
            identity_resolution.write_changes(work, changes)


def trait_rows(store: Store) -> list[dict[str, Any]]:
    with store.reading() as work:
        order = (profile_traits.c.profile_id, profile_traits.c.name)
        return [dict(row._mapping) for row in work.execute(select(profile_traits).order_by(*order))]


def profile_row(store: Store) -> dict[str, Any]:
    with store.reading() as work:
        return dict(work.execute(select(profiles_table).order_by(profiles_table.c.id)).first()._mapping)


def plan_of_ann(store: Store) -> str:
    with store.reading() as work:
        profile = profiles.owners_of(work, [ANN])[ANN]
        return {trait.name: trait.value for trait in profile_queries.traits_by_name(work, profile)}["plan"]


def test_a_call_that_repeats_all_traits_changes_one_row_and_no_trait(store: Store) -> None:
    take(store, [call(1, seconds=0, traits=PLAN)])
    before = trait_rows(store)
    take(store, [call(2, seconds=10, traits=PLAN)], [call(3, seconds=20, traits=PLAN)])
    assert trait_rows(store) == before
    row = profile_row(store)
    assert (row["repeated_traits"], row["repeated_seq"]) == ('["city","plan"]', 3)
    assert row["repeated_at"] == BEGIN + timedelta(seconds=20)
    assert row["last_message_id"] == "m3", "it is in the same row"


def test_a_trait_is_as_old_as_its_value_however_often_it_is_repeated(store: Store) -> None:
    take(store, [call(1, seconds=0, traits=PLAN), call(2, seconds=10, traits=PLAN)], [call(3, seconds=99, traits=PLAN)])
    with store.reading() as work:
        traits = profile_queries.traits_by_name(work, profiles.owners_of(work, [ANN])[ANN])
    assert [(trait.updated_at, trait.message_id) for trait in traits] == [(BEGIN, "m1")] * 2


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param([[call(2, seconds=20, traits=PLAN)]], id="by the newest call"),
        pytest.param(
            [[call(2, seconds=20, traits=PLAN)], [call(3, seconds=30, traits={"city": '"Rome"'})]],
            id="by a call before the newest, which repeats another trait",
        ),
        pytest.param(
            [[call(2, seconds=20, traits=PLAN)], [call(3, seconds=30, traits={"city": '"Oslo"'})]],
            id="by a call before the newest, which changes another trait",
        ),
        pytest.param(
            [[call(2, seconds=10, traits={**PLAN, **LONG})], [call(3, seconds=30, traits={**PLAN, **LONG})]],
            id="together with names that do not fit into the row of a profile",
        ),
        pytest.param(
            [[call(2, seconds=20, traits=PLAN)], [call(3, seconds=30, ids=(ANN, VISITOR))]],
            id="by a profile that another was merged into",
        ),
        pytest.param(
            [[call(2, seconds=20, traits=PLAN), call(3, seconds=30, ids=(ANN, VISITOR))]],
            id="directly before a merge",
        ),
    ],
)
@pytest.mark.parametrize("is_cut", [True, False])
def test_an_older_call_that_comes_late_does_not_replace_a_repeated_value(
    store: Store, batches: list[list[PersonEvent]], is_cut: bool
) -> None:
    known = [call(0, seconds=0, ids=(VISITOR,), traits={"plan": '"free"'}), call(1, seconds=5, traits=PLAN)]
    late, newer = call(8, seconds=15, traits={"plan": '"late"'}), call(9, seconds=40, traits={"plan": '"newer"'})
    everything = [known, *batches, [late]]
    take(store, *(everything if is_cut else [[event for batch in everything for event in batch]]))
    assert plan_of_ann(store) == '"gold"'
    take(store, [newer])
    assert plan_of_ann(store) == '"newer"'


def test_names_that_are_too_long_are_kept_with_each_trait(store: Store) -> None:
    take(store, [call(1, seconds=0, traits=LONG)], [call(2, seconds=10, traits=LONG)])
    assert profile_row(store)["repeated_traits"] is None
    assert {(row["seq"], row["repeated_seq"]) for row in trait_rows(store)} == {(1, 2)}
    assert not RepeatedTraits(tuple(LONG)).fits()


@pytest.mark.parametrize(
    ("seconds", "recorded"),
    [
        pytest.param(59, "m1", id="within a minute"),
        pytest.param(60, "m2", id="a minute later"),
        pytest.param(-59, "m1", id="on a machine with a slow clock"),
        pytest.param(-61, "m2", id="after a clock was set back"),
    ],
)
def test_the_last_event_is_recorded_once_a_minute(store: Store, seconds: float, recorded: str) -> None:
    take(store, [call(1, seconds=0)], [call(2, seconds=seconds)])
    row = profile_row(store)
    assert row["last_message_id"] == recorded
    assert row["updated_at"] == BEGIN + timedelta(seconds=seconds if recorded == "m2" else 0)


def test_many_ids_are_found_at_once(store: Store) -> None:
    """The keys are one parameter: quotes, percent signs and other letters reach the database as they are."""
    values = ["o'hara", '"quoted"', "100%", "{a,b}", "\\N", "NULL", "ÄÖ ü", "1", *(f"v{n}" for n in range(11_000))]
    take(store, [call(n, seconds=0, ids=(ExternalId(USER_ID, value),)) for n, value in enumerate(values)])
    ids = [ExternalId(USER_ID, value) for value in values]
    with store.reading() as work:
        owners = profiles.owners_of(work, [*ids, ExternalId(EMAIL, "o'hara"), ExternalId(USER_ID, "nobody")])
        assert set(owners) == set(ids)
        assert set().union(*profiles.ids_of(work, set(owners.values())).values()) == set(ids)

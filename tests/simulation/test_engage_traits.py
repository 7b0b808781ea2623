"""What people's traits are in the end depends on what happened, not on how or when it reached us.

Calls come late, of people who later turn out to be one, in batches cut anywhere; the store's rows are compared.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from punchcard.engage import identity_resolution
from punchcard.engage.person_events import PersonEvent
from punchcard.profiles.rules import ExternalId, IdentityRules
from punchcard.store.engage import profile_queries, profile_search, profiles
from punchcard.store.engine import Store
from punchcard.testing.examples import examples
from punchcard.testing.fresh_store import with_tables

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
EXAMPLES = settings(max_examples=examples(60, part=20), deadline=None, suppress_health_check=list(HealthCheck))
NAMES = ("plan", "city")
VALUES = ('"gold"', '"silver"', "1", "null")


@dataclass(frozen=True)
class Call:
    """An identify call: who by which of their ids, when (minutes), what."""

    person: int
    ids: frozenset[str]
    at: int
    traits: tuple[tuple[str, str], ...]


calls = st.builds(
    Call,
    st.integers(0, 1),
    st.frozensets(st.sampled_from(["user_id", "email", "anonymous_id", "card"]), min_size=1, max_size=3),
    st.integers(0, 6),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=2).map(lambda item: tuple(item.items())),
)


def person(number: int, call: Call) -> PersonEvent:
    """The call as it is read, at its place in the log."""
    ids = sorted((ExternalId(type_, f"{type_}-{call.person}") for type_ in call.ids), key=IdentityRules().rank)
    at = BEGIN + timedelta(minutes=call.at)
    return PersonEvent(tuple(ids), at, BEGIN, "web", f"m{number}", number, dict(call.traits))


@contextmanager
def taken_in(batches: Sequence[Sequence[PersonEvent]]) -> Iterator[Store]:
    with TemporaryDirectory() as folder, closing(Store(with_tables(f"sqlite:///{folder}/store.db"))) as store:
        for batch in batches:
            with store.unit_of_work() as work:
                changes = identity_resolution.plan_changes(
                    work, list(batch), rules=IdentityRules(), reserved={"reserved"}
                )
                identity_resolution.write_changes(work, changes)
        yield store


def traits_in(store: Store) -> dict[frozenset[tuple[str, str]], dict[str, str]]:
    """The traits of everybody, by all their ids."""
    with store.reading() as work:
        owners = profiles.owners_of(
            work,
            [(type_, f"{type_}-{item}") for type_ in ("user_id", "email", "anonymous_id", "card") for item in (0, 1)],
        )
        ids = profiles.ids_of(work, set(owners.values()))
        return {
            frozenset(ids[profile]): {
                trait.name: trait.value for trait in profile_queries.traits_by_name(work, profile)
            }
            for profile in ids
        }


def history_in(store: Store) -> list[tuple[str, str | None, datetime]]:
    with store.reading() as work:
        result: list[tuple[str, str | None, datetime]] = []
        for profile in sorted({item.profile_id for item in profile_search.newest(work, limit=100)}):
            changes = profile_queries.history_of(work, profile, limit=100)
            result += [(change.name, change.value, change.at) for change in changes]
        return result


def newest(track_calls: Sequence[Call]) -> dict[frozenset[tuple[str, str]], dict[str, str]]:
    """What should stand: of people who are one by any chain of calls, each trait's newest value."""
    groups: list[set[ExternalId]] = []
    for call in track_calls:
        ids = {ExternalId(type_, f"{type_}-{call.person}") for type_ in call.ids}
        joined = [group for group in groups if group & ids]
        groups = [group for group in groups if not group & ids] + [ids.union(*joined)]
    result: dict[frozenset[tuple[str, str]], dict[str, str]] = {}
    for group in groups:
        values: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for number, call in enumerate(track_calls):
            if ExternalId(min(call.ids), f"{min(call.ids)}-{call.person}") in group:
                for name, value in call.traits:
                    values[name].append((call.at, number, value))
        last = {name: max(value)[2] for name, value in values.items()}
        result[frozenset(group)] = {name: value for name, value in last.items() if value != "null"}
    return result


@EXAMPLES
@given(track_calls=st.lists(calls, max_size=10), cuts=st.sets(st.integers(1, 9)))
def test_the_newest_value_stands_however_the_log_is_cut_into_batches(track_calls, cuts):
    log = [person(number, call) for number, call in enumerate(track_calls)]
    borders = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    batches = [log[begin:end] for begin, end in pairwise(borders)]
    with taken_in(batches) as cut, taken_in([log]) as whole:
        assert traits_in(cut) == traits_in(whole) == newest(track_calls)
        assert history_in(cut) == history_in(whole)


@EXAMPLES
@given(track_calls=st.lists(calls, max_size=8, unique_by=lambda call: call.at), order=st.randoms(use_true_random=False))
def test_calls_of_different_instants_come_to_the_same_in_every_order(track_calls, order):
    shuffled = list(track_calls)
    order.shuffle(shuffled)
    with taken_in([[person(number, call) for number, call in enumerate(shuffled)]]) as store:
        assert traits_in(store) == newest(track_calls)


def test_a_trait_that_was_taken_away_does_not_come_back_with_an_older_call():
    gold = Call(0, frozenset({"user_id"}), 1, (("plan", '"gold"'),))
    away = Call(0, frozenset({"user_id"}), 3, (("plan", "null"),))
    late = Call(0, frozenset({"user_id"}), 2, (("plan", '"silver"'),))
    with taken_in([[person(number, call)] for number, call in enumerate((gold, away, late))]) as store:
        assert list(traits_in(store).values()) == [{}]
        assert [value for _, value, _ in history_in(store)] == [None, '"gold"']


def test_no_call_changes_what_is_computed():
    call = Call(0, frozenset({"user_id"}), 1, (("reserved", "true"), ("plan", '"gold"')))
    with taken_in([[person(1, call)]]) as store:
        assert list(traits_in(store).values()) == [{"plan": '"gold"'}]

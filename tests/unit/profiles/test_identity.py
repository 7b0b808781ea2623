"""The profile of an event, by Segment's rules: found, made, merged, and separate where two people share a device."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.identity import Known, may_change, resolve
from punchcard.profiles.rules import ExternalId, IdentityRules

RULES = IdentityRules()
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BY_WEEK = IdentityRules(limits={"user_id": 1, "email": 2, "anonymous_id": 1}, periods={"email": "weekly"})


def ids(**given: str) -> tuple[ExternalId, ...]:
    return tuple(sorted((ExternalId(*pair) for pair in given.items()), key=RULES.rank))


class People:
    """All of the people, as a store would keep them, resolved in batches."""

    def __init__(self, rules: IdentityRules = RULES) -> None:
        self.rules = rules
        self.owners: dict[ExternalId, int] = {}
        self.merged: Counter[int] = Counter()
        self.newest = itertools.count(1)
        self.profiles: list[int | None] = []
        self.conflicts: set[tuple[int, ExternalId]] = set()
        self.into: dict[int, int] = {}
        self.since: dict[ExternalId, datetime] = {}

    def take(self, events, *, days=None) -> None:
        known = Known(merges=self.merged, since=dict(self.since))
        received = [BEGIN + timedelta(days=day) for day in days or [0] * len(events)]
        for event in events:
            known.owners.update({item: self.owners[item] for item in event if item in self.owners})
        for event in events:
            for profile in may_change(event, known.owners):
                known.members[profile] = {key for key, owner in self.owners.items() if owner == profile}
        result = resolve(events, known, rules=self.rules, new_profile=lambda: next(self.newest), received=received)
        self.since.update(known.since)
        for merge in result.merges:
            self.into[merge.merged] = merge.profile
            for key, owner in self.owners.items():
                if owner == merge.merged:
                    self.owners[key] = merge.profile
        self.owners.update(known.owners)
        self.profiles += result.final()
        self.conflicts |= result.conflicts.keys()

    def groups(self) -> set[frozenset[ExternalId]]:
        by_profile: dict[int, set[ExternalId]] = {}
        for key, owner in self.owners.items():
            by_profile.setdefault(owner, set()).add(key)
        return {frozenset(item) for item in by_profile.values()}


def test_an_id_that_nobody_has_makes_a_profile_and_leads_to_it_again():
    people = People()
    people.take([ids(user_id="ann"), ids(user_id="ann"), ids(user_id="bea")])
    assert people.profiles == [1, 1, 2]


def test_a_visitor_who_signs_in_keeps_what_they_have_done():
    people = People()
    people.take([ids(anonymous_id="x"), ids(user_id="ann"), ids(anonymous_id="x", user_id="ann")])
    assert people.profiles == [1, 1, 1]
    assert people.groups() == {frozenset(ids(anonymous_id="x", user_id="ann"))}


def test_two_users_of_one_device_are_never_one_person():
    people = People()
    people.take([ids(anonymous_id="x", user_id="ann"), ids(anonymous_id="x", user_id="bea")])
    assert people.profiles == [1, 2]
    assert people.owners[ExternalId("anonymous_id", "x")] == 1
    assert people.conflicts == {(2, ExternalId("anonymous_id", "x"))}


def test_a_mailbox_that_two_users_share_stays_with_the_first():
    people = People()
    people.take([ids(user_id="ann", email="home@example.com"), ids(user_id="bea", email="home@example.com")])
    assert people.profiles == [1, 2]
    assert people.conflicts == {(2, ExternalId("email", "home@example.com"))}


def test_the_weakest_id_is_left_out_first_and_the_rest_still_merges():
    people = People()
    people.take([ids(user_id="ann", anonymous_id="x"), ids(email="bea@example.com"), ids(user_id="bea")])
    people.take([ids(user_id="bea", email="bea@example.com", anonymous_id="x")])
    assert people.profiles[-1] == 2
    assert people.owners[ExternalId("email", "bea@example.com")] == people.owners[ExternalId("user_id", "bea")]
    assert people.conflicts == {(2, ExternalId("anonymous_id", "x"))}


def test_a_profile_has_five_emails_at_most():
    people = People()
    people.take([ids(user_id="ann", email=f"{number}@example.com") for number in range(7)])
    assert set(people.profiles) == {1}
    assert len([owner for owner in people.owners if owner.type == "email"]) == 5
    assert len(people.conflicts) == 2


def test_a_limit_of_a_week_lets_another_in_when_the_week_is_over():
    people = People(BY_WEEK)
    visits = [ids(user_id="ann", email=f"{number}@example.com") for number in range(4)]
    people.take(visits, days=[0, 1, 6.9, 7])
    assert people.conflicts == {(1, ExternalId("email", "2@example.com"))}
    assert people.owners[ExternalId("email", "3@example.com")] == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_merges_come_to_the_same_people_in_every_order(order):
    events = [
        ids(anonymous_id="x", email="a@example.com"),
        ids(anonymous_id="y", email="a@example.com"),
        ids(user_id="ann", anonymous_id="y"),
        ids(user_id="bea", anonymous_id="z"),
    ]
    people = People()
    people.take([events[number] for number in order])
    assert people.groups() == {
        frozenset({*ids(anonymous_id="x", email="a@example.com", user_id="ann"), ExternalId("anonymous_id", "y")}),
        frozenset(ids(user_id="bea", anonymous_id="z")),
    }


some_ids = st.dictionaries(
    st.sampled_from(["user_id", "email", "anonymous_id"]), st.sampled_from("abcd"), min_size=1, max_size=3
).map(lambda given: ids(**given))


@pytest.mark.parametrize("rules", [RULES, BY_WEEK], ids=["ever", "weekly"])
@given(events=st.lists(some_ids, max_size=25), cuts=st.lists(st.integers(0, 25), max_size=4))
def test_it_makes_no_difference_how_the_log_is_cut_into_batches(rules, events, cuts):
    whole, cut = People(rules), People(rules)
    days = [2 * number for number in range(len(events))]
    whole.take(events, days=days)
    borders = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    for begin, end in itertools.pairwise(borders):
        cut.take(events[begin:end], days=days[begin:end])
    assert cut.owners == whole.owners
    final = [cut.owners[event[0]] for event in events]
    assert final == [whole.owners[event[0]] for event in events]


@given(events=st.lists(some_ids, max_size=25))
def test_no_profile_ever_has_more_ids_than_the_rules_allow_and_none_is_lost(events):
    people = People()
    people.take(events)
    for group in people.groups():
        for type_, count in Counter(item.type for item in group).items():
            assert count <= RULES.limit_of(type_)
    for event, profile in zip(events, people.profiles, strict=True):
        assert people.owners[event[0]] == profile, "an event belongs to whom its strongest id leads to"


@pytest.mark.parametrize("value", ["anonymous", "-1", "null", "000-000", ""])
def test_values_that_are_nobodys_lead_to_nobody(value):
    reader = IdReader(RULES)
    assert reader.ids_of(user_id=value, anonymous_id=None, email=None, payload=b"{}") == ()


def test_ids_are_read_from_the_context_too():
    payload = (
        b'{"context":{"externalIds":[{"id":"+1","type":"phone","collection":"users","encoding":"none"},'
        b'{"id":"x","type":"group","collection":"accounts","encoding":"none"}],'
        b'"device":{"type":"ios","id":"d1","advertisingId":"i1","adTrackingEnabled":true,"token":"t1"}}}'
    )
    ids_of = IdReader(RULES).ids_of(user_id="ann", anonymous_id="x", email=None, payload=payload)
    assert ids_of == (
        ("user_id", "ann"),
        ("anonymous_id", "x"),
        ("ios.id", "d1"),
        ("ios.idfa", "i1"),
        ("ios.push_token", "t1"),
        ("phone", "+1"),
    )

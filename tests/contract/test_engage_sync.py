"""Which change is sent when and to whom: entries once, values at once unless they go back, whatever the clock does."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from punchcard.engage.debounce import CHANGES_PER_MINUTE_MAX
from punchcard.engage.person_events import UnsyncedCall
from punchcard.engage.sync_dispatch import requeue_unsent
from punchcard.operations.computation_status import list_computation_statuses
from punchcard.store.engage.schema import synced
from punchcard.store.engage.synced import count_cut_lists
from punchcard.store.engine import Store
from punchcard.testing.sync_world import BEGIN, KEY, SyncWorld
from punchcard.workspace.model import Workspace

SPEND = "lifetime_spend"
SUM = "event('Order Completed').sum(property('revenue'))"
BOTH = ("identify", "track")


@pytest.fixture
def world(tmp_path, store_url):
    store = Store(store_url)
    made = SyncWorld(tmp_path, store)
    made.audience(send=BOTH)
    yield made
    made.world.crash()
    made.log.close()
    store.close()


def spend(world: SyncWorld, amount: float, person: str = "ann") -> None:
    world.order(person, properties={"email": f"{person}@example.com", "revenue": amount})
    world.run_until_idle()


def values(world: SyncWorld) -> list[object]:
    return [value for _, value in world.synced_values(SPEND)]


# A track call of Engage earns points: it goes to one email of a person, once for each entry.


def test_a_second_email_of_a_member_earns_no_second_entry(world):
    world.order("ann")
    world.run_until_idle()
    world.world.advance(hours=1)
    world.identify("ann", email="new@example.com")
    world.run_until_idle()
    assert world.synced_values() == [("ann@example.com", True), ("new@example.com", True)]
    assert world.tracked() == [("Audience Entered", "ann@example.com")]


def test_who_enters_again_with_two_emails_enters_once_at_the_newest(world):
    world.order("ann")
    world.run_until_idle()
    world.world.advance(hours=1)
    world.identify("ann", email="new@example.com")
    world.run_until_idle()
    world.world.advance(days=31)
    world.run_until_idle()
    world.world.advance(hours=1)
    world.order("ann")
    world.run_until_idle()
    assert len(world.synced_values()) == 6, "both emails were told of entering, leaving and entering"
    assert world.tracked() == [
        ("Audience Entered", "ann@example.com"),
        ("Audience Exited", "new@example.com"),
        ("Audience Entered", "new@example.com"),
    ]


def test_members_who_are_merged_enter_no_second_time(world):
    world.order("ann")
    world.run_until_idle()
    world.world.advance(hours=1)
    anonymous = {"type": "track", "event": "Order Completed", "anonymousId": "x", "messageId": "a1"}
    world.world.receive([{**anonymous, "properties": {"email": "other@example.com"}}])
    world.run_until_idle()
    assert len(world.tracked()) == 2, "they were two people"
    world.world.advance(hours=1)
    world.world.receive([{"type": "identify", "userId": "ann", "anonymousId": "x", "messageId": "i1", "traits": {}}])
    world.run_until_idle()
    assert len(world.tracked()) == 2
    world.world.advance(days=31)
    world.run_until_idle()
    assert [event for event, _ in world.tracked()[2:]] == ["Audience Exited"]
    world.world.advance(hours=1)
    world.order("ann")
    world.run_until_idle()
    assert [event for event, _ in world.tracked()[3:]] == ["Audience Entered"]


def test_a_track_call_that_did_not_arrive_is_sent_again_alone(world):
    world.order("ann")
    world.run_until_idle()
    world.world.advance(hours=1)
    world.identify("ann", email="new@example.com")
    world.run_until_idle()
    lost = UnsyncedCall(destination="perkville", key=KEY, email="ann@example.com", sequence=1, call="track")
    with world.store.unit_of_work() as work:
        requeue_unsent(work, [lost], world.world.clock.now())
    world.run_until_idle()
    assert [event for event, _ in world.tracked()] == ["Audience Entered"] * 2
    assert len(world.synced_values()) == 2, "the identify calls had arrived"


def test_an_identify_call_that_did_not_arrive_is_sent_again_without_a_second_entry(world):
    world.order("ann")
    world.run_until_idle()
    world.world.advance(hours=1)
    lost = UnsyncedCall(destination="perkville", key=KEY, email="ann@example.com", sequence=1, call="identify")
    with world.store.unit_of_work() as work:
        requeue_unsent(work, [lost], world.world.clock.now())
    world.run_until_idle()
    assert len(world.synced_values()) == 2
    assert len(world.tracked()) == 1


def test_of_a_call_pair_the_track_call_is_sent_again_though_the_identify_call_was_already(world):
    world.order("ann")
    world.run_until_idle()
    lost = UnsyncedCall(destination="perkville", key=KEY, email="ann@example.com", sequence=1, call="identify")
    for call in ("identify", "track"):
        world.world.advance(hours=1)
        with world.store.unit_of_work() as work:
            requeue_unsent(work, [replace(lost, call=call)], world.world.clock.now())
        world.run_until_idle()
    assert len(world.synced_values()) == 2
    assert len(world.tracked()) == 2


# A new value goes at once; one that goes back waits until a minute after the last change.


@pytest.mark.parametrize("seconds", [0, 8, 59])
def test_a_new_value_is_sent_at_once_however_new_the_last_one_is(world, seconds):
    world.trait(SPEND, SUM)
    spend(world, 10)
    world.world.advance(seconds=seconds)
    spend(world, 5)
    assert values(world) == [10, 15]
    spend(world, 5)
    assert values(world) == [10, 15, 20]


def test_a_value_that_goes_back_waits_and_the_next_new_value_does_not(world):
    world.trait(SPEND, SUM)
    spend(world, 10)
    spend(world, 5)
    world.world.advance(seconds=10)
    spend(world, -5)
    assert values(world) == [10, 15], "10 was the value a moment ago"
    spend(world, 30)
    assert values(world) == [10, 15, 40], "a new value does not wait behind one that does"


def test_a_value_that_stays_back_is_sent_a_minute_after_the_last_change(world):
    world.trait(SPEND, SUM)
    spend(world, 10)
    spend(world, 5)
    world.world.advance(seconds=10)
    spend(world, -5)
    world.world.advance(seconds=49)
    world.run_until_idle()
    assert values(world) == [10, 15]
    world.world.advance(seconds=1)
    world.run_until_idle()
    assert values(world) == [10, 15, 10]
    assert world.queue() == {}


def test_a_first_value_that_is_gone_at_once_waits_too(world):
    world.trait(SPEND, "event('Order Completed').within(5 seconds).sum(property('revenue'))")
    spend(world, 10)
    world.world.advance(seconds=6)
    world.run_until_idle()
    assert values(world) == [10]
    world.world.advance(seconds=60)
    world.run_until_idle()
    assert values(world) == [10, None]


def test_of_very_many_changes_some_are_left_out_and_never_the_last(world):
    world.trait(SPEND, SUM)
    for _ in range(CHANGES_PER_MINUTE_MAX + 5):
        spend(world, 1)
        world.world.advance(seconds=1)
    assert values(world) == list(range(1, CHANGES_PER_MINUTE_MAX + 1))
    world.world.advance(seconds=60)
    world.run_until_idle()
    assert values(world)[CHANGES_PER_MINUTE_MAX:] == [CHANGES_PER_MINUTE_MAX + 5]


def test_one_busy_person_delays_no_other(world):
    world.trait(SPEND, SUM)
    for _ in range(CHANGES_PER_MINUTE_MAX + 1):
        spend(world, 1)
        world.world.advance(seconds=1)
    spend(world, 7, person="bea")
    assert world.synced_values(SPEND)[-1] == ("bea@example.com", 7)


def test_an_audience_is_entered_at_once_and_left_a_minute_later(world):
    world.audience(definition="event('Order Completed').within(10 seconds).count() >= 1", send=BOTH)
    world.order("ann")
    world.run_until_idle()
    assert world.synced_values() == [("ann@example.com", True)]
    world.world.advance(seconds=11)
    world.run_until_idle()
    assert world.synced_values() == [("ann@example.com", True)]
    world.world.advance(seconds=49)
    world.run_until_idle()
    assert world.synced_values() == [("ann@example.com", True), ("ann@example.com", False)]
    assert [event for event, _ in world.tracked()] == ["Audience Entered", "Audience Exited"]


# The machine's clock is set forward by hours and back: nothing waits for hours.


@pytest.mark.parametrize("rhythm", ["real-time", "every 2 hours"])
def test_what_was_queued_while_the_clock_was_ahead_is_sent_once_it_is_right(world, rhythm):
    world.audience(sync=rhythm)
    world.run_until_idle()
    world.world.clock.set_wall_clock(by=5 * 3_600)
    world.order("ann", timestamp=BEGIN.isoformat())
    world.world.run_until_idle()
    world.world.clock.set_wall_clock(by=-5 * 3_600)
    world.world.advance(seconds=31)
    world.run_until_idle()
    assert world.synced_values() == [("ann@example.com", True)]


def test_a_change_after_the_clock_was_ahead_waits_for_nothing(world):
    world.trait(SPEND, SUM)
    world.world.clock.set_wall_clock(by=5 * 3_600)
    spend(world, 10)
    spend(world, 5)
    world.world.clock.set_wall_clock(by=-5 * 3_600)
    spend(world, 3)
    assert values(world) == [10, 15, 3], "the others have not come to pass yet"


def test_who_left_while_the_clock_was_ahead_is_back_once_it_is_right(world):
    world.audience(definition="event('Order Completed').within(2 hours).count() >= 1")
    world.order("ann")
    world.run_until_idle()
    world.world.clock.set_wall_clock(by=5 * 3_600)
    world.run_until_idle()
    assert world.synced_values()[-1] == ("ann@example.com", False)
    world.world.clock.set_wall_clock(by=-5 * 3_600)
    world.run_until_idle()
    world.world.advance(seconds=61)
    world.run_until_idle()
    assert world.synced_values()[-1] == ("ann@example.com", True)
    world.world.advance(hours=2)
    world.run_until_idle()
    assert world.synced_values()[-1] == ("ann@example.com", False)
    assert world.world.engine.check() == 0


def test_a_clock_that_goes_back_a_little_recomputes_nothing(world):
    world.order("ann")
    world.run_until_idle()
    world.world.clock.set_wall_clock(by=-2)
    assert not world.world.engine.step()


# A call has at most 32 KB.


LIST = "event('Order Completed').unique(property('sku'))"


def orders(world: SyncWorld, skus: list[str], person: str = "ann") -> None:
    world.world.receive(
        [
            {
                "type": "track",
                "event": "Order Completed",
                "userId": person,
                "messageId": f"{person}-{number}",
                "properties": {"sku": sku, "email": f"{person}@example.com"},
            }
            for number, sku in enumerate(skus)
        ]
    )
    world.run_until_idle()


def current_rows(world: SyncWorld) -> list[tuple[str, int]]:
    with world.store.reading() as work:
        return [(row.value, row.entries_cut) for row in work.execute(select(synced))]


def warnings(world: SyncWorld) -> list[str]:
    """What the computation's page and the Public API say."""
    workspace = Workspace(computations=tuple(world.world.computations.values()))
    return [
        warning
        for computation_status in list_computation_statuses(world.store, workspace)
        for each in computation_status.pending_syncs
        for warning in each.warnings
    ]


def test_a_list_that_is_too_long_loses_its_last_entries_and_says_how_many(world):
    world.trait("skus", LIST, send=BOTH)
    skus = [f"sku-{number:04}-{'x' * 90}" for number in range(500)]
    orders(world, skus)
    (sent,) = world.synced_values("skus")
    assert sent[1] == skus[: len(sent[1])]
    assert 300 < len(sent[1]) < 330
    assert [cut for _, cut in current_rows(world)] == [500 - len(sent[1])]
    assert all(size <= 32 * 1024 for size in world.call_sizes())
    assert max(world.call_sizes()) > 32 * 1024 - 200, "what fits is sent"
    with world.store.reading() as work:
        assert count_cut_lists(work) == {("perkville", "skus"): 1}
    assert warnings(world) == ["1 list is sent without its last entries: a call has at most 32 KB."]
    orders(world, ["sku-0000-a"], person="bea")
    world.world.receive([{"type": "track", "event": "Order Completed", "userId": "ann", "messageId": "again"}])
    world.run_until_idle()
    assert len(world.synced_values("skus")) == 2, "what is cut to the same is not sent again"


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("event('Order Completed').last(property('note'))", "x" * 32_450),
        ("event('Order Completed').last(property('note'))", {"deep": ["x" * 32_450]}),
        ("event('Order Completed').last(property('note'))", ["x" * 32_450]),
        ("event('Order Completed').max(property('note') as string)", "x" * 32_450),
    ],
    ids=["text", "object", "list of one", "maximum"],
)
def test_a_value_that_is_too_large_is_not_sent_and_the_old_one_stands(world, definition, value):
    world.trait("note", definition)
    world.order("ann", properties={"email": "ann@example.com", "note": "a"})
    world.run_until_idle()
    world.world.advance(hours=1)
    # Room for the value is less in the call than in the event, which has the note and an email alone.
    world.order("ann", properties={"note": value})
    world.run_until_idle()
    assert [sent for _, sent in world.synced_values("note")] == ["a"]
    assert world.queue() == {("perkville", "note", "too_large"): 1}
    assert current_rows(world) == [('"a"', 0)]
    (warning,) = warnings(world)
    assert warning.startswith("1 person has a value that is too large")
    world.world.advance(hours=1)
    world.order("ann", properties={"note": "zz"})
    world.run_until_idle()
    assert [sent for _, sent in world.synced_values("note")] == ["a", "zz"]
    assert world.queue() == {}


def test_a_number_beyond_json_is_not_sent_and_stops_nobody_else(world):
    world.trait("score", "event('Order Completed').last(property('score'))")
    world.order("ann", properties={"email": "ann@example.com", "score": 1})
    world.order("bea", properties={"email": "bea@example.com", "score": 2})
    world.run_until_idle()
    # As an older version of Punchcard, or another writer of the lake, let it in.
    assert world.world.facts is not None
    world.world.facts.run("""UPDATE facts SET properties = '{"score":1e999}' WHERE properties LIKE '%"score": 1%'""")
    world.order("ann", properties={})
    world.order("bea", properties={"score": 3})
    world.run_until_idle()
    assert [sent for _, sent in world.synced_values("score")][2:] == [3]
    assert world.queue() == {("perkville", "score", "invalid"): 1}
    assert "cannot be written as JSON" in warnings(world)[0]


def test_a_call_that_failed_on_ingest_all_the_same_does_not_count_as_sent(world):
    world.order("ann")
    world.run_until_idle()
    refused = UnsyncedCall(
        destination="perkville", key=KEY, email="ann@example.com", sequence=1, call="identify", waits_for="too_large"
    )
    with world.store.unit_of_work() as work:
        requeue_unsent(work, [refused], world.world.clock.now())
    world.run_until_idle()
    assert current_rows(world) == [("", 0)]
    assert world.queue() == {("perkville", KEY, "too_large"): 1}

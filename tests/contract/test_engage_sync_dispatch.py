"""What is synced to destinations: every change once, nothing that was reverted, whatever crashes in between."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, update

from punchcard.destinations.perkville.definition import TRANSACTION
from punchcard.operations.alerts import find_alerts
from punchcard.profiles.rules import ExternalId
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState, NewEffect
from punchcard.store.delivery.schema import effects
from punchcard.store.delivery.unknown_customers import NO_CONNECTION
from punchcard.store.engage import engage_tables
from punchcard.store.engage.profiles import owners_of, traits_of
from punchcard.store.engage.schema import profiles, sync_calls, synced
from punchcard.store.engine import Store
from punchcard.testing.effects import new_effect
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.sync_world import BEGIN, DEFINITION, KEY, SyncWorld
from punchcard.workspace.computations import OWN_SOURCES


@pytest.fixture
def sync(tmp_path, store_url):
    store = Store(store_url)
    made = SyncWorld(tmp_path, store)
    made.audience()
    yield made
    made.world.crash()
    made.log.close()
    store.close()


def test_the_pages_example_true_with_the_order_and_false_when_thirty_days_are_over(sync):
    sync.order("ann")
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]
    sync.world.advance(days=29, hours=23, minutes=59)
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]
    sync.world.advance(minutes=2)
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True), ("ann@example.com", False)]


def test_a_call_has_segments_shape(sync):
    sync.audience(send=("identify", "track"))
    sync.order("ann")
    sync.run_until_idle()
    identify, track = sorted(sync.calls(), key=lambda call: call["type"])
    personas = identify["context"]["personas"]
    assert identify["userId"] == "ann"
    assert identify["traits"] == {"email": "ann@example.com", KEY: True}
    assert identify["integrations"] == {"All": False, "Perkville": True}
    assert personas["computation_class"] == "audience"
    assert personas["computation_key"] == KEY
    assert personas["computation_id"].startswith("aud_")
    assert track["event"] == "Audience Entered"
    assert track["properties"] == {"audience_key": KEY, KEY: True}
    assert track["context"]["traits"] == {"email": "ann@example.com"}


def test_everybody_at_first_and_only_changes_afterwards(sync):
    for person in ("ann", "bea", "cid"):
        sync.order(person)
    sync.run_until_idle()
    assert sorted(sync.synced_values()) == [(f"{person}@example.com", True) for person in ("ann", "bea", "cid")]
    sync.order("ann")
    sync.order("dan")
    sync.run_until_idle()
    assert sync.synced_values()[3:] == [("dan@example.com", True)]


def test_in_and_out_before_it_was_synced_is_sent_to_nobody(sync):
    with sync.store.unit_of_work() as work:
        engage_tables.pause(work, "perkville", at=BEGIN, actor="test")
    sync.audience(definition="event('Order Completed').within(1 minute).count() >= 1")
    sync.order("ann")
    sync.run_until_idle()
    assert sync.queue() == {("perkville", KEY, ""): 1}
    sync.world.advance(minutes=2)
    sync.run_until_idle()
    with sync.store.unit_of_work() as work:
        engage_tables.resume(work, "perkville")
    sync.run_until_idle()
    assert sync.synced_values() == []
    assert sync.queue() == {}


def test_who_flickers_is_synced_once_a_minute_at_most(sync):
    sync.audience(definition="event('Order Completed').within(10 seconds).count() >= 1")
    sync.order("ann")
    sync.run_until_idle()
    sync.world.advance(seconds=15)
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]
    sync.order("ann")
    sync.run_until_idle()
    sync.world.advance(seconds=46)
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True), ("ann@example.com", False)]


def test_who_has_no_email_is_synced_once_there_is_one(sync):
    sync.order("ann", properties={})
    sync.run_until_idle()
    assert sync.synced_values() == []
    assert sync.queue() == {("perkville", KEY, "email"): 1}
    call = {"type": "identify", "userId": "ann", "messageId": "i1", "traits": {"email": "Ann@Example.com"}}
    sync.world.receive([call])
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]


def test_a_new_email_is_reported_and_leaving_is_sent_to_both(sync):
    sync.order("ann")
    sync.run_until_idle()
    sync.world.advance(hours=1)
    call = {"type": "identify", "userId": "ann", "messageId": "i1", "traits": {"email": "new@example.com"}}
    sync.world.receive([call])
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True), ("new@example.com", True)]
    sync.world.advance(days=31)
    sync.run_until_idle()
    assert sorted(sync.synced_values()[2:]) == [("ann@example.com", False), ("new@example.com", False)]


def test_a_person_with_two_emails_enters_once(sync):
    sync.audience(send=("track",))
    sync.order("ann")
    sync.run_until_idle()
    call = {"type": "identify", "userId": "ann", "messageId": "i1", "traits": {"email": "new@example.com"}}
    sync.world.receive([call])
    sync.run_until_idle()
    assert [call["event"] for call in sync.calls()] == ["Audience Entered"]


@pytest.mark.parametrize("chosen", ["keep", "false"])
def test_a_deleted_audience_tells_false_only_if_so_chosen(sync, chosen):
    sync.audience(when_removed=chosen)
    sync.order("ann")
    sync.run_until_idle()
    sync.world.advance(hours=1)
    sync.world.configure()
    sync.run_until_idle()
    assert sync.synced_values()[1:] == ([("ann@example.com", False)] if chosen == "false" else [])


def test_an_audience_that_was_deleted_and_is_there_again_has_its_members_and_corrects_who_left(sync):
    for person in ("ann", "bea"):
        sync.order(person)
        sync.world.advance(days=10)
    sync.run_until_idle()
    sync.world.configure()
    sync.run_until_idle()
    sync.world.advance(days=15)  # the order of ann is too old now, and nobody knows
    sync.order("cid")
    sync.audience()
    sync.run_until_idle()
    assert sorted(sync.synced_values()[2:]) == [("ann@example.com", False), ("cid@example.com", True)]
    with sync.store.reading() as work:
        profile_ids = [row.id for row in work.execute(select(profiles.c.id))]
        traits = traits_of(work, profile_ids, [KEY])
        assert engage_tables.states(work)[0].size == 2
    assert sorted((trait.value, trait.computation) for trait in traits) == [
        ("false", "audience"),
        ("true", "audience"),
        ("true", "audience"),
    ]
    with sync.store.unit_of_work() as work:
        at = sync.world.clock.now()
        assert engage_tables.enqueue_everybody(work, destination="perkville", key=KEY, at=at, is_resync=True) == 2


def test_a_custom_trait_of_a_new_audiences_name_makes_nobody_a_member(sync):
    sync.world.configure()
    sync.identify("ann", email="ann@example.com", **{KEY: True})
    sync.order("bea")
    sync.run_until_idle()
    sync.audience()
    sync.run_until_idle()
    assert sync.synced_values() == [("bea@example.com", True)]
    with sync.store.reading() as work:
        (ann,) = owners_of(work, [ExternalId("user_id", "ann")]).values()
        (trait,) = traits_of(work, [ann], [KEY])
    assert (trait.value, trait.computation) == ("false", "audience")


def test_an_audience_that_is_switched_on_again_tells_its_members_again(sync):
    sync.audience(when_removed="false")
    sync.order("ann")
    sync.run_until_idle()
    for enabled in (False, True):
        sync.world.advance(hours=1)
        sync.audience(when_removed="false", enabled=enabled)
        sync.run_until_idle()
    assert [value for _, value in sync.synced_values()] == [True, False, True]


def test_a_destination_that_is_connected_later_gets_everybody(sync):
    sync.audience(destinations=())
    sync.order("ann")
    sync.run_until_idle()
    assert sync.synced_values() == []
    sync.audience()
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]


def test_a_rhythm_waits_for_its_turn(sync):
    sync.audience(sync="every 2 hours")
    sync.run_until_idle()
    sync.world.advance(minutes=30)
    sync.order("ann")
    sync.run_until_idle()
    assert sync.synced_values() == []
    sync.world.advance(minutes=90)
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]


def test_resync_tells_everybody_once_more(sync):
    sync.order("ann")
    sync.run_until_idle()
    with sync.store.unit_of_work() as work:
        at = sync.world.clock.now()
        assert engage_tables.enqueue_everybody(work, destination="perkville", key=KEY, at=at, is_resync=True) == 1
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)] * 2


def test_a_crash_after_deciding_and_one_after_appending_send_nothing_twice(sync):
    sync.order("ann")
    sync.world.run_until_idle()
    dispatcher = sync.dispatcher
    dispatcher._write_keys = sync.world.current().own_write_keys
    from punchcard.engage.sync_targets import sync_targets

    dispatcher._plan(sync_targets(sync.world.current())[0], sync.world.current())
    with sync.store.reading() as work:
        waiting = work.execute(select(sync_calls)).all()
    assert len(waiting) == 1
    sync.run_until_idle()  # as after a start: what was decided goes out
    with sync.store.unit_of_work() as work:
        engage_tables.add_calls(work, [dict(row._mapping) for row in waiting])  # as if it had not been forgotten
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]
    with sync.store.reading() as work:
        assert [row.value for row in work.execute(select(synced))] == ["true"]


def test_people_who_are_merged_are_synced_as_one(sync):
    sync.order("ann", properties={"email": "ann@example.com"})
    sync.world.receive(
        [
            {
                "type": "track",
                "event": "Order Completed",
                "anonymousId": "x",
                "messageId": "a1",
                "properties": {"email": "other@example.com"},
            }
        ]
    )
    sync.run_until_idle()
    assert sorted(sync.synced_values()) == [("ann@example.com", True), ("other@example.com", True)]
    sync.world.receive([{"type": "identify", "userId": "ann", "anonymousId": "x", "messageId": "i1", "traits": {}}])
    sync.run_until_idle()
    assert len(sync.synced_values()) == 2
    sync.world.advance(days=31)
    sync.run_until_idle()
    assert sorted(sync.synced_values()[2:]) == [("ann@example.com", False), ("other@example.com", False)]


def test_while_events_of_before_are_read_it_says_how_far_it_is(tmp_path, sqlite_url):
    store = Store(sqlite_url)
    world = EngageWorld(tmp_path, store, BEGIN, events_max=2)
    world.configure(world.audience(KEY, DEFINITION))
    for number in range(8):
        call = {"type": "track", "event": "Order Completed", "userId": f"u{number}", "messageId": f"m{number}"}
        world.receive([call])
    engine = world.start()
    assert engine.step()
    state = engine.states.current[KEY]
    assert (state.status, state.detail) == ("Preparing", "25 % of past events are processed.")
    world.run_until_idle()
    state = engine.states.current[KEY]
    assert (state.status, state.detail, state.size) == ("Live", "", 8)
    world.crash()
    store.close()


@pytest.mark.parametrize("loses_facts", [False, True], ids=["running", "facts lost"])
def test_what_the_lake_has_dropped_counts_no_more(sync, loses_facts):
    sync.audience(definition="event('Order Completed').count() >= 2")
    sync.order("ann")
    sync.order("bea")
    sync.world.advance(days=2)
    sync.order("ann")
    sync.order("bea")
    sync.run_until_idle()
    sync.world.advance(days=2)
    sync.order("bea")
    assert sync.world.writer.drop_before(BEGIN.date() + timedelta(days=2)) == 2
    if loses_facts:
        sync.world.crash(loses_facts=True)
    sync.run_until_idle()
    assert sync.synced_values()[2:] == [("ann@example.com", False)]
    sync.world.writer.drop_before(BEGIN.date() + timedelta(days=9))
    sync.run_until_idle()
    assert sync.synced_values()[3:] == [("bea@example.com", False)]
    assert sync.world.engine.check() == 0


def test_what_a_check_finds_wrong_is_put_right_and_needs_a_person(sync):
    sync.order("ann")
    sync.run_until_idle()
    # As a defect would leave it: the facts and the store agree on what is not so.
    sync.world.facts.run("UPDATE traits SET json = 'false', text = 'false' WHERE name = ?", KEY)
    assert sync.world.engine.check() == 1
    state = sync.world.engine.states.current[KEY]
    assert (state.differences, state.size) == (1, 1)
    assert sync.world.values(KEY) == {1: "true"}
    with sync.store.reading() as work:
        alerts = find_alerts(work, sync.world.current(), now=sync.world.clock.now())
    assert [(alert.kind, alert.subject, alert.count) for alert in alerts] == [("computation", KEY, 1)]
    assert sync.world.engine.check() == 0


def test_a_destination_that_is_behind_with_awards_gets_nothing_else(sync):
    award = NewEffect(
        destination="perkville",
        effect_key="SEG:web:EVENT:award",
        kind=TRANSACTION,
        source="web",
        message_id="award",
        event_name="Order Completed",
        log_position=1,
        event_index=0,
        received_at=BEGIN,
        customer="zoe@example.com",
        email="zoe@example.com",
        item="1",
        requested_quantity=Decimal(1),
        attributes=None,
        order_id=None,
        is_refund=False,
    )
    with sync.store.unit_of_work() as work:
        outbox.add(work, [award], now=BEGIN)
    sync.world.advance(seconds=5)
    sync.order("ann")
    sync.run_until_idle()
    assert sync.synced_values() == []
    with sync.store.unit_of_work() as work:
        work.exec_driver_sql("UPDATE effects SET is_open = false, state = 'delivered'")
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]


def test_changes_of_people_whom_a_destination_does_not_know_leave_room_for_others(sync):
    def calls(value):
        return [
            new_effect(
                f"{number} {value}",
                customer=f"{number}@example.com",
                attributes={KEY: value},
                source=f"{OWN_SOURCES}perkville",
                received_at=BEGIN,
            )
            for number in range(300)
        ]

    with sync.store.unit_of_work() as work:
        outbox.add(work, calls(value=True), now=BEGIN)
        work.execute(update(effects).values(state=EffectState.RETRYING, reason=NO_CONNECTION))
        outbox.add(work, calls(value=False), now=BEGIN)
    sync.order("ann")
    sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]


BROKEN = {
    "does not parse": {"definition": "event('Order Completed').within(30 days"},
    "empty": {"definition": ""},
    "not a rhythm": {"sync": "every 99999999999999999999 days"},
    "references itself": {"definition": f"trait('{KEY}') = true"},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_stored_definition_that_cannot_be_used_keeps_its_members_and_tells_nobody(sync, broken):
    sync.audience(when_removed="false")
    sync.order("ann")
    sync.run_until_idle()
    sync.order("bob")
    sync.world.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]
    sync.audience(when_removed="false", **broken)
    for _ in range(3):
        sync.world.advance(days=20)
        sync.run_until_idle()
    assert sync.synced_values() == [("ann@example.com", True)]
    with sync.store.reading() as work:
        (state,) = engage_tables.states(work)
        alerts = find_alerts(work, sync.world.current(), now=sync.world.clock.now())
    assert state.status == engage_tables.Status.FAILED
    assert [(alert.kind, alert.subject) for alert in alerts] == [("computation", KEY)]
    assert alerts[0].detail
    sync.audience(when_removed="false")
    sync.run_until_idle()
    assert sync.synced_values()[-1] == ("ann@example.com", False)  # the thirty days are over by now
    with sync.store.reading() as work:
        assert find_alerts(work, sync.world.current(), now=sync.world.clock.now()) == []

"""What destinations are told of people: every change once, nothing that was taken back, whatever crashes in between."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from punchcard.destinations.perkville.definition import TRANSACTION
from punchcard.operations.alerts import find_alerts
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import NewEffect
from punchcard.store.engage import engage_tables
from punchcard.store.engage.schema import sync_calls, synced
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.sync_world import BEGIN, DEFINITION, KEY, SyncWorld


@pytest.fixture
def telling(tmp_path, store_url):
    store = Store(store_url)
    made = SyncWorld(tmp_path, store)
    made.audience()
    yield made
    made.world.crash()
    made.log.close()
    store.close()


def test_the_pages_example_true_with_the_order_and_false_when_thirty_days_are_over(telling):
    telling.order("ann")
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]
    telling.world.advance(days=29, hours=23, minutes=59)
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]
    telling.world.advance(minutes=2)
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True), ("ann@example.com", False)]


def test_a_call_has_segments_shape(telling):
    telling.audience(send=("identify", "track"))
    telling.order("ann")
    telling.run_until_idle()
    identify, track = sorted(telling.calls(), key=lambda call: call["type"])
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


def test_everybody_at_first_and_only_changes_afterwards(telling):
    for who in ("ann", "bea", "cid"):
        telling.order(who)
    telling.run_until_idle()
    assert sorted(telling.synced_values()) == [(f"{who}@example.com", True) for who in ("ann", "bea", "cid")]
    telling.order("ann")
    telling.order("dan")
    telling.run_until_idle()
    assert telling.synced_values()[3:] == [("dan@example.com", True)]


def test_in_and_out_before_it_was_synced_is_sent_to_nobody(telling):
    with telling.store.unit_of_work() as work:
        engage_tables.pause(work, "perkville", at=BEGIN, actor="test")
    telling.audience(definition="event('Order Completed').within(1 minute).count() >= 1")
    telling.order("ann")
    telling.run_until_idle()
    assert telling.queue() == {("perkville", KEY, ""): 1}
    telling.world.advance(minutes=2)
    telling.run_until_idle()
    with telling.store.unit_of_work() as work:
        engage_tables.resume(work, "perkville")
    telling.run_until_idle()
    assert telling.synced_values() == []
    assert telling.queue() == {}


def test_who_flickers_is_synced_once_a_minute_at_most(telling):
    telling.audience(definition="event('Order Completed').within(10 seconds).count() >= 1")
    telling.order("ann")
    telling.run_until_idle()
    telling.world.advance(seconds=15)
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]
    telling.order("ann")
    telling.run_until_idle()
    telling.world.advance(seconds=46)
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True), ("ann@example.com", False)]


def test_who_has_no_email_is_synced_once_there_is_one(telling):
    telling.order("ann", properties={})
    telling.run_until_idle()
    assert telling.synced_values() == []
    assert telling.queue() == {("perkville", KEY, "email"): 1}
    call = {"type": "identify", "userId": "ann", "messageId": "i1", "traits": {"email": "Ann@Example.com"}}
    telling.world.receive([call])
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]


def test_a_new_email_is_reported_and_leaving_is_sent_to_both(telling):
    telling.order("ann")
    telling.run_until_idle()
    telling.world.advance(hours=1)
    call = {"type": "identify", "userId": "ann", "messageId": "i1", "traits": {"email": "new@example.com"}}
    telling.world.receive([call])
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True), ("new@example.com", True)]
    telling.world.advance(days=31)
    telling.run_until_idle()
    assert sorted(telling.synced_values()[2:]) == [("ann@example.com", False), ("new@example.com", False)]


def test_a_person_with_two_emails_enters_once(telling):
    telling.audience(send=("track",))
    telling.order("ann")
    telling.run_until_idle()
    call = {"type": "identify", "userId": "ann", "messageId": "i1", "traits": {"email": "new@example.com"}}
    telling.world.receive([call])
    telling.run_until_idle()
    assert [call["event"] for call in telling.calls()] == ["Audience Entered"]


@pytest.mark.parametrize("chosen", ["keep", "false"])
def test_a_deleted_audience_tells_false_only_if_so_chosen(telling, chosen):
    telling.audience(when_removed=chosen)
    telling.order("ann")
    telling.run_until_idle()
    telling.world.advance(hours=1)
    telling.world.configure()
    telling.run_until_idle()
    assert telling.synced_values()[1:] == ([("ann@example.com", False)] if chosen == "false" else [])


def test_an_audience_that_is_switched_on_again_tells_its_members_again(telling):
    telling.audience(when_removed="false")
    telling.order("ann")
    telling.run_until_idle()
    for enabled in (False, True):
        telling.world.advance(hours=1)
        telling.audience(when_removed="false", enabled=enabled)
        telling.run_until_idle()
    assert [value for _, value in telling.synced_values()] == [True, False, True]


def test_a_destination_that_is_connected_later_gets_everybody(telling):
    telling.audience(destinations=())
    telling.order("ann")
    telling.run_until_idle()
    assert telling.synced_values() == []
    telling.audience()
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]


def test_a_rhythm_waits_for_its_turn(telling):
    telling.audience(sync="every 2 hours")
    telling.run_until_idle()
    telling.world.advance(minutes=30)
    telling.order("ann")
    telling.run_until_idle()
    assert telling.synced_values() == []
    telling.world.advance(minutes=90)
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]


def test_resync_tells_everybody_once_more(telling):
    telling.order("ann")
    telling.run_until_idle()
    with telling.store.unit_of_work() as work:
        at = telling.world.clock.now()
        assert engage_tables.enqueue_everybody(work, destination="perkville", key=KEY, at=at, is_resync=True) == 1
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)] * 2


def test_a_crash_after_deciding_and_one_after_appending_send_nothing_twice(telling):
    telling.order("ann")
    telling.world.run_until_idle()
    dispatcher = telling.dispatcher
    dispatcher._write_keys = telling.world.current().own_write_keys
    from punchcard.engage.sync_dispatch import sync_targets

    dispatcher._plan(sync_targets(telling.world.current())[0], telling.world.current())
    with telling.store.reading() as work:
        waiting = work.execute(select(sync_calls)).all()
    assert len(waiting) == 1
    telling.run_until_idle()  # as after a start: what was decided goes out
    with telling.store.unit_of_work() as work:
        engage_tables.add_calls(work, [dict(row._mapping) for row in waiting])  # as if it had not been forgotten
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]
    with telling.store.reading() as work:
        assert [row.value for row in work.execute(select(synced))] == ["true"]


def test_people_who_are_merged_are_synced_as_one(telling):
    telling.order("ann", properties={"email": "ann@example.com"})
    telling.world.receive(
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
    telling.run_until_idle()
    assert sorted(telling.synced_values()) == [("ann@example.com", True), ("other@example.com", True)]
    telling.world.receive([{"type": "identify", "userId": "ann", "anonymousId": "x", "messageId": "i1", "traits": {}}])
    telling.run_until_idle()
    assert len(telling.synced_values()) == 2
    telling.world.advance(days=31)
    telling.run_until_idle()
    assert sorted(telling.synced_values()[2:]) == [("ann@example.com", False), ("other@example.com", False)]


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
def test_what_the_lake_has_dropped_counts_no_more(telling, loses_facts):
    telling.audience(definition="event('Order Completed').count() >= 2")
    telling.order("ann")
    telling.order("bea")
    telling.world.advance(days=2)
    telling.order("ann")
    telling.order("bea")
    telling.run_until_idle()
    telling.world.advance(days=2)
    telling.order("bea")
    assert telling.world.writer.drop_before(BEGIN.date() + timedelta(days=2)) == 2
    if loses_facts:
        telling.world.crash(loses_facts=True)
    telling.run_until_idle()
    assert telling.synced_values()[2:] == [("ann@example.com", False)]
    telling.world.writer.drop_before(BEGIN.date() + timedelta(days=9))
    telling.run_until_idle()
    assert telling.synced_values()[3:] == [("bea@example.com", False)]
    assert telling.world.engine.check() == 0


def test_what_a_check_finds_wrong_is_put_right_and_needs_a_person(telling):
    telling.order("ann")
    telling.run_until_idle()
    # As a defect would leave it: the facts and the store agree on what is not so.
    telling.world.facts.run("UPDATE traits SET json = 'false', text = 'false' WHERE name = ?", KEY)
    assert telling.world.engine.check() == 1
    state = telling.world.engine.states.current[KEY]
    assert (state.differences, state.size) == (1, 1)
    assert telling.world.values(KEY) == {1: "true"}
    with telling.store.reading() as work:
        alerts = find_alerts(work, telling.world.current(), now=telling.world.clock.now())
    assert [(alert.kind, alert.subject, alert.count) for alert in alerts] == [("computation", KEY, 1)]
    assert telling.world.engine.check() == 0


def test_a_destination_that_is_behind_with_awards_gets_nothing_else(telling):
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
    with telling.store.unit_of_work() as work:
        outbox.add(work, [award], now=BEGIN)
    telling.world.advance(seconds=5)
    telling.order("ann")
    telling.run_until_idle()
    assert telling.synced_values() == []
    with telling.store.unit_of_work() as work:
        work.exec_driver_sql("UPDATE effects SET is_open = false, state = 'delivered'")
    telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]


BROKEN = {
    "does not parse": {"definition": "event('Order Completed').within(30 days"},
    "empty": {"definition": ""},
    "not a rhythm": {"sync": "every 99999999999999999999 days"},
    "references itself": {"definition": f"trait('{KEY}') = true"},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_stored_definition_that_cannot_be_used_keeps_its_members_and_tells_nobody(telling, broken):
    telling.audience(when_removed="false")
    telling.order("ann")
    telling.run_until_idle()
    telling.order("bob")
    telling.world.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]
    telling.audience(when_removed="false", **broken)
    for _ in range(3):
        telling.world.advance(days=20)
        telling.run_until_idle()
    assert telling.synced_values() == [("ann@example.com", True)]
    with telling.store.reading() as work:
        (state,) = engage_tables.states(work)
        alerts = find_alerts(work, telling.world.current(), now=telling.world.clock.now())
    assert state.status == engage_tables.Status.FAILED
    assert [(alert.kind, alert.subject) for alert in alerts] == [("computation", KEY)]
    assert alerts[0].detail
    telling.audience(when_removed="false")
    telling.run_until_idle()
    assert telling.synced_values()[-1] == ("ann@example.com", False)  # the thirty days are over by now
    with telling.store.reading() as work:
        assert find_alerts(work, telling.world.current(), now=telling.world.clock.now()) == []

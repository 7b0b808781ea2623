"""Whatever fails in one computation, one profile or one event, Engage goes on with the others, and says so."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text, update

from punchcard.engage.person_events import UnsyncedCall, read_events
from punchcard.engage.sync_dispatch import requeue_unsent
from punchcard.lake.reader import LakeEvent, LakeResult
from punchcard.operations.alerts import find_alerts
from punchcard.operations.computation_status import list_computation_statuses
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.rules import IdentityRules
from punchcard.store.engage import engage_tables as stored
from punchcard.store.engage.schema import computation_states, synced
from punchcard.store.engine import Store
from punchcard.testing.sync_world import BEGIN, SyncWorld
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.model import Workspace

SPENT = "event('Order Completed').count() >= 1"


@pytest.fixture
def engage(tmp_path, store_url) -> Iterator[SyncWorld]:
    store = Store(store_url)
    made = SyncWorld(tmp_path, store)
    yield made
    made.world.crash()
    made.log.close()
    store.close()


def configure(engage: SyncWorld, *keys: str) -> None:
    world = engage.world
    world.configure(*(world.audience(key, SPENT, destinations=("perkville",)) for key in keys))


def forbid(engage: SyncWorld, table: str, column: str, value: str) -> None:
    """Let the database refuse a row, as a defect of one value would."""
    with engage.store.unit_of_work() as work:
        if work.dialect.name == "sqlite":
            work.execute(
                text(
                    f"CREATE TRIGGER forbid_{table} BEFORE INSERT ON {table} WHEN NEW.{column} = '{value}' "
                    "BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
                )
            )
        else:
            work.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT forbidden CHECK ({column} <> '{value}') NOT VALID"))


def statuses(engage: SyncWorld) -> dict[str, str]:
    with engage.store.reading() as work:
        return {state.key: state.status for state in stored.states(work)}


def alerts(engage: SyncWorld) -> list[tuple[AlertKind, str]]:
    with engage.store.reading() as work:
        result = find_alerts(work, engage.world.current(), now=engage.world.clock.now())
    return [(item.kind, item.subject) for item in result]


@pytest.mark.parametrize("is_live", [False, True], ids=["first values", "kept up to date"])
def test_a_computation_with_unwritable_values_fails_alone(engage, is_live):
    configure(engage, "bad", "good", "last")
    if is_live:
        engage.order("ann")
        engage.run_until_idle()
    forbid(engage, "profile_trait_changes", "name", "bad")
    engage.order("bea")
    engage.run_until_idle()
    assert statuses(engage) == {"bad": "Failed", "good": "Live", "last": "Live"}
    assert (AlertKind.COMPUTATION, "bad") in alerts(engage)
    synced_keys = {
        key for call in engage.calls() for key in call["traits"] if call["traits"]["email"].startswith("bea")
    }
    assert synced_keys == {"email", "good", "last"}
    members = {key: len(engage.world.values(key)) for key in ("bad", "good", "last")}
    assert members == {"bad": 1 if is_live else 0, "good": 2 if is_live else 1, "last": 2 if is_live else 1}
    with engage.store.reading() as work:
        sizes = {state.key: state.size for state in stored.states(work)}
    assert sizes == members  # what was rolled back is not counted


def test_a_computation_with_unreadable_state_is_held_alone(engage):
    configure(engage, "bad", "good")
    engage.run_until_idle()
    engage.world.crash()
    with engage.store.unit_of_work() as work:
        work.execute(update(computation_states).where(computation_states.c.key == "bad").values(last_sync="{"))
    engage.order("ann")
    engage.run_until_idle()
    assert statuses(engage) == {"bad": "Failed", "good": "Live"}
    assert (AlertKind.COMPUTATION, "bad") in alerts(engage)
    assert len(engage.world.values("good")) == 1


def test_an_event_that_cannot_be_written_is_quarantined_and_the_others_count(engage):
    configure(engage, "good")
    forbid(engage, "external_ids", "value", "bad")
    for person in ("ann", "bad", "bea"):
        engage.order(person)
    engage.run_until_idle()
    assert len(engage.world.values("good")) == 2
    assert alerts(engage) == [(AlertKind.QUARANTINED, "internal_error")]
    engage.order("cid")
    engage.run_until_idle()
    assert len(engage.world.values("good")) == 3


def test_a_profile_that_cannot_be_synced_is_held_and_the_others_are_synced(engage):
    engage.trait("good", "event('Order Completed').count()")
    engage.order("ann")
    engage.order("bea")
    engage.run_until_idle()
    with engage.store.unit_of_work() as work:
        work.execute(update(synced).where(synced.c.email == "ann@example.com").values(changes="{"))
    engage.order("ann")
    engage.order("bea")
    engage.run_until_idle()
    assert engage.synced_values("good")[2:] == [("bea@example.com", 2)]
    assert engage.queue() == {("perkville", "good", "failed"): 1}
    workspace = Workspace(computations=tuple(engage.world.computations.values()))
    (computation_statuse,) = list_computation_statuses(engage.store, workspace)
    (warning,) = computation_statuse.pending_syncs[0].warnings
    assert computation_statuse.pending_syncs[0].failed == 1
    assert "1 person could not be synced" in warning
    assert (AlertKind.SYNC, "good") in alerts(engage)
    with engage.store.unit_of_work() as work:
        work.execute(update(synced).values(changes=""))
    engage.restart_sync()
    engage.run_until_idle()
    assert engage.queue() == {}
    assert engage.synced_values("good")[3:] == [("ann@example.com", 2)]


def test_a_call_that_the_mapping_refused_shows_on_its_computation_until_another_value_is_sent(engage):
    engage.trait("good", "event('Order Completed').count()")
    engage.order("ann")
    engage.run_until_idle()
    refused = UnsyncedCall(
        destination="perkville",
        key="good",
        email="ann@example.com",
        sequence=1,
        call="identify",
        waits_for=stored.SYNC_REFUSED,
        detail="traits.good must be text",
    )
    with engage.store.unit_of_work() as work:
        requeue_unsent(work, [refused], engage.world.clock.now())
    workspace = Workspace(computations=tuple(engage.world.computations.values()))
    (computation_statuse,) = list_computation_statuses(engage.store, workspace)
    assert computation_statuse.pending_syncs[0].refused == 1
    assert (
        "1 value was refused by perkville's mapping (traits.good must be text)"
        in computation_statuse.pending_syncs[0].warnings[0]
    )
    assert (AlertKind.SYNC, "good") in alerts(engage)
    engage.order("ann")
    engage.run_until_idle()
    assert engage.queue() == {}
    assert engage.synced_values("good")[-1] == ("ann@example.com", 2)
    assert alerts(engage) == []


def test_a_refused_identify_call_of_ours_is_read_and_a_track_call_is_not():
    def event(call: str) -> LakeEvent:
        return LakeEvent(
            message_id=f"engage-0a-7-{call}",
            type=call,
            event=None,
            user_id="ann",
            anonymous_id=None,
            email=None,
            source="engage-perkville",
            received_at=BEGIN,
            timestamp=BEGIN,
            log_position=1,
            event_index=0,
            payload=b'{"context":{"personas":{"computation_key":"good"}},"traits":{"email":"ann@example.com"}}',
            results=(LakeResult("perkville", "refused", "invalid_trait", "must be text"),),
        )

    (unsynced,) = read_events([event("identify"), event("track")], IdReader(IdentityRules())).unsynced
    assert (unsynced.waits_for, unsynced.detail, unsynced.sequence) == (stored.SYNC_REFUSED, "must be text", 7)

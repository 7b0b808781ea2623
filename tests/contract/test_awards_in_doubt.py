"""The promise: who has looked at the destination ends a doubt, once, and nothing is sent that may still arrive."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from tests.contract.test_app_search import CONFIG

from punchcard.cli.running import run
from punchcard.clock import SystemClock
from punchcard.delivery.doubts import confirm_absent, confirm_performed
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.perkville.definition import PERKVILLE
from punchcard.destinations.port import DeliveryOptions, Performed
from punchcard.errors import ConfigurationError, DeliveryError, OutcomeUnknownError, RetryableError
from punchcard.store.access.schema import audit_events
from punchcard.store.delivery import outbox
from punchcard.store.delivery.doubts import effect_in_doubt, effects_in_doubt
from punchcard.store.delivery.effects import Action, Attempt, EffectState, StoredEffect
from punchcard.store.delivery.schema import effects, result_counts
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, new_effect, stored_effect
from punchcard.testing.operators import add_operators, signed_in
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings
from punchcard.testing.public_api import PublicApiServer

KEY, OTHER = "SEG:perkville:ORDER:o1:order-completed", "SEG:perkville:ORDER:o2:order-completed"
REFUND = "SEG:perkville:REFUND:o1:r1"
AT_ONCE = DeliveryOptions(requests_per_second=0, retry_base_seconds=0, unknown_wait_seconds=0, tries_max=2)
UNCLEAR = RetryableError("Perkville shows none of the keys", code="read_back_unclear")
CLOCK = SystemClock()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def attempts(store: Store, *results: tuple[Attempt, Performed | DeliveryError], **options: Any) -> list[Attempt]:
    """Record results; return the attempts that follow."""
    target = DeliveryTarget(
        slug=DESTINATION,
        partner=ScriptedPartner(clock=CLOCK),
        settings=ScriptedSettings(),
        options=replace(AT_ONCE, **options),
        fingerprint="settings",
    )
    completed = [
        CompletedAttempt(attempt=attempt, result=result, seconds=0.1, fingerprint="settings")
        for attempt, result in results
    ]
    telemetry = DeliveryTelemetry(DESTINATION)
    return list(cycle(store, target, completed, room=9, clock=CLOCK, telemetry=telemetry).attempts)


def add(store: Store, key: str = KEY, **values: Any) -> None:
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect(key, received_at=CLOCK.now(), **values)], now=CLOCK.now())


def park_in_doubt(store: Store, **values: Any) -> StoredEffect:
    """Send an award, lose the response, and read back in vain until it is parked."""
    add(store, **values)
    (sent,) = attempts(store)
    (read_back,) = attempts(store, (sent, OutcomeUnknownError("lost", partner_id="another's")))
    assert attempts(store, (read_back, UNCLEAR)) == []
    parked = effect(store)
    assert (parked.state, parked.reason) == (EffectState.PARKED, "outcome_unknown")
    return parked


def effect(store: Store, key: str = KEY) -> StoredEffect:
    with store.reading() as work:
        return stored_effect(work, key)


def performed(store: Store, effect_id: int, partner_id: str = "7") -> None:
    with store.unit_of_work() as work:
        confirm_performed(work, effect_id, partner_id=partner_id, definition=PERKVILLE, actor="ann", now=CLOCK.now())


def absent(store: Store, effect_id: int) -> None:
    with store.unit_of_work() as work:
        confirm_absent(work, effect_id, actor="ann", now=CLOCK.now())


def test_an_award_in_doubt_holds_up_no_other_once_a_read_back_has_decided_nothing(store: Store) -> None:
    add(store, order_id="o1")
    (sent,) = attempts(store)
    add(store, OTHER, order_id="o2")
    add(store, REFUND, order_id="o1", is_refund=True, quantity="-1")
    (read_back,) = attempts(store, (sent, OutcomeUnknownError("lost")), tries_max=9)
    assert read_back.action is Action.READ_BACK  # which may show at once what has become of it
    (other,) = attempts(store, (read_back, UNCLEAR), tries_max=9, retry_base_seconds=600)
    assert other.effect.effect_key == OTHER
    assert attempts(store, (other, Performed(status=201, partner_id="p2")), tries_max=9) == []
    assert (effect(store).state, effect(store, OTHER).state) == (EffectState.UNKNOWN, EffectState.DELIVERED)
    assert effect(store, REFUND).reason == "waiting_for_order"


def test_a_user_property_in_doubt_is_followed_by_no_newer_one(store: Store) -> None:
    add(store, quantity=None, attributes={"vip": False})
    (sent,) = attempts(store)
    add(store, OTHER, quantity=None, attributes={"vip": True})
    (read_back,) = attempts(store, (sent, OutcomeUnknownError("lost")), tries_max=9)
    assert attempts(store, (read_back, UNCLEAR), tries_max=9, retry_base_seconds=600) == []


def totals(store: Store) -> dict[str, int]:
    """Return how many effects are counted by the state in which they have ended."""
    query = select(result_counts.c.status, func.sum(result_counts.c.count)).group_by(result_counts.c.status)
    with store.reading() as work:
        return {str(state): int(count) for state, count in work.execute(query) if count}


def audited(store: Store) -> list[str]:
    with store.reading() as work:
        return list(work.scalars(select(audit_events.c.changes).where(audit_events.c.kind == "resolve")))


@pytest.mark.parametrize("shown", ["7", " /v2/transactions/7/ "])
def test_an_award_that_is_there_is_delivered_and_wakes_its_refund(store: Store, shown: str) -> None:
    parked = park_in_doubt(store, order_id="o1")
    add(store, REFUND, order_id="o1", quantity="-1", is_refund=True)
    with store.unit_of_work() as work:
        later = CLOCK.now().replace(year=2099)
        waits = {"due_at": later, "state": "retrying", "reason": "waiting_for_order"}
        work.execute(update(effects).where(effects.c.effect_key == REFUND).values(**waits))
    performed(store, parked.id, shown)
    delivered = effect(store)
    assert (delivered.state, delivered.reason, delivered.partner_id) == (EffectState.DELIVERED, None, "7")
    assert "resolved by ann" in (delivered.detail or "")
    assert effect(store, REFUND).due_at <= CLOCK.now()
    assert ['"performed as 7"' in changes for changes in audited(store)] == [True]
    with pytest.raises(ConfigurationError, match="not in doubt"):
        performed(store, parked.id)


def test_an_award_that_is_not_there_is_sent_without_another_read_back(store: Store) -> None:
    parked = park_in_doubt(store)
    absent(store, parked.id)
    (sent,) = attempts(store)
    assert (sent.action, sent.effect.effect_key, sent.effect.partner_id) == (Action.SEND, KEY, None)
    with pytest.raises(ConfigurationError, match="not in doubt"):
        absent(store, parked.id)  # it is in flight
    assert len(audited(store)) == 1


def test_a_lost_request_may_arrive_until_the_first_read_back(store: Store) -> None:
    add(store)
    (sent,) = attempts(store)
    (read_back,) = attempts(store, (sent, OutcomeUnknownError("lost")))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="read back"):
            absent(store, sent.effect.id)
        with store.unit_of_work() as work:  # as if the read-back was not begun yet
            work.execute(update(effects).values(state="unknown", attempts=sent.number))
    with store.unit_of_work() as work:  # and as if it was inconclusive
        work.execute(update(effects).values(state="unknown", attempts=read_back.number))
    absent(store, sent.effect.id)
    assert effect(store).state is EffectState.PENDING


def test_an_id_of_another_award_is_refused(store: Store) -> None:
    add(store, OTHER)
    (other,) = attempts(store)
    attempts(store, (other, Performed(status=201, partner_id="7")))
    parked = park_in_doubt(store)
    with pytest.raises(ConfigurationError, match=f"7 is the award of event message of {OTHER}"):
        performed(store, parked.id)
    performed(store, parked.id, "8")


@pytest.mark.parametrize(
    "columns",
    [{"customer": "deleted:x"}, {"reason": "subject_deleted"}, {"state": "delivered"}, {"reason": "dismissed"}],
    ids=str,
)
def test_what_must_not_be_sent_is_not(store: Store, columns: dict[str, str]) -> None:
    parked = park_in_doubt(store)
    with store.unit_of_work() as work:
        work.execute(update(effects).values(**columns))
    with pytest.raises(ConfigurationError):
        absent(store, parked.id)
    assert attempts(store) == []


def test_who_looks_at_an_award_waits_for_nobody(store: Store) -> None:
    parked = park_in_doubt(store)
    with store.unit_of_work() as work:
        confirm_absent(work, parked.id, actor="ann", now=CLOCK.now())
        with store.reading() as reading:
            assert [other.id for other in effects_in_doubt(reading, parked.message_id)] == [parked.id]
            assert effect_in_doubt(reading, parked.id) is not None


def test_the_numbers_follow_each_decision(store: Store) -> None:
    parked = park_in_doubt(store)
    assert totals(store) == {"parked": 1}
    absent(store, parked.id)
    assert totals(store) == {}
    (sent,) = attempts(store)
    (read_back,) = attempts(store, (sent, OutcomeUnknownError("lost")))
    attempts(store, (read_back, UNCLEAR))
    performed(store, parked.id)
    assert totals(store) == {"delivered": 1}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def store_in_doubt(world: PublicApiServer) -> int:
    """Store a parked award that was perhaps performed; return its id."""
    add(world.store, message_id="m-1")
    with world.store.unit_of_work() as work:
        work.execute(update(effects).values(state="parked", is_open=False, reason="outcome_unknown", detail="Look."))
    return effect(world.store).id


def test_the_page_of_an_award_records_what_was_seen(world: PublicApiServer) -> None:
    number, editor, viewer = store_in_doubt(world), signed_in(world, "editor"), signed_in(world, "read_only")
    path = f"/destinations/perkville/transactions/{number}/resolve"
    assert f'href="{path}"' in editor.get("/destinations/perkville/transactions").text
    assert "Record as delivered" in editor.get(path).text
    assert "Record as delivered" not in viewer.get(path).text
    assert viewer.post(path, decision="absent").status == 403
    assert editor.post(path, decision="performed", partner_id="7").status == 303
    assert effect(world.store).partner_id == "7"
    assert "is not in doubt" in editor.get(path).text
    assert editor.get("/destinations/perkville/transactions/999/resolve").status == 404


def test_the_command_shows_the_award_and_records_what_was_seen(
    world: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_in_doubt(world)
    data = ["--data", str(tmp_path)]
    assert run(["resolve", "m-1", *data]) == 0
    shown = capsys.readouterr().out
    assert f"Key {KEY}\nLook.\n" in shown
    assert re.search(r"perkville: Order Completed of ann@example.com, 1 of \d+", shown)
    assert run(["resolve", "m-1", "--not-performed", *data]) == 2
    assert "Add --yes" in capsys.readouterr().err
    assert run(["resolve", "m-1", "--performed", "--partner-id", "7", "--yes", *data]) == 0
    assert effect(world.store).partner_id == "7"
    assert run(["resolve", "m-1", *data]) == 2
    assert "no award in doubt" in capsys.readouterr().err


def test_the_call_of_the_api_records_what_was_seen(world: PublicApiServer) -> None:
    path = f"/api/destinations/perkville/transactions/{store_in_doubt(world)}/resolve"

    def call(body: bytes, path: str = path) -> Any:
        response = world.request("POST", path, body)
        return response.status, response.json()

    assert call(b"{}")[0] == 400
    assert call(b'{"performed": true, "partnerId": "\\n7"}')[0] == 200
    assert (effect(world.store).state, effect(world.store).partner_id) == (EffectState.DELIVERED, "7")
    status, body = call(b'{"performed": false}')
    assert (status, body["errors"][0]["type"]) == (409, "already_resolved")
    with world.store.unit_of_work() as work:
        work.execute(update(effects).values(state="parked", is_open=False, reason="outcome_unknown"))
    status, body = call(b'{"performed": false}')
    assert (status, body["data"]["transaction"]["status"]) == (200, "pending")
    assert "token test" in str(effect(world.store).detail)
    assert call(b'{"performed": false}', "/api/destinations/other/transactions/1/resolve")[0] == 404
    assert len(audited(world.store)) == 2

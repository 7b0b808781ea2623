"""The promise: what was perhaps performed in one account of a partner is never performed in another one by itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from punchcard.clock import SystemClock
from punchcard.delivery.attempts import effect_to_perform
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.perkville.partner import PARTNER as PERKVILLE
from punchcard.destinations.perkville.settings import read_settings
from punchcard.destinations.port import DeliveredEffect, DeliveryOptions, Performed
from punchcard.errors import DeliveryError, OutcomeUnknownError, RetryableError
from punchcard.store.delivery import outbox
from punchcard.store.delivery.doubts import record_absent
from punchcard.store.delivery.effects import (
    OTHER_ACCOUNT,
    OTHER_ACCOUNT_IN_DOUBT,
    SYNCED_AGAIN,
    Action,
    Attempt,
    EffectState,
    StoredEffect,
)
from punchcard.store.delivery.ledger import needing_a_person
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.delivery.queue import customers_of_open_calls
from punchcard.store.delivery.schema import effects
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, new_effect, stored_effect
from punchcard.testing.partner.configuration import SETTINGS
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings

_KEY = "SEG:perkville:ORDER:o1:order-completed"
_REFUND = "SEG:perkville:REFUND:o1:r1"
_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
_AT_ONCE = DeliveryOptions(requests_per_second=0, retry_base_seconds=0, unknown_wait_seconds=0)


@dataclass(frozen=True, kw_only=True)
class _Settings(ScriptedSettings):
    account: str


class _Partner(ScriptedPartner):
    def account(self, settings: object, event_settings: Mapping[str, object] | None) -> str:
        assert isinstance(settings, _Settings)
        return settings.account


@dataclass
class _World:
    store: Store
    settings: _Settings

    def attempts(self, *completed: CompletedAttempt, room: int = 1) -> list[Attempt]:
        """Run a cycle; return the attempts that it starts."""
        target = DeliveryTarget(
            slug=DESTINATION,
            partner=_Partner(clock=SystemClock()),
            settings=self.settings,
            options=_AT_ONCE,
            fingerprint=self.settings.account,
        )
        done = cycle(
            self.store, target, completed, room=room, clock=SystemClock(), telemetry=DeliveryTelemetry(DESTINATION)
        )
        return list(done.attempts)

    def end(self, attempt: Attempt, result: Performed | DeliveryError | None, *, room: int = 1) -> list[Attempt]:
        """Record the result of an attempt; return the attempts that follow."""
        return self.attempts(
            CompletedAttempt(attempt=attempt, result=result, seconds=0.1, fingerprint=self.settings.account), room=room
        )

    def move_to(self, account: str) -> None:
        self.settings = replace(self.settings, account=account)

    def effect(self, key: str = _KEY) -> StoredEffect:
        with self.store.reading() as work:
            return stored_effect(work, key)


@pytest.fixture
def world(store_url: str) -> Iterator[_World]:
    store = Store(store_url)
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect(_KEY)], now=_BEFORE)
    yield _World(store, _Settings(account="business 41"))
    store.close()


def _plan_for(world: _World, account: str) -> None:
    """Let the award be planned for an account: those of `new_effect` are from before accounts were stored."""
    with world.store.unit_of_work() as work:
        work.execute(update(effects).where(effects.c.effect_key == _KEY).values(account=account))


def _park(world: _World, reason: str) -> None:
    with world.store.unit_of_work() as work:
        effect_id = world.effect().id
        parked = EffectState.PARKED
        outbox.put(work, effect_id, state=parked, reason=reason, detail=None, due_at=_BEFORE, now=_BEFORE)


def _make_due(world: _World) -> None:
    """Let the time of the award's next look come."""
    with world.store.unit_of_work() as work:
        work.execute(update(effects).where(effects.c.effect_key == _KEY).values(due_at=_BEFORE))


def _lose_response_and_change_account(world: _World) -> list[Attempt]:
    """Send the award in the first account and lose the response; return the attempts that follow in the second one."""
    (sent,) = world.attempts()
    world.move_to("business 42")
    return world.end(sent, OutcomeUnknownError("lost"))


def test_an_award_in_doubt_is_parked_if_the_account_has_changed(world: _World) -> None:
    assert _lose_response_and_change_account(world) == []
    effect = world.effect()
    assert (effect.state, effect.reason) == (EffectState.PARKED, OTHER_ACCOUNT_IN_DOUBT)
    assert effect.detail is not None
    assert "business 41" in effect.detail
    assert "business 42" in effect.detail


def _retry(world: _World, key: str = _KEY, *, for_present_account: bool = True) -> None:
    with world.store.unit_of_work() as work:
        ids = [world.effect(key).id]
        assert reopen(work, ids, now=SystemClock().now(), for_present_account=for_present_account) == 1


def test_a_parked_award_is_read_back_where_it_was_sent_if_the_account_is_corrected(world: _World) -> None:
    _lose_response_and_change_account(world)
    world.move_to("business 41")
    _retry(world)
    (attempt,) = world.attempts()
    assert attempt.action is Action.READ_BACK
    world.end(attempt, Performed(status=None, partner_id="p1"))
    assert (world.effect().state, world.effect().account) == (EffectState.DELIVERED, "business 41")


def test_an_operator_who_retries_it_has_it_performed_in_the_new_account(world: _World) -> None:
    _lose_response_and_change_account(world)
    _retry(world)
    (attempt,) = world.attempts()
    assert attempt.action is Action.READ_BACK
    (again,) = world.end(attempt, RetryableError("busy", code="partner_unavailable"))
    assert again.action is Action.READ_BACK  # the operator's decision outlasts a failed request
    (sent,) = world.end(again, None)
    assert sent.action is Action.SEND
    world.end(sent, Performed(status=201, partner_id="p1"))
    assert (world.effect().state, world.effect().account) == (EffectState.DELIVERED, "business 42")


def _deliver_one(world: _World) -> None:
    """Deliver an award of another customer in the present account."""
    delivered = replace(new_effect("SEG:perkville:ORDER:o9:order-completed", customer="eve@example.com"))
    with world.store.unit_of_work() as work:
        outbox.add(work, [delivered], now=_BEFORE - timedelta(days=1))  # so that it is due first
    (sent,) = world.attempts()
    assert sent.effect.effect_key == delivered.effect_key
    world.end(sent, Performed(status=201, partner_id="p9"), room=0)


@pytest.mark.parametrize("is_attempted", [False, True])
def test_a_queued_award_is_sent_to_no_other_account_before_an_operator_retries_it(
    world: _World, *, is_attempted: bool
) -> None:
    _deliver_one(world)
    _plan_for(world, "business 41")
    if is_attempted:
        (sent,) = world.attempts()
        world.end(sent, RetryableError("busy", code="partner_unavailable"), room=0)
    world.move_to("business 42")
    assert world.attempts() == []
    parked = world.effect()
    assert (parked.state, parked.reason) == (EffectState.PARKED, OTHER_ACCOUNT)
    assert "business 41" in str(parked.detail)
    assert "business 42" in str(parked.detail)
    _retry(world)
    (sent,) = world.attempts()
    (again,) = world.end(sent, RetryableError("busy", code="partner_unavailable"))
    assert (again.action, again.account) == (Action.SEND, "business 42")


@pytest.mark.parametrize("is_in_doubt", [False, True])
def test_a_value_that_engage_syncs_to_the_new_account_by_itself_needs_nobody(
    world: _World, *, is_in_doubt: bool
) -> None:
    key = "SEG:perkville:EVENT:engage-1"
    _deliver_one(world)
    value = new_effect(key, source="engage-perkville", attributes={"vip": True}, quantity=None)
    with world.store.unit_of_work() as work:
        work.execute(update(effects).values(state="delivered", is_open=False))
        outbox.add(work, [replace(value, account="business 41")], now=_BEFORE)
    if is_in_doubt:
        (sent,) = world.attempts()
        world.end(sent, OutcomeUnknownError("lost"), room=0)
        with world.store.unit_of_work() as work:
            work.execute(update(effects).where(effects.c.effect_key == key).values(due_at=_BEFORE))
    world.move_to("business 42")
    assert world.attempts() == []
    ended = world.effect(key)
    assert (ended.state, ended.reason) == (EffectState.REJECTED, SYNCED_AGAIN)
    assert "business 41" in str(ended.detail)
    with world.store.reading() as work:
        assert needing_a_person(work) == []
        waiting = customers_of_open_calls(DESTINATION, source="engage-perkville")
        assert [row.customer for row in work.execute(waiting)] == ["ann@example.com"]


def test_an_award_that_was_planned_just_now_waits_for_delivery_to_see_the_settings(world: _World) -> None:
    _deliver_one(world)
    _plan_for(world, "business 42")
    with world.store.unit_of_work() as work:
        work.execute(update(effects).where(effects.c.effect_key == _KEY).values(created_at=SystemClock().now()))
    assert world.attempts() == []
    assert (world.effect().state, world.effect().reason) == (EffectState.PENDING, OTHER_ACCOUNT)
    assert world.effect().due_at > SystemClock().now()
    _make_due(world)
    world.move_to("business 42")
    (sent,) = world.attempts()
    assert sent.account == "business 42"


def test_a_retry_of_all_sends_an_award_to_its_own_account_only(world: _World) -> None:
    _deliver_one(world)
    _plan_for(world, "business 41")
    world.move_to("business 42")
    world.attempts()
    _retry(world, for_present_account=False)
    assert world.attempts() == []
    assert (world.effect().state, world.effect().reason) == (EffectState.PENDING, OTHER_ACCOUNT)  # for ten seconds
    _make_due(world)
    assert world.attempts() == []
    assert (world.effect().state, world.effect().reason) == (EffectState.PARKED, OTHER_ACCOUNT)
    world.move_to("business 41")
    _retry(world, for_present_account=False)
    (sent,) = world.attempts()
    assert sent.account == "business 41"


def test_an_award_that_was_parked_for_another_reason_is_not_sent_elsewhere_by_a_retry(world: _World) -> None:
    _deliver_one(world)
    _plan_for(world, "business 41")
    _park(world, "partner_unavailable")
    world.move_to("business 42")
    _retry(world)
    assert world.attempts() == []
    assert world.effect().reason == OTHER_ACCOUNT


def test_an_award_parked_in_doubt_is_not_read_back_elsewhere_by_a_retry(world: _World) -> None:
    (sent,) = world.attempts()
    world.end(sent, OutcomeUnknownError("lost"), room=0)
    _park(world, "outcome_unknown")
    world.move_to("business 42")
    _retry(world)
    assert world.attempts() == []
    assert (world.effect().state, world.effect().reason) == (EffectState.UNKNOWN, OTHER_ACCOUNT_IN_DOUBT)
    _make_due(world)
    assert world.attempts() == []
    assert (world.effect().state, world.effect().reason) == (EffectState.PARKED, OTHER_ACCOUNT_IN_DOUBT)


def test_an_operator_who_saw_that_it_was_not_performed_has_it_sent_to_the_new_account(world: _World) -> None:
    _lose_response_and_change_account(world)
    with world.store.unit_of_work() as work:
        record_absent(work, world.effect(), detail="looked", now=SystemClock().now())
    (sent,) = world.attempts()
    assert (sent.action, sent.account) == (Action.SEND, "business 42")


@pytest.mark.parametrize("has_awards", [False, True])
def test_a_typing_error_in_the_settings_needs_no_retry(world: _World, *, has_awards: bool) -> None:
    if has_awards:
        _deliver_one(world)
    _plan_for(world, "business 14")
    (sent,) = world.attempts()  # of 41, which is right
    assert sent.account == "business 41"
    world.end(sent, Performed(status=201, partner_id="p1"))


def test_nothing_follows_corrected_settings_if_another_destination_has_awards(world: _World) -> None:
    _plan_for(world, "business 14")
    other = new_effect("SEG:other:ORDER:o1:order-completed", destination="other")
    with world.store.unit_of_work() as work:
        outbox.add(work, [replace(other, account="business 41")], now=SystemClock().now())
    assert world.attempts() == []
    assert world.effect().reason == OTHER_ACCOUNT


def test_an_award_of_before_accounts_were_stored_goes_where_the_settings_lead(world: _World) -> None:
    _deliver_one(world)
    world.move_to("business 42")
    (sent,) = world.attempts()
    assert (sent.action, sent.account) == (Action.SEND, "business 42")


def test_an_award_in_doubt_is_read_back_in_the_same_account(world: _World) -> None:
    (sent,) = world.attempts()
    (attempt,) = world.end(sent, OutcomeUnknownError("lost"))
    assert attempt.action is Action.READ_BACK


def test_an_award_of_before_accounts_were_stored_is_read_back(world: _World) -> None:
    (sent,) = world.attempts()
    with world.store.unit_of_work() as work:
        work.exec_driver_sql("UPDATE effects SET account = NULL")
    world.move_to("business 42")
    (attempt,) = world.end(sent, OutcomeUnknownError("lost"))
    assert attempt.action is Action.READ_BACK


def test_reading_back_knows_what_the_customer_was_given_for_other_events(world: _World) -> None:
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect("SEG:perkville:ORDER:o2:order-completed")], now=SystemClock().now())
    (first,) = world.attempts()
    (second,) = world.end(first, Performed(status=201, partner_id="p1"))
    (read_back,) = world.end(second, OutcomeUnknownError("another key", partner_id="p2"))
    assert (read_back.action, read_back.other_ids) == (Action.READ_BACK, {"p1": first.effect.effect_key})
    assert read_back.expected_ids == {"p1"}
    effect = effect_to_perform(read_back.effect, item="1", quantity=None, other_ids=read_back.other_ids)
    assert (effect.named_id, effect.other_ids, effect.elsewhere) == ("p2", read_back.other_ids, None)


def test_reading_back_knows_the_newest_award_of_another_customer_in_the_account(world: _World) -> None:
    key = "SEG:perkville:ORDER:o2:order-completed"
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect(key, customer="bob@example.com")], now=SystemClock().now())
    (ann,) = world.attempts()
    (bob,) = world.end(ann, OutcomeUnknownError("lost"))
    (in_doubt,) = world.end(bob, Performed(status=201, partner_id="b1"))
    assert in_doubt.elsewhere is not None
    assert in_doubt.effect.id == ann.effect.id
    effect = effect_to_perform(in_doubt.effect, item="1", quantity=None, elsewhere=in_doubt.elsewhere)
    assert effect.elsewhere == DeliveredEffect(email="bob@example.com", effect_key=key, partner_id="b1")


def test_no_id_of_another_account_is_known_in_this_one(world: _World) -> None:
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect("SEG:perkville:ORDER:o2:order-completed")], now=SystemClock().now())
    (first,) = world.attempts()
    world.end(first, Performed(status=201, partner_id="p1"))
    with world.store.unit_of_work() as work:
        work.exec_driver_sql("UPDATE effects SET account = 'business 40' WHERE partner_id = 'p1'")
        work.exec_driver_sql("UPDATE effects SET state = 'unknown', lease_until = NULL WHERE state = 'sending'")
    (read_back,) = world.attempts()
    assert (set(read_back.other_ids), set(read_back.expected_ids)) == (set(), set())


def test_an_id_that_only_an_inconclusive_response_named_may_be_of_another_effect(world: _World) -> None:
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect("SEG:perkville:ORDER:o2:order-completed")], now=SystemClock().now())
    (first,) = world.attempts()
    world.end(first, OutcomeUnknownError("another key", partner_id="p1"))
    with world.store.unit_of_work() as work:
        work.exec_driver_sql(f"UPDATE effects SET state = 'parked', is_open = false WHERE id = {first.effect.id}")
    (second,) = world.attempts()
    assert second.effect.id != first.effect.id
    (read_back,) = world.end(second, OutcomeUnknownError("lost"))
    assert (read_back.action, read_back.other_ids) == (Action.READ_BACK, {})


def _refund_after_account_changed(world: _World) -> list[Attempt]:
    """Award an order in the first account, change the account, and plan a refund; return the attempts that follow."""
    with world.store.unit_of_work() as work:
        work.exec_driver_sql("UPDATE effects SET order_id = 'o1'")
    (sent,) = world.attempts()
    world.end(sent, Performed(status=201, partner_id="p1"))
    world.move_to("business 42")
    refund = new_effect(_REFUND, order_id="o1", quantity="-1", is_refund=True)
    with world.store.unit_of_work() as work:
        outbox.add(work, [refund], now=SystemClock().now())
    return world.attempts()


def test_a_refund_takes_nothing_in_another_account_than_its_order(world: _World) -> None:
    assert _refund_after_account_changed(world) == []
    refund = world.effect(_REFUND)
    assert (refund.state, refund.reason) == (EffectState.PARKED, "other_account")
    assert refund.detail is not None
    assert "business 41" in refund.detail
    assert "business 42" in refund.detail


def test_a_correction_books_nothing_in_another_account_than_its_order(world: _World) -> None:
    _refund_after_account_changed(world)
    correction = replace(new_effect("SEG:perkville:ORDER:o1:correction", order_id="o1"), corrects=world.effect().id)
    with world.store.unit_of_work() as work:
        outbox.add(work, [correction], now=SystemClock().now())
    assert world.attempts() == []
    parked = world.effect(correction.effect_key)
    assert (parked.state, parked.reason) == (EffectState.PARKED, "other_account")


def test_an_operator_who_retries_such_a_refund_has_it_taken_in_the_new_account(world: _World) -> None:
    _refund_after_account_changed(world)
    _retry(world, _REFUND)
    (sent,) = world.attempts()
    (again,) = world.end(sent, RetryableError("busy", code="partner_unavailable"))
    world.end(again, Performed(status=201, partner_id="p2"))
    refund = world.effect(_REFUND)
    assert (refund.state, refund.account) == (EffectState.DELIVERED, "business 42")


@pytest.mark.parametrize(
    ("settings", "options", "is_same"),
    [
        pytest.param({}, {}, True, id="nothing"),
        pytest.param({"locationId": "8"}, {}, True, id="location"),
        pytest.param({"apiKey": "other"}, {}, True, id="token"),
        pytest.param({"businessId": "42"}, {}, False, id="business"),
        pytest.param({}, {"apiBaseUrl": "http://127.0.0.1:9100"}, False, id="address"),
    ],
)
def test_business_and_address_make_the_account_at_perkville(
    settings: Mapping[str, object], options: Mapping[str, object], *, is_same: bool
) -> None:
    first = PERKVILLE.account(read_settings(SETTINGS, {}), None)
    changed = read_settings({**SETTINGS, **settings}, options)
    assert (PERKVILLE.account(changed, None) == first) is is_same


def test_the_account_of_an_event_with_settings_is_theirs() -> None:
    account = PERKVILLE.account(read_settings(SETTINGS, {}), {"businessId": "77"})
    assert account == "business 77 at https://api.perkville.com"

"""The effects of one order for tests of refunds, in any state, in a real store."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from punchcard.delivery.preparation import NotReady, Ready, prepare
from punchcard.destinations.perkville.definition import PERKVILLE
from punchcard.destinations.perkville.partner import PerkvillePartner
from punchcard.destinations.perkville.refunds import RefundRules
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.port import DeliveryOptions
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import AttemptOutcome, EffectState
from punchcard.store.delivery.orders import RefusedOrder, record_refused_orders, wake_dependents
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import attempt_result, new_effect, started, stored_effect
from punchcard.testing.partner.configuration import SLUG

AWARD, REFUND, OTHER_REFUND = "award", "refund", "other refund"
ANN, BOB = "ann@example.com", "bob@example.com"


class OrderLedger:
    """The effects of one order, in any state."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.refunds = RefundRules()
        self.options = DeliveryOptions()

    def add(
        self,
        key: str,
        quantity: str | None,
        *,
        source_order: str = "o-1",
        customer: str = ANN,
        source: str = "website",
        refund_id: str | None = None,
    ) -> None:
        """Add an award (`AWARD`, "second award") or, under any other key, a refund."""
        effect = new_effect(
            key,
            quantity=quantity,
            order_id=source_order,
            is_refund=key not in (AWARD, "second award"),
            customer=customer,
            source=source,
            refund_id=refund_id,
            received_at=self.clock.now(),
        )
        with self.store.unit_of_work() as work:
            outbox.add(work, [effect], now=self.clock.now())

    def start(self, key: str, quantity: str | None = None) -> None:
        """Start an attempt."""
        with self.store.unit_of_work() as work:
            effect = stored_effect(work, key)
            attempt = started(effect, quantity=None if quantity is None else Decimal(quantity))
            outbox.start(work, [attempt], now=self.clock.now(), lease_until=self.clock.now() + timedelta(seconds=25))

    def record_results(self, key: str, state: EffectState, *, reason: str | None = None) -> None:
        """End the attempt so that the effect has this state."""
        with self.store.unit_of_work() as work:
            effect = stored_effect(work, key)
            end = attempt_result(
                effect,
                clock=self.clock,
                state=state,
                outcome=AttemptOutcome.DELIVERED if state is EffectState.DELIVERED else AttemptOutcome.UNKNOWN,
                reason=reason,
                number=effect.attempts,
            )
            if outbox.record_results(work, [end]) != 1:
                raise LookupError(f"{key} has no attempt without a result.")

    def deliver(self, key: str, quantity: str | None = None) -> None:
        """Start an attempt and end it as delivered."""
        self.start(key, quantity)
        self.record_results(key, EffectState.DELIVERED)

    def prepare(self, key: str = REFUND) -> Ready | NotReady:
        """Return the preparation of an effect now."""
        settings = PerkvilleSettings(api_key="k", business_id="41", location_id="7", refunds=self.refunds)
        with self.store.unit_of_work() as work:
            effect = stored_effect(work, key)
            return prepare(
                work,
                effect,
                partner=PerkvillePartner(),
                settings=settings,
                options=self.options,
                now=self.clock.now(),
            )

    def wake(self, *, delivered: Collection[str] = (), ended: Collection[str] = ()) -> int:
        """Let refunds of these orders be prepared again; returns how many."""
        with self.store.unit_of_work() as work:
            return wake_dependents(
                work,
                SLUG,
                delivered=delivered,
                ended=ended,
                reopened=PERKVILLE.reopened.on_any_end,
                reopened_on_delivery=PERKVILLE.reopened.on_delivery,
                now=self.clock.now(),
            )

    def refuse(self, reason: str, *, source: str = "website") -> None:
        """Record that the order was refused."""
        refused = RefusedOrder(
            destination=SLUG,
            order_id="o-1",
            source=source,
            reason=reason,
            message_id="m",
            received_at=self.clock.now(),
        )
        with self.store.unit_of_work() as work:
            record_refused_orders(work, [refused])

    def set_refunds(self, **rules: Any) -> None:
        """Change what refunds wait for and go by."""
        self.refunds = replace(self.refunds, **rules)

    def set_delivery(self, **options: Any) -> None:
        """Change how effects are delivered."""
        self.options = replace(self.options, **options)

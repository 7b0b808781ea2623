"""Begins the effects that were claimed together: each prepared against the ledger, all written by a few statements."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.delivery.outcomes import CANNOT_READ_BACK
from punchcard.delivery.preparation import ClaimedOrders, NotReady, Ready, prepare
from punchcard.delivery.target import DeliveryTarget
from punchcard.destinations.port import OnUnknown, RemapsItems, account_of
from punchcard.errors import InvariantError
from punchcard.store.delivery import outbox
from punchcard.store.delivery.accounts import is_first_account
from punchcard.store.delivery.claiming import newest_delivered_elsewhere, others_of_customer
from punchcard.store.delivery.effects import (
    OTHER_ACCOUNT,
    OTHER_ACCOUNT_IN_DOUBT,
    RETRIED,
    SYNCED_AGAIN,
    Action,
    Attempt,
    EffectState,
    Move,
    StoredEffect,
)
from punchcard.workspace.computations import OWN_SOURCES

# Routing, or an operator who retries, may see changed settings before delivery does in another process.
_SETTINGS_SPREAD: Final = timedelta(seconds=10)
_SENT_NOWHERE: Final = (
    "It is for {planned}, and the settings name {current} now: it was performed in neither. Retry it to send it to "
    "{current}. To send it to {planned}, restore those settings, then run `punchcard retry`. Else dismiss it."
)
_SYNCED_AGAIN: Final = (
    "It is for {planned}, and the settings name {current} now. Engage syncs {current}, and {planned} once that is back."
)
_IN_DOUBT_THERE: Final = (
    "It may have been performed for {planned}, which cannot be seen from {current}, as the settings have it now. "
    "Look there: dismiss it if it was performed, else retry it to send it to {current}."
)


class Beginning:
    """The preparation of the effects of one claim, within one unit of work.

    Args:
        claimed: The effects that will be passed to `begin`, so that their orders are read at once.
    """

    def __init__(
        self, work: Connection, target: DeliveryTarget, claimed: Sequence[StoredEffect], *, clock: Clock
    ) -> None:
        self._work = work
        self._target = target
        self._clock = clock
        self._orders = ClaimedOrders(work, claimed)
        self._kinds = frozenset(kind.name for kind in target.partner.definition.kinds)
        self._remapper = target.partner if isinstance(target.partner, RemapsItems) else None
        self._moves: list[Move] = []
        self._abandoned: list[StoredEffect] = []
        self._are_first: dict[str, bool] = {}

    def begin(self, effect: StoredEffect) -> Attempt | None:
        """Prepare one effect; None if it is put elsewhere instead of being sent. Nothing is written before `write`.

        Raises:
            InvariantError: its row is damaged, or it would be sent without an amount.
        """
        if effect.unreadable is not None or effect.kind not in self._kinds:
            fault = effect.unreadable or f"kind is {effect.kind!r}"
            raise InvariantError(f"the row of effect {effect.effect_key} cannot be read: {fault}")
        account = account_of(self._target.partner, self._target.settings, effect.event_settings)
        is_elsewhere = account is not None and effect.account not in (None, account)
        if effect.state in (EffectState.UNKNOWN, EffectState.SENDING):
            attempt = self._begin_in_doubt(effect, account, is_elsewhere=is_elsewhere)
        elif is_elsewhere and self._keep_from(account, effect):
            attempt = None
        else:
            attempt = self._begin_send(effect, account)
        if attempt is not None and self._orders.are_needed:
            self._orders.note_attempt(attempt)
        return attempt

    def write(self) -> None:
        """Write what `begin` has decided, but for the attempts themselves."""
        now = self._clock.now()
        outbox.abandon(self._work, *self._abandoned, now=now)
        outbox.move_effects(self._work, self._moves, now=now)
        self._abandoned, self._moves = [], []

    def _may_follow_settings(self, account: str) -> bool:
        """Return whether what is queued for an account may be sent to the one that the settings name now."""
        if account not in self._are_first:
            self._are_first[account] = is_first_account(self._work, self._target.slug, account)
        return self._are_first[account]

    def _begin_send(self, effect: StoredEffect, account: str | None) -> Attempt | None:
        """Begin an effect that was surely not performed yet."""
        now = self._clock.now()
        ready = self._prepare(effect, now=now)
        if isinstance(ready, NotReady):
            self._move(
                effect,
                state=EffectState(ready.state),
                reason=ready.reason,
                detail=ready.detail,
                due_at=now + timedelta(seconds=ready.wait_seconds),
            )
            return None
        item = ready.item or effect.item
        is_remapped = effect.event_settings is None and effect.corrects is None
        if item is not None and is_remapped and self._remapper is not None:
            # The map may have been corrected since the event was planned; the newest one decides. An event that
            # brought a map of its own was planned by that. What a correction takes back is what was given.
            item = self._remapper.remap(effect.event_name, self._target.settings) or effect.item
        if item is not None and not ready.quantity:
            raise InvariantError(f"effect {effect.effect_key} would be sent without an amount")
        return Attempt(
            effect=effect,
            number=effect.attempts + 1,
            action=Action.SEND,
            item=item,
            quantity=ready.quantity,
            detail=ready.detail,
            account=account,
        )

    def _begin_in_doubt(self, effect: StoredEffect, account: str | None, *, is_elsewhere: bool) -> Attempt | None:
        """Begin an effect that was perhaps performed: read it back, or if that is not possible, resend or park it."""
        if effect.state is EffectState.SENDING:
            self._abandoned.append(effect)
        on_unknown = self._target.options.on_unknown
        if on_unknown is OnUnknown.PARK:
            self._park(effect, reason="outcome_unknown", detail=CANNOT_READ_BACK)
            return None
        if is_elsewhere and _is_synced_again(effect):
            self._leave_to_engage(effect, account)
            return None
        if is_elsewhere:
            detail = _IN_DOUBT_THERE.format(planned=effect.account, current=account)
            self._park_later(effect, until=self._ahead_until(effect), reason=OTHER_ACCOUNT_IN_DOUBT, detail=detail)
            return None
        is_read_back = on_unknown is OnUnknown.READ_BACK
        quantity = effect.requested_quantity
        if is_read_back:
            quantity = self._estimate(effect) if effect.quantity is None else effect.quantity
        others = others_of_customer(self._work, effect, account=account) if is_read_back else ()
        return Attempt(
            effect=effect,
            number=effect.attempts + 1,
            action=Action.READ_BACK if is_read_back else Action.SEND,
            item=effect.item,
            quantity=quantity,
            detail=effect.detail,
            account=account,
            other_ids={row.partner_id: row.effect_key for row in others},
            expected_ids=frozenset(row.partner_id for row in others if row.account == account),
            elsewhere=newest_delivered_elsewhere(self._work, effect, account=account) if is_read_back else None,
        )

    def _estimate(self, effect: StoredEffect) -> Decimal | None:
        """Return the amount of an effect that was perhaps performed by a run that the ledger knows nothing of."""
        ready = self._prepare(effect, now=self._clock.now())
        return ready.quantity if isinstance(ready, Ready) else None

    def _prepare(self, effect: StoredEffect, *, now: datetime) -> Ready | NotReady:
        target = self._target
        return prepare(
            self._work,
            effect,
            partner=target.partner,
            settings=target.settings,
            options=target.options,
            now=now,
            orders=self._orders,
        )

    def _keep_from(self, account: str | None, effect: StoredEffect) -> bool:
        """Park an effect that is for another account, after a moment; False if it may be sent to this one instead."""
        until = self._ahead_until(effect)
        if until is None and self._may_follow_settings(effect.account or ""):
            return False
        if _is_synced_again(effect) and until is None:
            self._leave_to_engage(effect, account)
            return True
        detail = _SENT_NOWHERE.format(planned=effect.account, current=account)
        self._park_later(effect, until=until, reason=OTHER_ACCOUNT, detail=detail)
        return True

    def _leave_to_engage(self, effect: StoredEffect, account: str | None) -> None:
        """End a call of Engage that is for another account: the present one is synced by calls of its own."""
        detail = _SYNCED_AGAIN.format(planned=effect.account, current=account)
        self._move(effect, state=EffectState.REJECTED, reason=SYNCED_AGAIN, detail=detail, due_at=self._clock.now())

    def _ahead_until(self, effect: StoredEffect) -> datetime | None:
        """Return until when the effect may be for newer settings than delivery has; None for not any more."""
        now = self._clock.now()
        since = effect.due_at if effect.reason == RETRIED else effect.created_at  # a retry is due at once
        until = since + _SETTINGS_SPREAD
        return until if now < until <= now + _SETTINGS_SPREAD else None

    def _park_later(self, effect: StoredEffect, *, until: datetime | None, reason: str, detail: str) -> None:
        if until is None:
            self._park(effect, reason=reason, detail=detail)
        else:
            state = EffectState.UNKNOWN if effect.state is EffectState.SENDING else effect.state
            self._move(effect, state=state, reason=reason, detail=detail, due_at=until)

    def _park(self, effect: StoredEffect, *, reason: str, detail: str) -> None:
        self._move(effect, state=EffectState.PARKED, reason=reason, detail=detail, due_at=self._clock.now())

    def _move(self, effect: StoredEffect, *, state: EffectState, reason: str, detail: str, due_at: datetime) -> None:
        move = Move(effect_id=effect.id, state=state, reason=reason, detail=detail, due_at=due_at)
        self._moves.append(move)
        self._orders.note_move(effect, move)


def _is_synced_again(effect: StoredEffect) -> bool:
    """Return whether Engage sends what another account must have by itself; an entry that earns is sent only once."""
    return effect.source.startswith(OWN_SOURCES) and effect.item is None

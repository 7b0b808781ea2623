"""An operator puts parked and rejected awards back in the queue, and lets paused destinations deliver again."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from punchcard.delivery.retry import longest_wait_seconds
from punchcard.destinations.port import DeliveryOptions
from punchcard.store.access import audit
from punchcard.store.delivery.due_times import UNKNOWN_WAIT, end_waits, overlong_waits
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.ledger import needing_a_person
from punchcard.store.delivery.operator_actions import dismiss, reopen
from punchcard.store.delivery.pauses import Pause, PauseEnd, pause_of, resume
from punchcard.workspace.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Retryable:
    """The effects that match an operator's request.

    Attributes:
        effects: Parked and rejected ones.
        pauses: For refused credentials, of the destinations concerned.
        overlong: Open ones that wait for a time that cannot be meant: the clock was set forward, and back since.
        are_selected: True if they were selected by reason or event: those for another account may go to the present
            one then, and to their own only otherwise.
    """

    effects: Sequence[StoredEffect]
    pauses: Sequence[Pause]
    overlong: Sequence[StoredEffect] = ()
    are_selected: bool = False

    @property
    def is_nothing(self) -> bool:
        """True if nothing matches."""
        return not (self.effects or self.pauses or self.overlong)


def options_by_slug(snapshot: Snapshot) -> dict[str, DeliveryOptions]:
    """Return how each configured destination delivers; the defaults for one that has unusable settings."""
    return {
        slug: DeliveryOptions()
        if destination.invalid is not None
        else destination.partner.delivery_options(destination.settings)
        for slug, destination in snapshot.destinations.items()
    }


def find_retryable(
    work: Connection,
    *,
    configured: Mapping[str, DeliveryOptions],
    destination: str | None,
    reason: str | None,
    message_ids: Sequence[str],
    now: datetime,
) -> Retryable:
    """What matches; of everything that is not dismissed if there is no condition.

    Args:
        configured: The destinations that there are, by slug.
        message_ids: None of them means all.
    """
    effects = needing_a_person(work, destination=destination, reason=reason, message_ids=message_ids)
    concerned = {effect.destination for effect in effects}
    if not message_ids and reason is None:
        # Nothing needs to be parked for a paused destination to be worth another try.
        concerned |= set(configured) if destination is None else {destination}
    # A pause that a person has begun is ended by a person who means that.
    pauses = [
        pause for slug in sorted(concerned) if (pause := pause_of(work, slug)) is not None and not pause.is_by_operator
    ]
    overlong = [
        effect
        for slug, options in configured.items()
        if destination in (None, slug)
        for effect in overlong_waits(
            work, slug, now=now, longest=timedelta(seconds=longest_wait_seconds(options)), message_ids=message_ids
        )
        if reason in (None, effect.reason)
    ]
    are_selected = bool(message_ids) or reason is not None
    return Retryable(effects=effects, pauses=pauses, overlong=overlong, are_selected=are_selected)


def retry(work: Connection, retryable: Retryable, *, actor: str, now: datetime) -> int:
    """Put it back in the queue and write down who did; returns how many effects went.

    Args:
        actor: Who does it, for the audit log.
    """
    effect_ids = [effect.id for effect in retryable.effects]
    reopened = reopen(work, effect_ids, now=now, for_present_account=retryable.are_selected)
    reopened += end_waits(
        work, [effect.id for effect in retryable.overlong if effect.state is not EffectState.UNKNOWN], due_at=now
    )
    # A lost request may have left a moment before the clock was set back.
    unknown = [effect.id for effect in retryable.overlong if effect.state is EffectState.UNKNOWN]
    reopened += end_waits(work, unknown, due_at=now + UNKNOWN_WAIT)
    for pause in retryable.pauses:
        resume(work, pause.destination, by=PauseEnd.OPERATOR, now=now)
    counts = Counter(effect.destination for effect in (*retryable.effects, *retryable.overlong))
    paused = {pause.destination: pause.reason for pause in retryable.pauses}
    for slug in sorted(counts.keys() | paused.keys()):
        audit_changes: list[dict[str, object]] = [{"path": "retried", "before": None, "after": counts[slug]}]
        if slug in paused:
            audit_changes.append({"path": "pause", "before": paused[slug], "after": None})
        _write_down(work, "retry", slug, audit_changes, actor, now)
    return reopened


def retry_chosen(
    work: Connection,
    destination: str,
    effect_ids: Sequence[int],
    *,
    actor: str,
    now: datetime,
    for_present_account: bool = True,
) -> int:
    """Put parked and rejected effects of one destination back in the queue; returns how many went.

    Args:
        actor: Who does it, for the audit log.
        for_present_account: False to send those for another account to their own only, as in `Retryable.are_selected`.
    """
    reopened = reopen(work, effect_ids, now=now, for_present_account=for_present_account)
    if reopened:
        _write_down(work, "retry", destination, [{"path": "retried", "before": None, "after": reopened}], actor, now)
    return reopened


def dismiss_chosen(work: Connection, destination: str, effect_ids: Sequence[int], *, actor: str, now: datetime) -> int:
    """Put parked effects of one destination aside for good; returns how many.

    Args:
        actor: Who does it, for the audit log and for the trace of the award.
    """
    dismissed = dismiss(work, effect_ids, detail=f"dismissed by {actor} on {now:%Y-%m-%d %H:%M} UTC", now=now)
    if dismissed:
        audit_changes: list[dict[str, object]] = [{"path": "dismissed", "before": None, "after": dismissed}]
        _write_down(work, "dismiss", destination, audit_changes, actor, now)
    return dismissed


def _write_down(
    work: Connection,
    kind: str,
    destination: str,
    audit_changes: Sequence[Mapping[str, object]],
    actor: str,
    now: datetime,
) -> None:
    audit.record(
        work,
        at=now,
        actor=actor,
        kind=kind,
        resource_type="destination",
        resource_id=destination,
        changes=json.dumps(list(audit_changes)),
    )

"""An operator puts parked and rejected awards back in the queue, and lets paused destinations deliver again."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from punchcard.store import audit
from punchcard.store.by_hand import dismiss, reopen
from punchcard.store.effects import StoredEffect
from punchcard.store.ledger import needing_a_person
from punchcard.store.pauses import Pause, PauseEnd, pause_of, resume


@dataclass(frozen=True, kw_only=True)
class Retryable:
    """What an operator has asked about.

    Attributes:
        effects: Parked and rejected ones.
        pauses: Of the destinations concerned.
    """

    effects: Sequence[StoredEffect]
    pauses: Sequence[Pause]


def find_retryable(
    work: Connection,
    *,
    configured: Collection[str],
    destination: str | None,
    reason: str | None,
    message_ids: Sequence[str],
) -> Retryable:
    """What matches; of everything that nobody has dismissed if nothing is asked for.

    Args:
        configured: Slugs of the destinations that there are.
        message_ids: None of them means all.
    """
    effects = needing_a_person(work, destination=destination, reason=reason, message_ids=message_ids)
    concerned = {effect.destination for effect in effects}
    if not message_ids and reason is None:
        # Nothing needs to be parked for a paused destination to be worth another try.
        concerned |= set(configured) if destination is None else {destination}
    pauses = [pause for slug in sorted(concerned) if (pause := pause_of(work, slug)) is not None]
    return Retryable(effects=effects, pauses=pauses)


def retry(work: Connection, found: Retryable, *, actor: str, now: datetime) -> int:
    """Put it back in the queue and write down who did; returns how many effects went.

    Args:
        actor: Who does it, for the audit log.
    """
    reopened = reopen(work, [effect.id for effect in found.effects], now=now)
    for pause in found.pauses:
        resume(work, pause.destination, by=PauseEnd.OPERATOR, now=now)
    counts = Counter(effect.destination for effect in found.effects)
    paused = {pause.destination: pause.reason for pause in found.pauses}
    for slug in sorted(counts.keys() | paused.keys()):
        said: list[dict[str, object]] = [{"path": "retried", "before": None, "after": counts[slug]}]
        if slug in paused:
            said.append({"path": "pause", "before": paused[slug], "after": None})
        _write_down(work, "retry", slug, said, actor, now)
    return reopened


def retry_chosen(work: Connection, destination: str, effect_ids: Sequence[int], *, actor: str, now: datetime) -> int:
    """Put parked and rejected effects of one destination back in the queue; returns how many went.

    Args:
        actor: Who does it, for the audit log.
    """
    reopened = reopen(work, effect_ids, now=now)
    if reopened:
        _write_down(work, "retry", destination, [{"path": "retried", "before": None, "after": reopened}], actor, now)
    return reopened


def dismiss_chosen(work: Connection, destination: str, effect_ids: Sequence[int], *, actor: str, now: datetime) -> int:
    """Put parked effects of one destination aside for good; returns how many.

    Args:
        actor: Who does it, for the audit log and for whoever looks at the award.
    """
    dismissed = dismiss(work, effect_ids, detail=f"dismissed by {actor} on {now:%Y-%m-%d %H:%M} UTC", now=now)
    if dismissed:
        said: list[dict[str, object]] = [{"path": "dismissed", "before": None, "after": dismissed}]
        _write_down(work, "dismiss", destination, said, actor, now)
    return dismissed


def _write_down(
    work: Connection, kind: str, destination: str, said: Sequence[Mapping[str, object]], actor: str, now: datetime
) -> None:
    audit.record(
        work,
        at=now,
        actor=actor,
        kind=kind,
        resource_type="destination",
        resource_id=destination,
        changes=json.dumps(list(said)),
    )

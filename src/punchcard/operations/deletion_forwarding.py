"""Requests to destinations to delete the subjects of a regulation, through the outbox like every other call."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from punchcard.destinations.definition import Capability
from punchcard.destinations.port import ForwardsDeletions, account_of
from punchcard.profiles.erasure import ErasedIds
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState, NewEffect
from punchcard.store.delivery.erasure import states_of
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.privacy.regulations import Regulation, RegulationStatus, Step
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

_WORKSPACE: Final = "workspace"
_MANUAL: Final = "This destination cannot delete persons through its API. Delete them there yourself."


def forward_deletion(
    work: Connection, regulation: Regulation, ids: ErasedIds, snapshot: Snapshot, *, now: datetime
) -> dict[str, tuple[int, ...]]:
    """Add a call per user id to each enabled destination that forwards deletions; repeated, nothing is added twice.

    Returns:
        The ids of these effects by destination.
    """
    forwarded: dict[str, tuple[int, ...]] = {}
    for slug, destination in snapshot.destinations.items():
        partner = destination.partner
        if not _is_concerned(destination, regulation) or not isinstance(partner, ForwardsDeletions):
            continue
        source = regulation.source or _WORKSPACE
        new = [
            _effect(destination, partner, regulation, user_id, number, source=source)
            for number, user_id in enumerate(sorted(ids.user_ids))
        ]
        existing = outbox.effects_by_key(work, slug, [effect.effect_key for effect in new])
        outbox.add(
            work,
            [effect for effect in new if effect.effect_key not in existing],
            now=now,
            recovery=newest_recovery(work),
        )
        stored = outbox.effects_by_key(work, slug, [effect.effect_key for effect in new])
        forwarded[slug] = tuple(sorted(effect.id for effect in stored.values()))
    return forwarded


def forwarded_status(
    work: Connection,
    forwarded: Mapping[str, tuple[int, ...]],
    snapshot: Snapshot,
    regulation: Regulation,
    *,
    now: datetime,
) -> list[Step]:
    """Return how far the deletion is at each enabled destination; none for a regulation that is not forwarded."""
    if not regulation.type.forwards:
        return []
    steps = []
    for slug, destination in snapshot.destinations.items():
        if _is_concerned(destination, regulation):
            steps.append(_step(work, destination, forwarded.get(slug), now))
    return steps


def _is_concerned(destination: RoutedDestination, regulation: Regulation) -> bool:
    """Return whether a destination is requested to delete: it gets events of the source, if there is only one."""
    configured = destination.destination
    return configured.enabled and (not regulation.only_source or regulation.only_source in configured.sources)


def _step(work: Connection, destination: RoutedDestination, effect_ids: tuple[int, ...] | None, now: datetime) -> Step:
    definition = destination.partner.definition
    if Capability.DELETION not in definition.capabilities or effect_ids is None:
        return Step(
            id=destination.slug,
            name=definition.name,
            status=RegulationStatus.NOT_SUPPORTED,
            detail=definition.deletion or _MANUAL,
            finished_at=now,
        )
    states = states_of(work, effect_ids)
    delivered = sum(state is EffectState.DELIVERED for state in states)
    failed = [state for state in states if state in (EffectState.PARKED, EffectState.REJECTED)]
    status, detail = RegulationStatus.RUNNING, ""
    if delivered + len(failed) == len(states):
        status = RegulationStatus.FAILED if failed else RegulationStatus.FINISHED
        detail = f"{len(failed)} calls were not accepted. Delete the persons there yourself." if failed else ""
    return Step(
        id=destination.slug,
        name=definition.name,
        status=status,
        count=delivered,
        detail=detail,
        finished_at=None if status is RegulationStatus.RUNNING else now,
    )


def _effect(
    destination: RoutedDestination,
    partner: ForwardsDeletions,
    regulation: Regulation,
    user_id: str,
    number: int,
    *,
    source: str,
) -> NewEffect:
    message_id = f"regulation-{regulation.id}-{number}"
    intent = partner.plan_deletion(user_id, source=source, message_id=message_id, requested_at=regulation.created_at)
    return NewEffect(
        destination=destination.slug,
        effect_key=intent.effect_key,
        kind=intent.kind,
        source=source,
        message_id=message_id,
        event_name=intent.event_name,
        log_position=regulation.log_position,
        event_index=number,
        received_at=regulation.created_at,
        customer=intent.customer,
        email=intent.email,
        item=None,
        requested_quantity=None,
        attributes=None,
        order_id=None,
        is_refund=False,
        ordering_key=intent.ordering_key,
        payload=intent.payload,
        summary=intent.summary,
        account=None if destination.settings is None else account_of(partner, destination.settings, None),
    )

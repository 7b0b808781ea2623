"""People, audiences and synced values, directly in a store: for tests of pages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.engage import engage_tables
from punchcard.store.engage.engage_tables import ComputationState, Status
from punchcard.store.engage.profiles import (
    StoredTrait,
    add_history,
    add_ids,
    add_profiles,
    keep_traits,
    next_profile_id,
)
from punchcard.store.engage.synced import Synced, save_synced
from punchcard.testing.effects import new_effect, stored_effect
from punchcard.testing.partner.configuration import SLUG

_AUDIENCE = "audience"


def add_person(
    work: Connection,
    *ids: tuple[str, str],
    at: datetime,
    traits: Mapping[str, object] | None = None,
    source: str = "web",
) -> int:
    """Add a profile with these external ids (type, value) and custom traits; return its number."""
    number = next_profile_id(work)
    seen = {"created_at": at, "updated_at": at}
    event = {"first_message_id": f"first-{number}", "last_message_id": f"last-{number}"}
    add_profiles(
        work,
        [
            {
                "id": number,
                "public_id": f"use_{number:027}",
                "first_source": source,
                "last_source": source,
                "is_known": any(type_ != "anonymous_id" for type_, _ in ids),
                **seen,
                **event,
            }
        ],
    )
    add_ids(
        work,
        [
            {
                "type": type_,
                "value": value,
                "profile_id": number,
                "created_at": at,
                "source": source,
                "message_id": f"first-{number}",
            }
            for type_, value in ids
        ],
    )
    set_traits(work, number, traits or {}, at=at)
    return number


def set_traits(
    work: Connection, profile: int, values: Mapping[str, object], *, at: datetime, computation: str = ""
) -> None:
    """Set traits of a profile; for an audience `True` or `False`."""
    traits = [
        StoredTrait(profile, name, json.dumps(value), computation, at, "web", f"first-{profile}")
        for name, value in values.items()
    ]
    keep_traits(work, traits)
    add_history(work, traits)


def add_computation(
    work: Connection,
    key: str,
    *,
    size: int,
    now: datetime,
    sizes: Sequence[tuple[timedelta, int]] = (),
    kind: str = _AUDIENCE,
) -> None:
    """Add the state of an audience or trait, and its earlier sizes by their age."""
    state = ComputationState(
        key=key,
        kind=kind,
        fingerprint="f",
        status=Status.LIVE,
        detail="",
        size=size,
        computed_at=now,
        checked_at=None,
        differences=0,
        created_at=now,
        last_sync="",
    )
    engage_tables.save_states(work, [state])
    for age, past_size in sizes:
        at = now - age
        engage_tables.save_size(work, key, size=past_size, at=at, bucket=at.replace(minute=0, second=0, microsecond=0))


def record_sync(
    work: Connection, key: str, email: str, *, profile: int, at: datetime, value: str = "true", slug: str = SLUG
) -> None:
    """Record that a value of a profile was synced to a destination."""
    synced = Synced(destination=slug, key=key, email=email, profile_id=profile, value=value, sequence=1, sent_at=at)
    save_synced(work, synced)


def call_about(
    work: Connection,
    key: str,
    email: str,
    *,
    state: EffectState = EffectState.PENDING,
    reason: str | None = None,
    value: object = True,
    source: str = f"engage-{SLUG}",
    number: int = 1,
) -> None:
    """Add a call that sets a user property, the `number`th for this customer, with its state at the destination."""
    new = new_effect(f"{source}:{key}:{email}:{number}", customer=email, quantity=None, attributes={key: value})
    outbox.add(work, [replace(new, source=source, event_name="identify")], now=new.received_at)
    effect = stored_effect(work, new.effect_key)
    if state is not EffectState.PENDING:
        outbox.put(
            work, effect.id, state=state, reason=reason, detail=None, due_at=new.received_at, now=new.received_at
        )

"""Resolve the identity and the custom traits of a run of events, and write both in one unit of work."""

import base64
import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Connection

from punchcard.engage.custom_traits import CustomTraits, stored_message_id
from punchcard.engage.person_events import PersonEvent
from punchcard.profiles.identity import Known, Merge, Resolution, is_known, may_change, resolve
from punchcard.profiles.rules import EMAIL, ExternalId, IdentityRules
from punchcard.store.engage import profiles
from punchcard.store.engage.profiles import LAST_EVENT_ACCURACY, MergedProfile, RepeatedTraits, StoredTrait

_PUBLIC_ID_CHARACTERS = 27


@dataclass
class IdentityChanges:
    """The changes that a batch of events makes to profiles.

    people: The events.
    profiles: The profile of each event, after all merges.
    created: New profiles, with whether they have more than anonymous ids.
    now_known: Existing profiles that have more than anonymous ids from now on.
    merges: (profile, merged), in order.
    merged_traits: All traits of the profiles that others were merged into.
    traits: Traits of other profiles with another value, or with another age that only their own row can have.
    repeats: The repeated traits of profiles, where they are others than before.
    last_received: When the recorded last event of each existing profile was received.
    history: Every new value of a custom trait, in log order.
    with_new_email: Profiles that have a new email.
    """

    people: list[PersonEvent]
    resolution: Resolution
    profiles: list[int] = field(default_factory=list)
    created: list[tuple[int, bool]] = field(default_factory=list)
    now_known: set[int] = field(default_factory=set)
    merges: list[tuple[int, int]] = field(default_factory=list)
    merged_traits: dict[int, list[StoredTrait]] = field(default_factory=dict)
    traits: list[StoredTrait] = field(default_factory=list)
    repeats: dict[int, RepeatedTraits] = field(default_factory=dict)
    last_received: dict[int, datetime] = field(default_factory=dict)
    history: list[StoredTrait] = field(default_factory=list)
    with_new_email: set[int] = field(default_factory=set)

    def touched(self) -> set[int]:
        """Return every profile that has changed."""
        return {*self.profiles, *self.now_known, *(profile for profile, _ in self.merges)}

    def changed_traits(self) -> list[StoredTrait]:
        """Return the traits that have, or may have, a new value."""
        changed = {(trait.profile_id, trait.name) for trait in self.history}
        merged = [trait for traits in self.merged_traits.values() for trait in traits]
        return merged + [trait for trait in self.traits if (trait.profile_id, trait.name) in changed]


def load_known(work: Connection, people: Collection[PersonEvent], *, has_periods: bool) -> Known:
    """Load what the store knows about the people of these events.

    Args:
        has_periods: True if a limit has a period, so that the time at which ids were added matters.
    """
    ids = {external_id for person in people for external_id in person.ids}
    owners = profiles.owners_of(work, ids)
    open_ = set().union(*(may_change(person.ids, owners) for person in people))
    members = {
        profile: {ExternalId(*pair) for pair in pairs} for profile, pairs in profiles.ids_of(work, open_).items()
    }
    since = {ExternalId(*key): at for key, at in profiles.since_of(work, open_).items()} if has_periods else {}
    return Known(owners=owners, members=members, since=since, merges=Counter(profiles.merges_of(work, open_)))


def plan_changes(
    work: Connection, people: list[PersonEvent], *, rules: IdentityRules, reserved: Collection[str]
) -> IdentityChanges:
    """Plan the changes of events against the current state of the store; nothing is written.

    Args:
        reserved: Names of computed traits and audiences, which identify calls cannot change.
    """
    known = load_known(work, people, has_periods=bool(rules.periods))
    before = {profile: is_known(ids, rules) for profile, ids in known.members.items()}
    next_id = profiles.next_profile_id(work) - 1

    def new_profile() -> int:
        nonlocal next_id
        next_id += 1
        return next_id

    resolution = resolve(
        (person.ids for person in people),
        known,
        rules=rules,
        new_profile=new_profile,
        received=(person.received_at for person in people),
    )
    changes = IdentityChanges(people, resolution)
    changes.profiles = [profile for profile in resolution.final() if profile is not None]
    changes.merges = [(merge.profile, merge.merged) for merge in resolution.merges]
    merged_away = {merged for _, merged in changes.merges}
    changes.created = [
        (key, is_known(known.members[key], rules)) for key in resolution.created if key not in merged_away
    ]
    changes.now_known = {
        key
        for key, was in before.items()
        if not was and key not in merged_away and key in known.members and is_known(known.members[key], rules)
    }
    changes.with_new_email = {profile for key, (profile, _) in resolution.added.items() if key.type == EMAIL}
    # A merged profile may be reached at the emails of both.
    changes.with_new_email |= {profile for profile, _ in changes.merges if profile not in merged_away}
    _apply_traits(work, changes, reserved)
    changes.last_received = profiles.last_events_of(work, set(changes.profiles).difference(resolution.created))
    return changes


def write_changes(work: Connection, changes: IdentityChanges) -> None:
    """Write the planned changes."""
    people, resolution = changes.people, changes.resolution
    last: dict[int, PersonEvent] = {}
    for profile, person in zip(changes.profiles, people, strict=True):
        last[profile] = person
    known = dict(changes.created)
    created = [
        _profile_row(key, people[event], last.get(key, people[event]), known=known.get(key, False))
        for key, event in resolution.created.items()
    ]
    profiles.add_profiles(work, created)
    profiles.add_ids(work, [_id_row(key, profile, people[event]) for key, (profile, event) in resolution.added.items()])
    profiles.merge_profiles(
        work,
        [
            MergedProfile(
                profile=merge.profile,
                merged=merge.merged,
                at=people[merge.event].received_at,
                message_id=stored_message_id(people[merge.event].message_id),
            )
            for merge in resolution.merges
        ],
        traits=[trait for merged in changes.merged_traits.values() for trait in merged],
    )
    profiles.make_known(work, changes.now_known)
    last_events = {profile: _last_event(profile, person) for profile, person in last.items()}
    profiles.record_repeats(work, changes.repeats, last_events)
    profiles.record_last_events(
        work,
        [
            last_events[profile]
            for profile, recorded_at in changes.last_received.items()
            if abs(last[profile].received_at - recorded_at) >= LAST_EVENT_ACCURACY and profile not in changes.repeats
        ],
    )
    profiles.add_conflicts(work, [_conflict_row(changes, number) for number in range(len(resolution.conflicts))])
    profiles.keep_traits(work, changes.traits)
    profiles.add_history(work, changes.history)


def _apply_traits(work: Connection, changes: IdentityChanges, reserved: Collection[str]) -> None:
    """Apply custom traits after each event, with the merges of just that event."""
    resolution = changes.resolution
    calls = {number: person for number, person in enumerate(changes.people) if person.traits}
    merges: dict[int, list[Merge]] = {}
    for merge in resolution.merges:
        merges.setdefault(merge.event, []).append(merge)
    at_event = {number: profile for number in calls if (profile := resolution.profiles[number]) is not None}
    affected = {*at_event.values(), *(key for merge in resolution.merges for key in (merge.profile, merge.merged))}
    traits = CustomTraits(profiles.traits_of(work, affected), profiles.repeats_of(work, affected), reserved=reserved)
    for number in sorted({*calls, *merges}):
        for merge in merges.get(number, ()):
            traits.merge(merge.profile, merge.merged)
        if number in calls:
            traits.take(at_event[number], calls[number])
    into = profiles.final_profiles(changes.merges)
    changes.history = [
        replace(trait, profile_id=into.get(trait.profile_id, trait.profile_id)) for trait in traits.history
    ]
    changes.merged_traits = {profile: traits.of(profile) for profile in into.values()}
    changes.traits = [trait for trait in traits.updated() if trait.profile_id not in changes.merged_traits]
    changes.repeats = traits.updated_repeats(merged=changes.merged_traits)


def _id_row(external_id: ExternalId, profile: int, person: PersonEvent) -> dict[str, object]:
    return {
        "type": external_id.type,
        "value": external_id.value,
        "profile_id": profile,
        "created_at": person.received_at,
        "source": person.source,
        "message_id": stored_message_id(person.message_id),
    }


def _last_event(profile: int, person: PersonEvent) -> dict[str, object]:
    return {
        "b_profile": profile,
        "b_at": person.received_at,
        "b_message_id": stored_message_id(person.message_id),
        "b_source": person.source,
    }


def _profile_row(profile: int, person: PersonEvent, last: PersonEvent, *, known: bool) -> dict[str, object]:
    message_id = stored_message_id(person.message_id)
    return {
        "id": profile,
        "public_id": public_id(profile, message_id),
        "created_at": person.received_at,
        "updated_at": last.received_at,
        "first_message_id": message_id,
        "first_source": person.source,
        "last_message_id": stored_message_id(last.message_id),
        "last_source": last.source,
        "is_known": known,
    }


def _conflict_row(changes: IdentityChanges, number: int) -> dict[str, object]:
    conflict = list(changes.resolution.conflicts.values())[number]
    person = changes.people[conflict.event]
    return {
        "profile_id": conflict.profile,
        "type": conflict.id.type,
        "value": conflict.id.value,
        "owner_id": conflict.owner_id,
        "at": person.received_at,
        "source": person.source,
        "message_id": stored_message_id(person.message_id),
        "reason": conflict.reason,
    }


def public_id(profile: int, message_id: str) -> str:
    """Return the public id of a profile: `use_` and 27 letters and digits."""
    digest = hashlib.sha256(f"{profile}:{message_id}".encode()).digest()
    return "use_" + base64.b64encode(digest, b"Aa").decode()[:_PUBLIC_ID_CHARACTERS]

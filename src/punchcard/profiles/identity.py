"""Assign each event its profile: find it, create it, or merge profiles of the same person. Pure.

An event's ids lead to profiles. If they lead to none, a profile is created. If they lead to one, it gets the new ids.
If they lead to several, these are the same person and become one profile, unless that profile would have more ids of a
type than the rules allow (usually two user ids). Then the weakest id of the event is left out, and the rest is tried
again. So an event always belongs to the profile of its strongest id, whichever ids are left out.

The result depends only on the order of events in the log, not on how they are cut into batches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import repeat

from punchcard.profiles.rules import IDS_MAX, MERGES_MAX, ExternalId, IdentityRules

_UNTIMED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Known:
    """What is known about the people of a batch before it is processed.

    Attributes:
        owners: The existing profile of each id of the batch.
        members: All ids of the profiles that may get another id or be merged.
        since: The time at which each of these ids was added; needed if a limit has a period.
        merges: Number of profiles merged into each of them.
    """

    owners: dict[tuple[str, str], int] = field(default_factory=dict)
    members: dict[int, set[ExternalId]] = field(default_factory=dict)
    since: dict[ExternalId, datetime] = field(default_factory=dict)
    merges: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge of two profiles of the same person: `profile` remains, `merged` is gone."""

    profile: int
    merged: int
    event: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """An id of an event that its profile did not get.

    Attributes:
        owner_id: The profile that has the id, None if none has.
        reason: Description of the conflict.
    """

    profile: int
    id: ExternalId
    owner_id: int | None
    event: int
    reason: str


@dataclass
class Resolution:
    """The result of a batch; `event` is everywhere the index of the event in it.

    Attributes:
        profiles: The profile of each event at its time, before later `merges`; None for an event without ids.
        created: The event that created each new profile.
        added: The profile and the event of each id that was added to a profile.
        merges: In order.
        conflicts: Ids left out, the first time in the batch.
    """

    profiles: list[int | None] = field(default_factory=list)
    created: dict[int, int] = field(default_factory=dict)
    added: dict[ExternalId, tuple[int, int]] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    conflicts: dict[tuple[int, ExternalId], Conflict] = field(default_factory=dict)

    def final(self) -> list[int | None]:
        """Return the profile of each event after all merges of the batch."""
        into = {merge.merged: merge.profile for merge in self.merges}

        def current(profile: int | None) -> int | None:
            while profile in into:
                profile = into[profile]
            return profile

        return [current(profile) for profile in self.profiles]


def may_change(ids: Sequence[ExternalId], owners: Mapping[tuple[str, str], int]) -> set[int]:
    """Return the profiles of which all ids must be known to resolve an event with these ids."""
    profiles, has_new = set(), False
    for external_id in ids:
        owner = owners.get(external_id)
        if owner is None:
            has_new = True
        else:
            profiles.add(owner)
    return profiles if has_new or len(profiles) > 1 else set()


def is_known(ids: Iterable[ExternalId], rules: IdentityRules) -> bool:
    """Return whether a profile with these ids has more than anonymous ids."""
    return any(rules.names_person(external_id.type) for external_id in ids)


def resolve(
    events: Iterable[Sequence[ExternalId]],
    known: Known,
    *,
    rules: IdentityRules,
    new_profile: Callable[[], int],
    received: Iterable[datetime] = repeat(_UNTIMED),
) -> Resolution:
    """Assign each event its profile, in order.

    Args:
        events: The ids of each event, the strongest first, as `IdReader` returns them.
        received: The time at which each event was received; needed if a limit has a period.
        known: What is known about these ids and the profiles that `may_change`; updated in place.
        new_profile: Returns the number of a new profile; numbers rise.
    """
    resolver = _Resolver(known, rules, new_profile)
    for number, (ids, at) in enumerate(zip(events, received, strict=False)):
        resolver.take(number, ids, at)
    return resolver.resolution


class _Resolver:
    def __init__(self, known: Known, rules: IdentityRules, new_profile: Callable[[], int]) -> None:
        self.resolution = Resolution()
        self._known = known
        self._rules = rules
        self._new_profile = new_profile

    def take(self, number: int, ids: Sequence[ExternalId], at: datetime) -> None:
        owners = self._known.owners
        if not ids:
            self.resolution.profiles.append(None)
            return
        strongest = owners.get(ids[0])
        if strongest is not None and (
            len(ids) == 1 or all(owners.get(external_id) == strongest for external_id in ids)
        ):
            self.resolution.profiles.append(strongest)  # the usual case
            return
        accepted, left_out = list(ids), []
        while (problem := self._problem(accepted, at)) is not None:
            left_out.append((accepted.pop(), problem))
        profile = self._joined(accepted, number, at)
        self.resolution.profiles.append(profile)
        for external_id, reason in left_out:
            if owners.get(external_id) != profile:
                conflict = Conflict(profile, external_id, owners.get(external_id), number, reason)
                self.resolution.conflicts.setdefault((profile, external_id), conflict)

    def _problem(self, ids: Sequence[ExternalId], at: datetime) -> str | None:
        """Return why these ids cannot all belong to one profile, None if they can."""
        if len(ids) == 1:
            return None
        profiles = {self._known.owners[external_id] for external_id in ids if external_id in self._known.owners}
        members = set(ids).union(*(self._known.members[profile] for profile in profiles))
        counts: dict[str, int] = {}
        for external_id in self._counting(members, at) if self._rules.periods else members:
            counts[external_id.type] = counts.get(external_id.type, 0) + 1
        for type_, count in counts.items():
            if count > 1 and count > (limit := self._rules.limit_of(type_)):
                word = self._rules.periods.get(type_, "ever")
                per = "" if word == "ever" else f" {word}"
                return f"The merged profile would have {count} ids of type {type_}{per}; the limit is {limit}."
        if len(members) > IDS_MAX:
            return f"The merged profile would have {len(members)} external ids; the limit is {IDS_MAX}."
        merges = sum(self._known.merges[profile] for profile in profiles) + len(profiles) - 1
        if len(profiles) > 1 and merges > MERGES_MAX:
            return f"At most {MERGES_MAX} other profiles can be merged into a profile."
        return None

    def _counting(self, members: Iterable[ExternalId], at: datetime) -> Iterator[ExternalId]:
        """Yield the ids that count towards the limit of their type at a given time."""
        since = self._known.since
        for member in members:
            period = self._rules.period_of(member.type)
            if period is None or member not in since or at - since[member] < period:
                yield member

    def _joined(self, ids: Sequence[ExternalId], number: int, at: datetime) -> int:
        known = self._known
        profiles = sorted({known.owners[external_id] for external_id in ids if external_id in known.owners})
        if profiles:
            profile = profiles[0]  # the oldest profile remains
        else:
            profile = self._new_profile()
            self.resolution.created[profile] = number
            known.members[profile] = set()
        for merged in profiles[1:]:
            self.resolution.merges.append(Merge(profile, merged, number))
            known.merges[profile] += known.merges.pop(merged, 0) + 1
            for external_id in known.members.pop(merged):
                known.members[profile].add(external_id)
                known.owners[external_id] = profile
                if external_id in self.resolution.added:
                    self.resolution.added[external_id] = (profile, self.resolution.added[external_id][1])
            self._move_conflicts(merged, profile)
        for external_id in ids:
            if external_id not in known.owners:
                known.owners[external_id] = profile
                known.members[profile].add(external_id)
                known.since[external_id] = at
                self.resolution.added[external_id] = (profile, number)
        return profile

    def _move_conflicts(self, merged: int, profile: int) -> None:
        """Move conflicts of the batch from a merged profile to the remaining one."""
        for (holder, external_id), conflict in list(self.resolution.conflicts.items()):
            if merged in (holder, conflict.owner_id):
                del self.resolution.conflicts[holder, external_id]
                holder = profile if holder == merged else holder
                owner_id = profile if conflict.owner_id == merged else conflict.owner_id
                if holder != owner_id:
                    moved = Conflict(holder, external_id, owner_id, conflict.event, conflict.reason)
                    self.resolution.conflicts.setdefault((holder, external_id), moved)

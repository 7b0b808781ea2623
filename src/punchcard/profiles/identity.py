"""Gives each event its profile: finds it, makes it, or merges profiles that turn out to be one person. Pure.

An event's ids lead to profiles. None: one is made. One: the ids are its. Several: they are one person, and become one
profile, unless it would then have more ids of a type than the rules allow (two user ids, as a rule): then the weakest
id of the event is left out and the rest is tried again. So an event always belongs to the profile that its strongest
id leads to, whatever was left out.

The outcome depends on the order of events in the log alone, not on how they are cut into batches.
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
    """What is known of the people in a batch before it is looked at.

    Attributes:
        owners: The profile that each id of the batch leads to, where there is one.
        members: All ids of those profiles that may get another id or be merged.
        since: When each of these came; needed where a limit has a period.
        merges: How many profiles each of them has taken in.
    """

    owners: dict[tuple[str, str], int] = field(default_factory=dict)
    members: dict[int, set[ExternalId]] = field(default_factory=dict)
    since: dict[ExternalId, datetime] = field(default_factory=dict)
    merges: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Merge:
    """Two profiles that are one person: `profile` goes on, `merged` is gone."""

    profile: int
    merged: int
    event: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """An id that an event brought and its profile did not get.

    Attributes:
        kept_by: Whom it leads to, None for nobody.
        reason: A sentence for a person.
    """

    profile: int
    id: ExternalId
    kept_by: int | None
    event: int
    reason: str


@dataclass
class Resolution:
    """What came of a batch; `event` everywhere is the number of the event in it.

    Attributes:
        profiles: The profile of each event, None for one without ids. As it stood at the event: see `merges`.
        made: The event by which each new profile was made.
        added: The profile and the event of each id that is new to it.
        merges: In order.
        conflicts: Ids left out, the first time in the batch.
    """

    profiles: list[int | None] = field(default_factory=list)
    created: dict[int, int] = field(default_factory=dict)
    added: dict[ExternalId, tuple[int, int]] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    conflicts: dict[tuple[int, ExternalId], Conflict] = field(default_factory=dict)

    def final(self) -> list[int | None]:
        """The profile of each event after all merges of the batch."""
        into = {merge.merged: merge.profile for merge in self.merges}

        def now(profile: int | None) -> int | None:
            while profile in into:
                profile = into[profile]
            return profile

        return [now(profile) for profile in self.profiles]


def may_change(ids: Sequence[ExternalId], owners: Mapping[tuple[str, str], int]) -> set[int]:
    """The profiles of which all ids must be known to resolve an event with these ids."""
    found, has_new = set(), False
    for one in ids:
        owner = owners.get(one)
        if owner is None:
            has_new = True
        else:
            found.add(owner)
    return found if has_new or len(found) > 1 else set()


def is_known(ids: Iterable[ExternalId], rules: IdentityRules) -> bool:
    """True if more than an anonymous id leads to a profile with these ids."""
    return any(rules.names_person(one.type) for one in ids)


def resolve(
    events: Iterable[Sequence[ExternalId]],
    known: Known,
    *,
    rules: IdentityRules,
    new_profile: Callable[[], int],
    received: Iterable[datetime] = repeat(_UNTIMED),
) -> Resolution:
    """Give each event its profile, in order.

    Args:
        events: The ids of each event, the strongest first, as `IdReader` finds them.
        received: When each of them was received; needed where a limit has a period.
        known: Of all these ids and of everybody that `may_change`; brought up to date.
        new_profile: Makes the number of a new profile; numbers rise.
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
        if strongest is not None and (len(ids) == 1 or all(owners.get(one) == strongest for one in ids)):
            self.resolution.profiles.append(strongest)  # as most events
            return
        wanted, left_out = list(ids), []
        while (problem := self._problem(wanted, at)) is not None:
            left_out.append((wanted.pop(), problem))
        profile = self._joined(wanted, number, at)
        self.resolution.profiles.append(profile)
        for one, reason in left_out:
            if owners.get(one) != profile:
                conflict = Conflict(profile, one, owners.get(one), number, reason)
                self.resolution.conflicts.setdefault((profile, one), conflict)

    def _problem(self, wanted: Sequence[ExternalId], at: datetime) -> str | None:
        """Why these ids cannot all be one profile's, None if they can."""
        if len(wanted) == 1:
            return None
        found = {self._known.owners[one] for one in wanted if one in self._known.owners}
        members = set(wanted).union(*(self._known.members[one] for one in found))
        counts: dict[str, int] = {}
        for one in self._counting(members, at) if self._rules.periods else members:
            counts[one.type] = counts.get(one.type, 0) + 1
        for type_, count in counts.items():
            if count > 1 and count > (limit := self._rules.limit_of(type_)):
                word = self._rules.periods.get(type_, "ever")
                per = "" if word == "ever" else f" {word}"
                return f"together they would have {count} of {type_}{per}, at most {limit} are allowed"
        if len(members) > IDS_MAX:
            return f"together they would have {len(members)} external ids, at most {IDS_MAX} are allowed"
        if len(found) > 1 and sum(self._known.merges[one] for one in found) + len(found) - 1 > MERGES_MAX:
            return f"a profile takes in at most {MERGES_MAX} others"
        return None

    def _counting(self, members: Iterable[ExternalId], at: datetime) -> Iterator[ExternalId]:
        """Those ids that count towards the limit of their type at a moment."""
        since = self._known.since
        for member in members:
            period = self._rules.period_of(member.type)
            if period is None or member not in since or at - since[member] < period:
                yield member

    def _joined(self, wanted: Sequence[ExternalId], number: int, at: datetime) -> int:
        known = self._known
        found = sorted({known.owners[one] for one in wanted if one in known.owners})
        if found:
            profile = found[0]  # the oldest goes on
        else:
            profile = self._new_profile()
            self.resolution.created[profile] = number
            known.members[profile] = set()
        for merged in found[1:]:
            self.resolution.merges.append(Merge(profile, merged, number))
            known.merges[profile] += known.merges.pop(merged, 0) + 1
            for one in known.members.pop(merged):
                known.members[profile].add(one)
                known.owners[one] = profile
                if one in self.resolution.added:
                    self.resolution.added[one] = (profile, self.resolution.added[one][1])
            self._move_conflicts(merged, profile)
        for one in wanted:
            if one not in known.owners:
                known.owners[one] = profile
                known.members[profile].add(one)
                known.since[one] = at
                self.resolution.added[one] = (profile, number)
        return profile

    def _move_conflicts(self, merged: int, profile: int) -> None:
        """Conflicts of a batch follow their profiles when these are merged."""
        for (holder, one), conflict in list(self.resolution.conflicts.items()):
            if merged in (holder, conflict.kept_by):
                del self.resolution.conflicts[holder, one]
                holder = profile if holder == merged else holder
                kept_by = profile if conflict.kept_by == merged else conflict.kept_by
                if holder != kept_by:
                    moved = Conflict(holder, one, kept_by, conflict.event, conflict.reason)
                    self.resolution.conflicts.setdefault((holder, one), moved)

"""Apply the custom traits of identify calls, in log order: the newest value of each trait wins.

The newest value is the one of the latest event; of events with the same time, the one with the highest log position. A
removed trait (`null`) stays stored as `null`, so that an older call that arrives late does not bring it back. The
resulting traits do not depend on how the log is cut into batches and, except for calls with the same time, not on the
order in which calls arrive.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from msgspec.structs import replace

from punchcard.engage.person_events import PersonEvent
from punchcard.store.engage.profiles import RepeatedTraits, StoredTrait

_MESSAGE_ID_CHARACTERS_MAX = 128


class CustomTraits:
    """The traits of some profiles while a batch of calls is processed.

    A call that repeats values changes nothing but their age. The newest such call of a profile is stored in one row
    for all traits that it repeated (`RepeatedTraits`); what older calls repeated is stored with each trait.

    Args:
        stored_traits: All traits of every profile that is named later.
        repeats: The repeated traits of these profiles.
        reserved: Names of computed traits and audiences, which identify calls cannot change.

    Attributes:
        history: Every new value in log order, with the profile at the time of the event.
    """

    def __init__(
        self,
        stored_traits: Iterable[StoredTrait],
        repeats: Mapping[int, RepeatedTraits],
        *,
        reserved: Collection[str],
    ) -> None:
        self.history: list[StoredTrait] = []
        self._reserved = frozenset(reserved)
        self._repeats = repeats
        self._stored: dict[tuple[int, str], StoredTrait] = {}
        self._of: dict[int, dict[str, StoredTrait]] = {}
        self._touched: set[int] = set()
        for trait in stored_traits:
            self._stored[trait.profile_id, trait.name] = trait
            self._of.setdefault(trait.profile_id, {})[trait.name] = _repeated(trait, repeats.get(trait.profile_id))

    def merge(self, profile: int, merged: int) -> None:
        """Add the traits of a merged profile to a profile; the newer value of each name wins."""
        self._touched.add(profile)
        own = self._of.setdefault(profile, {})
        for name, trait in self._of.pop(merged, {}).items():
            rival = own.get(name)
            if rival is None or _age(trait) > _age(rival):
                own[name] = replace(trait, profile_id=profile)

    def take(self, profile: int, person: PersonEvent) -> None:
        """Apply the traits of one call."""
        own = self._of.setdefault(profile, {})
        for name, value in (person.traits or {}).items():
            if name in self._reserved:
                continue
            old = own.get(name)
            if old is not None and _age(old) >= (False, person.at, person.seq):
                continue
            self._touched.add(profile)
            if old is not None and value == old.value:
                own[name] = replace(old, repeated_at=person.at, repeated_seq=person.seq)
                continue
            own[name] = StoredTrait(
                profile, name, value, "", person.at, person.source, stored_message_id(person.message_id), person.seq
            )
            if old is not None or value != "null":
                self.history.append(own[name])

    def of(self, profile: int) -> list[StoredTrait]:
        """Return all traits of a profile."""
        return list(self._of.get(profile, {}).values())

    def updated(self) -> list[StoredTrait]:
        """Return the traits with rows that must be written."""
        return [
            trait
            for profile in self._touched & self._of.keys()
            for newest in [self._newest_repeats(profile)]
            for name, trait in self._of[profile].items()
            if not self._is_stored(trait, is_repeated=name in newest.names)
        ]

    def updated_repeats(self) -> dict[int, RepeatedTraits]:
        """Return the repeated traits of the profiles with others than are stored."""
        newest = {profile: self._newest_repeats(profile) for profile in self._touched & self._of.keys()}
        return {
            profile: repeats
            for profile, repeats in newest.items()
            if repeats != self._repeats.get(profile, RepeatedTraits())
        }

    def _is_stored(self, trait: StoredTrait, *, is_repeated: bool) -> bool:
        stored = self._stored.get((trait.profile_id, trait.name))
        if stored is None or stored == trait:
            return stored is not None
        return is_repeated and stored == replace(
            trait, repeated_at=stored.repeated_at, repeated_seq=stored.repeated_seq
        )

    def _newest_repeats(self, profile: int) -> RepeatedTraits:
        """Return the traits that the newest repeating call has repeated; none if their names are too long."""
        at, seq, names = None, 0, list[str]()
        for name, trait in self._of[profile].items():
            if trait.repeated_at is None or trait.computation:
                continue
            if at is None or (trait.repeated_at, trait.repeated_seq) > (at, seq):
                at, seq, names = trait.repeated_at, trait.repeated_seq, []
            if (trait.repeated_at, trait.repeated_seq) == (at, seq):
                names.append(name)
        repeats = RepeatedTraits(tuple(sorted(names)), at, seq)
        return repeats if repeats.fits() else RepeatedTraits()


def stored_message_id(message_id: str) -> str:
    """Return a message id in the form in which it is stored, cut and without NUL characters."""
    return message_id.replace("\x00", "\u2400")[:_MESSAGE_ID_CHARACTERS_MAX]


def _repeated(trait: StoredTrait, repeats: RepeatedTraits | None) -> StoredTrait:
    """Return a stored trait with the age that the repeated traits of its profile give it."""
    if repeats is None or repeats.at is None or trait.computation or trait.name not in repeats.names:
        return trait
    if _age(trait) >= (False, repeats.at, repeats.seq):
        return trait
    return replace(trait, repeated_at=repeats.at, repeated_seq=repeats.seq)


def _age(trait: StoredTrait) -> tuple[bool, datetime, int]:
    given = (bool(trait.computation), trait.updated_at, trait.seq)  # calls never replace a computed value
    return given if trait.repeated_at is None else max(given, (given[0], trait.repeated_at, trait.repeated_seq))

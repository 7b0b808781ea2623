"""Apply the custom traits of identify calls, in log order: the newest value of each trait wins.

The newest value is the one of the latest event; of events with the same time, the one with the highest log position. A
removed trait (`null`) stays stored as `null`, so that an older call that arrives late does not bring it back. The
resulting traits do not depend on how the log is cut into batches and, except for calls with the same time, not on the
order in which calls arrive.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from msgspec.structs import replace

from punchcard.engage.person_events import PersonEvent
from punchcard.store.engage.profiles import StoredTrait

_MESSAGE_ID_CHARACTERS_MAX = 128


class CustomTraits:
    """The traits of some profiles while a batch of calls is processed.

    Args:
        stored_traits: All traits of every profile that is named later.
        reserved: Names of computed traits and audiences, which identify calls cannot change.

    Attributes:
        history: Every new value in log order, with the profile at the time of the event.
    """

    def __init__(self, stored_traits: Iterable[StoredTrait], *, reserved: Collection[str]) -> None:
        self.history: list[StoredTrait] = []
        self._reserved = frozenset(reserved)
        self._of: dict[int, dict[str, StoredTrait]] = {}
        self._updated: set[tuple[int, str]] = set()
        for trait in stored_traits:
            self._of.setdefault(trait.profile_id, {})[trait.name] = trait

    def merge(self, profile: int, merged: int) -> None:
        """Add the traits of a merged profile to a profile; the newer value of each name wins."""
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
            new_trait = StoredTrait(
                profile, name, value, "", person.at, person.source, stored_message_id(person.message_id), person.seq
            )
            old = own.get(name)
            if old is not None and _age(old) >= _age(new_trait):
                continue
            own[name] = new_trait
            self._updated.add((profile, name))
            if value != ("null" if old is None else old.value):
                self.history.append(new_trait)

    def of(self, profile: int) -> list[StoredTrait]:
        """Return all traits of a profile."""
        return list(self._of.get(profile, {}).values())

    def updated(self) -> list[StoredTrait]:
        """Return the traits that a call has set, even to the value they already had."""
        return [self._of[profile][name] for profile, name in self._updated if profile in self._of]


def stored_message_id(message_id: str) -> str:
    """Return a message id in the form in which it is stored, cut and without NUL characters."""
    return message_id.replace("\x00", "\ufffd")[:_MESSAGE_ID_CHARACTERS_MAX]


def _age(trait: StoredTrait) -> tuple[bool, datetime, int]:
    return bool(trait.computation), trait.updated_at, trait.seq  # calls never replace a computed value

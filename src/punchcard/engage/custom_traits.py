"""What identify calls make of custom traits, one call after the other: of each trait the newest value stands.

Newest is what happened last, and of one instant what came last into the log. A trait that is taken away (`null`) stays
in its place as `null`, so that an older call that comes late does not bring it back. So the traits that stand depend
neither on how the log is cut into batches nor, but for calls of one instant, on the order in which calls arrive.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from msgspec.structs import replace

from punchcard.engage.person_events import PersonEvent
from punchcard.store.profiles import StoredTrait

_MESSAGE_ID_CHARACTERS_MAX = 128


class CustomTraits:
    """The traits of some people while a run of calls is taken in.

    Args:
        standing: All traits of everybody who is named later.
        reserved: Names of computed traits and audiences: no identify call changes those.

    Attributes:
        history: Every new value, in the order of the log; of the profile as it was then.
    """

    def __init__(self, stored_traits: Iterable[StoredTrait], *, reserved: Collection[str]) -> None:
        self.history: list[StoredTrait] = []
        self._reserved = frozenset(reserved)
        self._of: dict[int, dict[str, StoredTrait]] = {}
        self._fresh: set[tuple[int, str]] = set()
        for trait in stored_traits:
            self._of.setdefault(trait.profile_id, {})[trait.name] = trait

    def merge(self, profile: int, merged: int) -> None:
        """Let a profile have the traits of another as well, of each name the newer one."""
        own = self._of.setdefault(profile, {})
        for name, trait in self._of.pop(merged, {}).items():
            rival = own.get(name)
            if rival is None or _age(trait) > _age(rival):
                own[name] = replace(trait, profile_id=profile)

    def take(self, profile: int, person: PersonEvent) -> None:
        """Take in one call."""
        own = self._of.setdefault(profile, {})
        for name, value in (person.traits or {}).items():
            if name in self._reserved:
                continue
            new_trait = StoredTrait(
                profile, name, value, "", person.at, person.source, kept_id(person.message_id), person.seq
            )
            old = own.get(name)
            if old is not None and _age(old) >= _age(new_trait):
                continue
            own[name] = new_trait
            self._fresh.add((profile, name))
            if value != ("null" if old is None else old.value):
                self.history.append(new_trait)

    def of(self, profile: int) -> list[StoredTrait]:
        """All traits of a profile."""
        return list(self._of.get(profile, {}).values())

    def fresh(self) -> list[StoredTrait]:
        """The traits that a call has set, if only anew to what they were."""
        return [self._of[profile][name] for profile, name in self._fresh if profile in self._of]


def kept_id(message_id: str) -> str:
    """A message id as it is kept with what an event has changed."""
    return message_id.replace("\x00", "\ufffd")[:_MESSAGE_ID_CHARACTERS_MAX]


def _age(trait: StoredTrait) -> tuple[bool, datetime, int]:
    return bool(trait.computation), trait.updated_at, trait.seq  # what is computed, no call replaces

"""The ids of persons who are deleted, and which events and texts are about them. Pure."""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import msgspec

ERASED: Final = "[deleted]"
"""What replaces an id of a deleted person in a text about others."""

# A shorter id, such as "7", may be anything in a text; it is recognized only where it is the value of an id.
_SEARCHED_CHARACTERS_MIN: Final = 6
_WORD: Final = re.compile(r"[^\s\"'`,;:()<>{}\[\]|\\=&?/#]+")
_SUBSTRINGS_MAX: Final = 100


class ErasedIds(msgspec.Struct, frozen=True, rename="camel", dict=True):
    """All ids of the subjects of one regulation.

    Attributes:
        emails: Lower-cased.
        others: Values of other types of external ids.
        profiles: Numbers of their profiles.
        foreign_user_ids: User ids of other persons that occur in events together with an email or anonymous id of a
            subject: such an event is theirs.
        foreign_emails: Likewise.
    """

    user_ids: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    anonymous_ids: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    profiles: frozenset[int] = frozenset()
    foreign_user_ids: frozenset[str] = frozenset()
    foreign_emails: frozenset[str] = frozenset()

    def owns(self, *, user_id: str | None, anonymous_id: str | None, email: str | None) -> bool:
        """Return whether an event with these ids is about a subject. The strongest id of another person wins."""
        if user_id is not None and user_id in self.user_ids:
            return True
        if user_id is not None and user_id in self.foreign_user_ids:
            return False
        if email is not None and email in self.emails:
            return True
        if email is not None and email in self.foreign_emails:
            return False
        return anonymous_id is not None and anonymous_id in self.anonymous_ids

    def has_former_id(self, previous_id: str | None) -> bool:
        """Return whether the previous id of an alias call is of a subject."""
        return previous_id is not None and (previous_id in self.user_ids or previous_id in self.anonymous_ids)

    def mentions(self, text: str) -> bool:
        """Return whether a text contains an id of a subject."""
        lowered = text.lower()
        if len(self._searched) <= _SUBSTRINGS_MAX:
            return any(value in lowered for value in self._searched)
        return not self._searched.isdisjoint(_words(lowered))

    def scrub(self, text: str) -> str:
        """Return a text with `ERASED` in the place of the ids of subjects."""
        if not self.mentions(text):
            return text
        values = self._searched
        if len(values) > _SUBSTRINGS_MAX:
            values = frozenset(values.intersection(_words(text.lower())))
        pattern = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
        return re.sub(pattern, ERASED, text, flags=re.IGNORECASE)

    @cached_property
    def _searched(self) -> frozenset[str]:
        values = {*self.user_ids, *self.emails, *self.anonymous_ids, *self.others}
        return frozenset(value.lower() for value in values if len(value) >= _SEARCHED_CHARACTERS_MIN)


def _words(text: str) -> Iterable[str]:
    for match in _WORD.finditer(text):
        word = match[0]
        yield word
        yield word.strip(".-_!*")

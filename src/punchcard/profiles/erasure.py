"""The ids of persons who are deleted, and which events and texts are about them. Pure."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

import msgspec

ERASED: Final = "[deleted]"
"""What replaces an id of a deleted person in a text about others."""

# A shorter id, such as "7", may be anything in a text; it is recognized only where it is the value of an id.
_SEARCHED_CHARACTERS_MIN: Final = 6
_SUBSTRINGS_MAX: Final = 100
_BEHIND_ESCAPE: Final = r"(?<=\\[bfnrt])|(?<=\\u[0-9a-f]{4})"  # the letters of an escape in JSON are no part of an id
# Where an id may begin: at a word, behind an escape too, and for ids such as "+43 664" at any other character.
_WORD: Final = re.compile(r"(\\(?:[bfnrt]|u[0-9a-f]{4}))?([^\W_]+)")
_BEGIN: Final = re.compile(rf"(?:(?<![^\W_])|{_BEHIND_ESCAPE})(?=\S)")


class ErasedIds(msgspec.Struct, frozen=True, rename="camel", dict=True):
    """All ids of the subjects of one regulation.

    Attributes:
        emails: Lower-cased.
        others: Values of other types of external ids.
        profiles: Numbers of their profiles.
        foreign_user_ids: User ids of other persons that occur in events together with an email or anonymous id of a
            subject: such an event is theirs.
        foreign_emails: Likewise.
        named_emails: Those that the regulation names: an event with one is theirs, whatever its user id. Of an email
            that a profile adds, such as the one that a shop gives all its guests, that is not known.
    """

    user_ids: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    anonymous_ids: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()
    profiles: frozenset[int] = frozenset()
    foreign_user_ids: frozenset[str] = frozenset()
    foreign_emails: frozenset[str] = frozenset()
    named_emails: frozenset[str] = frozenset()

    def owns(self, *, user_id: str | None, anonymous_id: str | None, email: str | None) -> bool:
        """Return whether an event with these ids is about a subject. The strongest id of another person wins."""
        if user_id is not None and user_id in self.user_ids:
            return True
        if email is not None and email in self.named_emails:
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
        """Return whether a text contains an id of a subject; not as a part of another person's, as in joann@acme.com.

        Args:
            text: Plain, or JSON.
        """
        lowered = text.lower()
        if len(self._searched) > _SUBSTRINGS_MAX:
            return next(self._values_in(lowered), None) is not None
        return any(value in lowered for value in self._searched) and self._pattern.search(lowered) is not None

    def scrub(self, text: str) -> str:
        """Return a text with `ERASED` in the place of the ids of subjects."""
        if not self.mentions(text):
            return text
        if len(self._searched) <= _SUBSTRINGS_MAX:
            return self._pattern.sub(ERASED, text)
        return _pattern_of(set(self._values_in(text.lower()))).sub(ERASED, text)

    def _values_in(self, lowered: str) -> Iterator[str]:
        """Yield the ids of subjects in a text: looked up by their first characters, because there may be thousands."""
        lengths = self._lengths
        for first in self._begins(lowered):
            for length in lengths.get(lowered[first : first + _SEARCHED_CHARACTERS_MIN], ()):
                value = lowered[first : first + length]
                if value in self._searched and re.compile(_pattern_of_value(value)).match(lowered, first):
                    yield value

    def _begins(self, lowered: str) -> Iterator[int]:
        if not self._begin_with_words:
            yield from (match.start() for match in _BEGIN.finditer(lowered))
            return
        for match in _WORD.finditer(lowered):
            yield match.start(2)
            if match[1]:
                yield match.start(1) + 1  # the backslash may be no part of an escape, as in C:\name

    @cached_property
    def _begin_with_words(self) -> bool:
        return all(value[0].isalnum() for value in self._searched)

    @cached_property
    def _lengths(self) -> Mapping[str, Collection[int]]:
        """The lengths of the ids by their first characters."""
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for value in self._searched:
            lengths[value[:_SEARCHED_CHARACTERS_MIN]].add(len(value))
        return lengths

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _pattern_of(self._searched)

    @property
    def searched_texts(self) -> frozenset[str]:
        """What is searched for in texts, lower-cased: plain, and as in JSON."""
        return self._searched

    @cached_property
    def _searched(self) -> frozenset[str]:
        values = {*self.user_ids, *self.emails, *self.anonymous_ids, *self.others}
        searched = [value for value in values if len(value) >= _SEARCHED_CHARACTERS_MIN]
        # JSON may have characters beyond ASCII as escapes.
        return frozenset(text.lower() for value in searched for text in (value, json.dumps(value)[1:-1]))


def _pattern_of(values: Iterable[str]) -> re.Pattern[str]:
    """Return what finds the values where no letter or digit continues them.

    Other separators may be part of what a system makes of an id: `order-ann@acme.com` names Ann. Only a dot and a plus
    belong to an address: mary.ann@acme.com and ann@acme.com.au are other persons.
    """
    by_length = sorted(values, key=len, reverse=True)
    return re.compile("|".join(map(_pattern_of_value, by_length)), re.IGNORECASE)


def _pattern_of_value(value: str) -> str:
    before, after = (
        (r"(?<![^\W_])(?<![.+])", r"(?![^\W_]|[.][^\W_])") if "@" in value else (r"(?<![^\W_])", r"(?![^\W_])")
    )
    return f"(?:{before}|{_BEHIND_ESCAPE}){re.escape(value)}{after}"

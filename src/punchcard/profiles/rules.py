"""The rules of identity resolution: which external ids count, how much, and how many of them a profile may have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple

USER_ID: Final = "user_id"
EMAIL: Final = "email"
ANONYMOUS_ID: Final = "anonymous_id"

MERGES_MAX: Final = 100
"""How many profiles one profile may take in."""

IDS_MAX: Final = 1_000
"""How many external ids one profile may have."""

PERIODS: Final[Mapping[str, timedelta | None]] = {
    "ever": None,
    "annually": timedelta(days=365),
    "monthly": timedelta(days=30),
    "weekly": timedelta(days=7),
}
"""For how long an id counts towards its type's limit, by the words that Segment has for it."""


class ExternalId(NamedTuple):
    """One external id, such as `("email", "ann@example.com")`."""

    type: str
    value: str


@dataclass(frozen=True, kw_only=True)
class IdentityRules:
    """How profiles are told apart; the defaults are Segment's.

    Attributes:
        priority: Types that come first, the strongest at the front; all others follow by alphabet.
        limits: How many ids of a type a profile may have.
        limit: The same for every other type.
        periods: For types whose ids count towards the limit only for a while after they came: a key of `PERIODS`.
        blocked: Values that are nobody's: exact ones, and patterns between slashes.
        properties: Further places of ids: type of id by path, such as `{"phone": "traits.phone"}`.
    """

    priority: tuple[str, ...] = (USER_ID, EMAIL)
    limits: dict[str, int] = field(default_factory=lambda: {USER_ID: 1})
    limit: int = 5
    periods: dict[str, str] = field(default_factory=dict)
    blocked: tuple[str, ...] = ("/^[0\\-]*$/", "-1", "null", "anonymous", "undefined")
    properties: dict[str, str] = field(default_factory=dict)

    def limit_of(self, type_: str) -> int:
        """How many ids of the type a profile may have."""
        return self.limits.get(type_, self.limit)

    def period_of(self, type_: str) -> timedelta | None:
        """For how long an id of the type counts towards its limit, None for ever."""
        return PERIODS[self.periods.get(type_, "ever")]

    def names_person(self, type_: str) -> bool:
        """True if an id of the type tells who somebody is, and not just which device or browser it was."""
        if type_ == ANONYMOUS_ID:
            return False
        return (
            type_ in (USER_ID, EMAIL) or type_.endswith(".idfa") or type_ in self.priority or type_ in self.properties
        )

    def rank(self, one: ExternalId) -> tuple[int, str, str]:
        """Sorts ids, the strongest first."""
        place = self.priority.index(one.type) if one.type in self.priority else len(self.priority)
        return (place, one.type, one.value)


class Blocklist:
    """Tells values that many people share, as rules name them."""

    def __init__(self, rules: IdentityRules) -> None:
        self._values = frozenset(one.lower() for one in rules.blocked if not is_pattern(one))
        self._patterns = [re.compile(one[1:-1], re.IGNORECASE) for one in rules.blocked if is_pattern(one)]

    def __contains__(self, value: str) -> bool:
        if value.lower() in self._values:
            return True
        for pattern in self._patterns:  # noqa: SIM110  # asked of every id of every event: a generator costs twice
            if pattern.search(value) is not None:
                return True
        return False


def is_pattern(text: str) -> bool:
    """True for a blocked value that stands for all that it matches."""
    return len(text) > 1 and text.startswith("/") and text.endswith("/")

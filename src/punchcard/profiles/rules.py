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
"""How many profiles may be merged into one."""

IDS_MAX: Final = 1_000
"""How many external ids one profile may have."""

PERIODS: Final[Mapping[str, timedelta | None]] = {
    "ever": None,
    "annually": timedelta(days=365),
    "monthly": timedelta(days=30),
    "weekly": timedelta(days=7),
}
"""How long an id counts towards the limit of its type, by Segment's names for it."""


class ExternalId(NamedTuple):
    """An external id, such as `("email", "ann@example.com")`."""

    type: str
    value: str


@dataclass(frozen=True, kw_only=True)
class IdentityRules:
    """How profiles are distinguished; the defaults are Segment's.

    Attributes:
        priority: The strongest types, the strongest first; all others follow alphabetically.
        limits: How many ids of a type a profile may have.
        limit: The same for every other type.
        periods: For types with ids that count towards the limit only for some time: a key of `PERIODS`.
        blocked: Placeholder values that identify nobody: exact ones, and patterns between slashes.
        properties: Additional places of ids: type of id by path, such as `{"phone": "traits.phone"}`.
    """

    priority: tuple[str, ...] = (USER_ID, EMAIL)
    limits: dict[str, int] = field(default_factory=lambda: {USER_ID: 1})
    limit: int = 5
    periods: dict[str, str] = field(default_factory=dict)
    blocked: tuple[str, ...] = ("/^[0\\-]*$/", "-1", "null", "anonymous", "undefined")
    properties: dict[str, str] = field(default_factory=dict)

    def limit_of(self, type_: str) -> int:
        """Return how many ids of the type a profile may have."""
        return self.limits.get(type_, self.limit)

    def period_of(self, type_: str) -> timedelta | None:
        """Return how long an id of the type counts towards its limit, None for ever."""
        return PERIODS[self.periods.get(type_, "ever")]

    def names_person(self, type_: str) -> bool:
        """Return whether an id of the type identifies a person, and not only a device or browser."""
        if type_ == ANONYMOUS_ID:
            return False
        return (
            type_ in (USER_ID, EMAIL) or type_.endswith(".idfa") or type_ in self.priority or type_ in self.properties
        )

    def rank(self, external_id: ExternalId) -> tuple[int, str, str]:
        """Return the sort key of an id; the strongest sorts first."""
        place = self.priority.index(external_id.type) if external_id.type in self.priority else len(self.priority)
        return (place, external_id.type, external_id.value)


class Blocklist:
    """The blocked values of the rules, which identify nobody."""

    def __init__(self, rules: IdentityRules) -> None:
        self._values = frozenset(value.lower() for value in rules.blocked if not is_pattern(value))
        self._patterns = [re.compile(value[1:-1], re.IGNORECASE) for value in rules.blocked if is_pattern(value)]

    def __contains__(self, value: str) -> bool:
        if value.lower() in self._values:
            return True
        for pattern in self._patterns:  # noqa: SIM110  # runs for every id of every event: a generator takes twice as long
            if pattern.search(value) is not None:
                return True
        return False


def is_pattern(text: str) -> bool:
    """Return whether a blocked value is a pattern."""
    return len(text) > 1 and text.startswith("/") and text.endswith("/")

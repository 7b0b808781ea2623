"""The rules of identity resolution: which external ids count, how much, and how many of them a profile may have."""

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

USER_ID: Final = "user_id"
EMAIL: Final = "email"
ANONYMOUS_ID: Final = "anonymous_id"

MERGES_MAX: Final = 100
"""How many profiles one profile may take in."""

IDS_MAX: Final = 1_000
"""How many external ids one profile may have."""


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
        blocked: Values that are nobody's: exact ones, and patterns between slashes.
        properties: Further places of ids: type of id by path, such as `{"phone": "traits.phone"}`.
    """

    priority: tuple[str, ...] = (USER_ID, EMAIL)
    limits: dict[str, int] = field(default_factory=lambda: {USER_ID: 1})
    limit: int = 5
    blocked: tuple[str, ...] = ("/^[0\\-]*$/", "-1", "null", "anonymous", "undefined")
    properties: dict[str, str] = field(default_factory=dict)

    def limit_of(self, type_: str) -> int:
        """How many ids of the type a profile may have."""
        return self.limits.get(type_, self.limit)

    def rank(self, one: ExternalId) -> tuple[int, str, str]:
        """Sorts ids, the strongest first."""
        place = self.priority.index(one.type) if one.type in self.priority else len(self.priority)
        return (place, one.type, one.value)


class Blocklist:
    """Tells values that many people share, as rules name them."""

    def __init__(self, rules: IdentityRules) -> None:
        self._values = frozenset(one for one in rules.blocked if not _is_pattern(one))
        patterns = [f"(?:{one[1:-1]})" for one in rules.blocked if _is_pattern(one)]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __contains__(self, value: str) -> bool:
        lowered = value.lower()
        return lowered in self._values or (self._pattern is not None and self._pattern.search(lowered) is not None)


def _is_pattern(text: str) -> bool:
    return len(text) > 1 and text.startswith("/") and text.endswith("/")

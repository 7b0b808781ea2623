"""Validation of the identity rules of a workspace."""

import re
from collections.abc import Iterator

from punchcard.profiles.rules import ANONYMOUS_ID, IDS_MAX, PERIODS, USER_ID, IdentityRules, is_pattern
from punchcard.workspace.problems import KeyPath, Problem

_TYPE = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*")
_TYPE_CHARACTERS_MAX = 64
_SECTIONS = ("traits", "properties", "context")


def identity_problems(rules: IdentityRules) -> Iterator[Problem]:
    """Yield the problems of the identity rules."""
    for type_ in rules.priority:
        yield from _type_problems(("identity", "priority"), type_)
        if rules.priority.count(type_) > 1:
            yield Problem(path=("identity", "priority"), message=f'"{type_}" is listed twice.')
    for type_, limit in rules.limits.items():
        path: KeyPath = ("identity", "limits", type_)
        yield from _type_problems(path, type_)
        yield from _limit_problems(path, limit)
    yield from _limit_problems(("identity", "limit"), rules.limit)
    for type_, period in rules.periods.items():
        path = ("identity", "periods", type_)
        yield from _type_problems(path, type_)
        if period not in PERIODS:
            yield Problem(path=path, message=f'"{period}" is not a period. Use one of {", ".join(PERIODS)}.')
    yield from _blocked_problems(rules.blocked)
    for type_, field_path in rules.properties.items():
        path = ("identity", "properties", type_)
        yield from _type_problems(path, type_)
        if type_ in (USER_ID, ANONYMOUS_ID):
            yield Problem(path=path, message=f"{type_} is always read from the event itself and cannot be mapped.")
        section, *inner = field_path.split(".")
        if section not in _SECTIONS or not inner or not all(inner):
            message = (
                f'"{field_path}" is not a field of an event. Use, for example, "traits.phone" or "properties.memberId".'
            )
            yield Problem(path=path, message=message)


def _type_problems(path: KeyPath, type_: str) -> Iterator[Problem]:
    if not _TYPE.fullmatch(type_) or len(type_) > _TYPE_CHARACTERS_MAX:
        message = f'"{type_}" is not an identifier type. Use lower-case letters, digits and _, such as "member_id".'
        yield Problem(path=path, message=message)


def _limit_problems(path: KeyPath, limit: int) -> Iterator[Problem]:
    if not 1 <= limit <= IDS_MAX:
        yield Problem(path=path, message=f"Must be between 1 and {IDS_MAX}, is {limit}.")


def _blocked_problems(blocked: tuple[str, ...]) -> Iterator[Problem]:
    for index, value in enumerate(blocked):
        path: KeyPath = ("identity", "blocked", index)
        if not value.strip():
            yield Problem(path=path, message="Must not be empty.")
        elif is_pattern(value):
            try:
                re.compile(value[1:-1])
            except re.error as error:
                yield Problem(path=path, message=f"{value} is not a regular expression: {error}.")

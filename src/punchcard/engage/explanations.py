"""Explain why one person is, or is not, a member of an audience: which conditions they meet, and by which values."""

from collections.abc import Iterator
from typing import cast
from zoneinfo import ZoneInfo

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.computations.model import (
    COUNTING,
    And,
    Comparison,
    Condition,
    Events,
    Not,
    Or,
    Trait,
    beginning_at,
)
from punchcard.computations.parser import parse_audience
from punchcard.computations.printer import to_text
from punchcard.computations.sql import ComputationQuery, statement, value_json
from punchcard.engage.facts import Facts
from punchcard.engage.request_errors import describe_error
from punchcard.errors import StorageError


class ExplanationRequest(msgspec.Struct, frozen=True):
    """An audience and the person to explain it for.

    Attributes:
        definition: Text of the definition.
        since: Earlier events do not count, microseconds since 1970; 0 for all events.
    """

    definition: str
    profile_id: int
    include_anonymous: bool = False
    since: int = 0


class ExplainedCondition(msgspec.Struct, frozen=True):
    """A condition of an audience, for one person.

    Attributes:
        text: In the query language; "All of", "Any of" and "Not" for what joins the conditions below it.
        depth: 0 for the definition itself.
        is_met: Whether it is true of the person now.
        value: JSON text of what it compares, "" for none.
    """

    text: str
    depth: int
    is_met: bool
    value: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """Why a person is, or is not, a member.

    Attributes:
        is_member: By the definition, now.
        is_left_out: True if only anonymous ids lead to the person, and the audience leaves such people out.
        conditions: The definition, then the conditions that it joins, in their order.
        error: Why there is no result, "" if there is one.
    """

    is_member: bool = False
    is_left_out: bool = False
    conditions: tuple[ExplainedCondition, ...] = ()
    error: str = ""


def explain(facts: Facts, body: str, *, clock: Clock, zone: ZoneInfo) -> Explanation:
    """Compute each condition of a requested audience for one person.

    Args:
        body: An `ExplanationRequest` as JSON.
        zone: Time zone in which days begin and end.

    Raises:
        StorageError: The facts cannot be read.
    """
    try:
        request = msgspec.json.decode(body, type=ExplanationRequest)
        definition: Condition = parse_audience(request.definition)
        if request.since:
            definition = cast("Condition", beginning_at(definition, request.since))
        return _explain(facts, definition, request, now=to_micros(clock.now()), zone=zone)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  # any error of DuckDB is the result of this request
        return Explanation(error=describe_error(error))


def _explain(
    facts: Facts, definition: Condition, request: ExplanationRequest, *, now: int, zone: ZoneInfo
) -> Explanation:
    profile = request.profile_id
    parts = list(_parts(definition, depth=0))
    events = [part.left for part, _ in parts if isinstance(part, Comparison) and isinstance(part.left, Events)]
    computed = [*(part for part, _ in parts), *events]
    queries = [ComputationQuery(definition=part, includes_anonymous=True) for part in computed]
    facts.touch([profile])
    sql = statement(queries, now=now, zone=zone, only_touched=True)
    columns = ", ".join(value_json(part, f"c{number}") for number, part in enumerate(computed))
    # Nobody has a row who meets no condition and has no value.
    row = next(iter(facts.rows(f"SELECT {columns} FROM ({sql}) AS results")), (None,) * len(computed))
    values = iter(row[len(parts) :])
    conditions = []
    for (part, depth), result in zip(parts, row, strict=False):
        value = ""
        if isinstance(part, Comparison) and isinstance(part.left, Events):
            value = next(values) or ("0" if part.left.reducer in COUNTING else "")
        elif isinstance(part, Comparison) and isinstance(part.left, Trait):
            value = _trait(facts, profile, part.left.name)
        conditions.append(ExplainedCondition(_shown(part), depth, result is not None, value))
    is_known = any(known for (known,) in facts.rows("SELECT known FROM people WHERE profile = ?", profile))
    is_left_out = not is_known and not request.include_anonymous
    return Explanation(
        is_member=conditions[0].is_met and not is_left_out, is_left_out=is_left_out, conditions=tuple(conditions)
    )


def _parts(part: Condition, *, depth: int) -> Iterator[tuple[Condition, int]]:
    """Yield a condition and all that it joins, with their depths."""
    yield part, depth
    match part:
        case And() | Or():
            for condition in part.conditions:
                yield from _parts(condition, depth=depth + 1)
        case Not():
            yield from _parts(part.condition, depth=depth + 1)


def _shown(part: Condition) -> str:
    match part:
        case And():
            return "All of"
        case Or():
            return "Any of"
        case Not():
            return "Not"
        case _:
            return to_text(part)


def _trait(facts: Facts, profile: int, key: str) -> str:
    rows = facts.rows("SELECT json FROM traits WHERE profile = ? AND name = ?", profile, key)
    return next((value for (value,) in rows if value != "null"), "")

"""Count how many people meet each step of an audience's funnel."""

from zoneinfo import ZoneInfo

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.computations.funnels import split_into_funnel
from punchcard.computations.model import beginning_at
from punchcard.computations.parser import parse_audience
from punchcard.computations.sql import ComputationQuery, statement
from punchcard.engage.facts import Facts
from punchcard.engage.request_errors import describe_error
from punchcard.errors import PunchcardError, StorageError

TIME_LIMIT_SECONDS = 5.0
"""Audiences wait for a funnel at most this long."""


class FunnelRequest(msgspec.Struct, frozen=True):
    """An audience with a funnel to count.

    Attributes:
        definition: Text of the definition.
        since: Earlier events do not count, microseconds since 1970; 0 for all events.
    """

    definition: str
    include_anonymous: bool = False
    since: int = 0


class FunnelCounts(msgspec.Struct, frozen=True):
    """The people in each step of a funnel.

    Attributes:
        people: One number for each step, in order; empty if the definition has no funnel.
        seconds: Duration of the computation.
        error: Why there is no result, "" if there is one.
    """

    people: tuple[int, ...] = ()
    seconds: float = 0.0
    error: str = ""


def count_funnel(
    facts: Facts, body: str, *, clock: Clock, zone: ZoneInfo, time_limit_seconds: float = TIME_LIMIT_SECONDS
) -> FunnelCounts:
    """Count the steps of a requested funnel on the facts.

    Args:
        body: A `FunnelRequest` as JSON.
        zone: Time zone in which days begin and end.

    Raises:
        StorageError: The facts cannot be read.
    """
    import duckdb

    begun = clock.monotonic()
    try:
        request = msgspec.json.decode(body, type=FunnelRequest)
        funnel = split_into_funnel(beginning_at(parse_audience(request.definition), request.since))
        if funnel is None:
            return FunnelCounts()
        queries = [
            ComputationQuery(definition=step.condition, includes_anonymous=request.include_anonymous)
            for step in funnel.steps
        ]
        results = statement(queries, now=to_micros(clock.now()), zone=zone)
        columns = ", ".join(f"count(*) FILTER (c{number})" for number in range(len(queries)))
        people = facts.totals(f"SELECT {columns} FROM ({results})", seconds_max=time_limit_seconds)
    except StorageError:
        raise
    except (PunchcardError, msgspec.ValidationError, duckdb.Error) as error:
        return FunnelCounts(error=describe_error(error))
    return FunnelCounts(people=people, seconds=clock.monotonic() - begun)

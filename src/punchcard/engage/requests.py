"""Process the requests of App, API and command line to Engage: whom a definition matches, funnels, and explanations."""

import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.sql import ComputationQuery, statement, value_json
from punchcard.engage.demand import request_engage
from punchcard.engage.explanations import Explanation, ExplanationRequest, explain
from punchcard.engage.facts import Facts
from punchcard.engage.funnel_counts import FunnelCounts, FunnelRequest, count_funnel
from punchcard.engage.reach import Reach, measure_reach
from punchcard.engage.request_errors import describe_error
from punchcard.engage.warnings import FactNames, find_warnings
from punchcard.errors import StorageError
from punchcard.store.engage import engage_tables
from punchcard.store.engage.engage_tables import Request
from punchcard.store.engage.profiles import ids_of
from punchcard.store.engine import Store

PREVIEW = "preview"
FUNNEL = "funnel"
EXPLANATION = "explanation"
SAMPLES = 10
_RETENTION = timedelta(minutes=10)
_WAIT_SECONDS = 15.0
_POLL_SECONDS = 0.05


class PreviewRequest(msgspec.Struct, frozen=True):
    """A definition to preview.

    Attributes:
        kind: `audience` or `computed_trait`.
        definition: Text of the definition.
        key: Key of the computation that it is to replace, "" for a new one.
        measures_reach: True to compare with stored values, other audiences and emails.
    """

    kind: str
    definition: str
    include_anonymous: bool = False
    key: str = ""
    measures_reach: bool = False


class Sample(msgspec.Struct, frozen=True):
    """A person whom a definition matches.

    Attributes:
        value: JSON text: `true` for a member.
        ids: External ids, type and value.
    """

    profile_id: int
    value: str
    ids: tuple[tuple[str, str], ...]


class Preview(msgspec.Struct, frozen=True):
    """The people that a definition matches now.

    Attributes:
        count: Number of matching people.
        people: Number of all people.
        samples: Some of the matching people.
        warnings: Possible mistakes in the definition: events, properties and traits that nobody has.
        seconds: Duration of the computation.
        error: Why there is no result, "" if there is one.
        reach: Whom it concerns; empty unless it was requested.
    """

    count: int = 0
    people: int = 0
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""
    reach: Reach = Reach()


class NoResultError(StorageError):
    """Engage does not respond: it is not running, or is catching up with many events."""

    code = "engage_away"


def request_preview(
    store: Store, request: PreviewRequest, *, clock: Clock, sleep: Callable[[float], None] = time.sleep
) -> Preview:
    """Request the preview of a definition and wait for it.

    Raises:
        DefinitionError: The definition cannot be read.
        NoResultError: Engage does not respond.
        StorageError: The store is not available.
    """
    (parse_audience if request.kind == "audience" else parse_trait)(request.definition)
    return msgspec.json.decode(_request_result(store, PREVIEW, request, clock=clock, sleep=sleep), type=Preview)


def request_funnel(store: Store, request: FunnelRequest, *, clock: Clock) -> FunnelCounts:
    """Request the counts of a funnel and wait for them.

    Raises:
        NoResultError: Engage does not respond.
        StorageError: The store is not available.
    """
    return msgspec.json.decode(
        _request_result(store, FUNNEL, request, clock=clock, sleep=time.sleep), type=FunnelCounts
    )


def request_explanation(
    store: Store, request: ExplanationRequest, *, clock: Clock, sleep: Callable[[float], None] = time.sleep
) -> Explanation:
    """Request the explanation of a membership and wait for it.

    Raises:
        NoResultError: Engage does not respond.
        StorageError: The store is not available.
    """
    return msgspec.json.decode(_request_result(store, EXPLANATION, request, clock=clock, sleep=sleep), type=Explanation)


def _request_result(
    store: Store, kind: str, request: msgspec.Struct, *, clock: Clock, sleep: Callable[[float], None]
) -> str:
    """Add a request, wait for its result, and return it as JSON."""
    request_id = secrets.token_hex(16)
    body = msgspec.json.encode(request).decode()
    request_engage(store)
    with store.unit_of_work() as work:
        engage_tables.add_request(work, Request(id=request_id, kind=kind, body=body), at=clock.now())
    for _ in range(int(_WAIT_SECONDS / _POLL_SECONDS)):  # of real time, not of the clock: another process responds
        with store.reading() as work:
            text = engage_tables.result_of(work, request_id)
        if text is not None:
            return text
        sleep(_POLL_SECONDS)
    raise NoResultError(
        "Engage does not respond. Check that it runs beside the worker (`punchcard up` or `punchcard worker`); after a "
        "start it first processes past events."
    )


def process_requests(store: Store, facts: Facts, *, clock: Clock, zone: ZoneInfo) -> int:
    """Process the open requests; returns their number.

    Args:
        zone: Time zone in which days begin and end.

    Raises:
        StorageError: Store or facts failed.
    """
    with store.reading() as work:
        open_requests = engage_tables.open_requests(work)
    for request in open_requests:
        result: Preview | FunnelCounts | Explanation
        if request.kind == FUNNEL:
            result = count_funnel(facts, request.body, clock=clock, zone=zone)
        elif request.kind == EXPLANATION:
            result = explain(facts, request.body, clock=clock, zone=zone)
        else:
            result = preview(store, facts, request.body, clock=clock, zone=zone)
        with store.unit_of_work() as work:
            engage_tables.save_result(work, request.id, msgspec.json.encode(result).decode())
            engage_tables.forget_requests(work, before=clock.now() - _RETENTION)
    return len(open_requests)


def preview(store: Store, facts: Facts, body: str, *, clock: Clock, zone: ZoneInfo) -> Preview:
    """Compute the preview of a definition on the facts."""
    begun = clock.monotonic()
    try:
        request = msgspec.json.decode(body, type=PreviewRequest)
        read = parse_audience if request.kind == "audience" else parse_trait
        definition: Any = read(request.definition)
        query = ComputationQuery(definition=definition, includes_anonymous=request.include_anonymous)
        results = statement([query], now=to_micros(clock.now()), zone=zone)
        facts.run("CREATE OR REPLACE TEMP TABLE preview AS " + results)
        value = value_json(definition, "c0")
        (count,) = facts.totals("SELECT count(*) FROM preview")
        (people,) = facts.totals("SELECT count(*) FROM people")
        warnings = tuple(find_warnings(FactNames(facts), definition))
        reach = measure_reach(store, facts, key=request.key, value=value) if request.measures_reach else Reach()
        newest = facts.rows(f"SELECT profile, {value} FROM preview ORDER BY profile DESC LIMIT {SAMPLES}")
        rows = sorted(newest, reverse=True)[:SAMPLES]
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  # any error of DuckDB is the result of this request
        return Preview(error=describe_error(error))
    with store.reading() as work:
        ids = ids_of(work, [row[0] for row in rows])
    samples = tuple(Sample(profile, value, tuple(sorted(ids[profile]))) for profile, value in rows)
    seconds = clock.monotonic() - begun
    return Preview(count=count, people=people, samples=samples, warnings=warnings, seconds=seconds, reach=reach)

"""Answers what App, API and command line ask of Engage: how many people a definition would hold, and who."""

import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.computations.errors import DefinitionError
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.sql import ComputationQuery, statement, value_json
from punchcard.engage.fact_store import FactStore
from punchcard.engage.warnings import FactNames, find_warnings
from punchcard.errors import PunchcardError, StorageError
from punchcard.store import engage_tables
from punchcard.store.engage_tables import Request
from punchcard.store.engine import Store
from punchcard.store.profiles import ids_of

PREVIEW = "preview"
SAMPLES = 10
_KEPT = timedelta(minutes=10)
_WAIT_SECONDS = 15.0
_POLL_SECONDS = 0.05


class PreviewRequest(msgspec.Struct, frozen=True):
    """A definition to be tried.

    Attributes:
        kind: `audience` or `computed_trait`.
        definition: Its text.
    """

    kind: str
    definition: str
    include_anonymous: bool = False


class Sample(msgspec.Struct, frozen=True):
    """Somebody whom a definition holds.

    Attributes:
        value: JSON text: `true` for a member.
        ids: External ids, type and value.
    """

    profile_id: int
    value: str
    ids: tuple[tuple[str, str], ...]


class Preview(msgspec.Struct, frozen=True):
    """What a definition would hold now.

    Attributes:
        count: How many people.
        people: How many there are in all.
        samples: Some of them.
        warnings: What in it may be a mistake: events, properties and traits that nobody has.
        seconds: How long it took.
        error: Why there is no answer, "" if there is.
    """

    count: int = 0
    people: int = 0
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


class NoResultError(StorageError):
    """Engage does not answer: it is not running, or catching up with many events."""

    code = "engage_away"


def ask_preview(
    store: Store, request: PreviewRequest, *, clock: Clock, sleep: Callable[[float], None] = time.sleep
) -> Preview:
    """Try a definition on everybody.

    Raises:
        DefinitionError: it cannot be read.
        NoResultError: Engage does not answer.
        StorageError: the store is away.
    """
    (parse_audience if request.kind == "audience" else parse_trait)(request.definition)
    request_id = secrets.token_hex(16)
    body = msgspec.json.encode(request).decode()
    with store.unit_of_work() as work:
        engage_tables.ask(work, Request(id=request_id, kind=PREVIEW, body=body), at=clock.now())
    for _ in range(int(_WAIT_SECONDS / _POLL_SECONDS)):  # of real time, whatever the clock: another process answers
        with store.reading() as work:
            text = engage_tables.answer_of(work, request_id)
        if text is not None:
            return msgspec.json.decode(text, type=Preview)
        sleep(_POLL_SECONDS)
    raise NoResultError(
        "Engage does not answer: it runs beside the worker (`punchcard up` or `punchcard worker`), and after a start "
        "it first takes in the events of before"
    )


def answer_requests(store: Store, facts: FactStore, *, clock: Clock, zone: ZoneInfo) -> int:
    """Answer what is asked; returns how much it was.

    Args:
        zone: In which a day begins and ends.

    Raises:
        StorageError: store or facts failed.
    """
    with store.reading() as work:
        waiting = engage_tables.open_requests(work)
    for waiting_request in waiting:
        answer = preview(store, facts, waiting_request.body, clock=clock, zone=zone)
        with store.unit_of_work() as work:
            engage_tables.answer(work, waiting_request.id, msgspec.json.encode(answer).decode())
            engage_tables.forget_requests(work, before=clock.now() - _KEPT)
    return len(waiting)


def preview(store: Store, facts: FactStore, body: str, *, clock: Clock, zone: ZoneInfo) -> Preview:
    """Try a definition on the facts."""
    begun = clock.monotonic()
    try:
        request = msgspec.json.decode(body, type=PreviewRequest)
        read = parse_audience if request.kind == "audience" else parse_trait
        definition: Any = read(request.definition)
        query = ComputationQuery(definition=definition, includes_anonymous=request.include_anonymous)
        answers = statement([query], now=to_micros(clock.now()), zone=zone)
        facts.run("CREATE OR REPLACE TEMP TABLE tried AS " + answers)
        value = value_json(definition, "c0")
        count = int(facts.rows("SELECT count(*) FROM tried")[0][0])
        people = int(facts.rows("SELECT count(*) FROM people")[0][0])
        warnings = tuple(find_warnings(FactNames(facts), definition))
        rows = facts.rows(f"SELECT profile, {value} FROM tried ORDER BY profile DESC LIMIT {SAMPLES}")
    except StorageError:
        raise
    except (DefinitionError, msgspec.ValidationError) as error:
        return Preview(error=str(error))
    except PunchcardError as error:
        return Preview(error=error.message)
    except Exception as error:  # noqa: BLE001  # whatever DuckDB makes of one definition, it is the asker's answer
        return Preview(error=str(error)[:500])
    with store.reading() as work:
        ids = ids_of(work, [row[0] for row in rows])
    samples = tuple(Sample(profile, value, tuple(sorted(ids[profile]))) for profile, value in rows)
    return Preview(count=count, people=people, samples=samples, warnings=warnings, seconds=clock.monotonic() - begun)

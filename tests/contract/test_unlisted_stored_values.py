"""A stored state, reason, kind or role that this version does not list is shown as it is: no page and no call fails."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Boolean, Connection, Integer, LargeBinary, Table, insert, select, update

from punchcard.lake.reader import LakeResult
from punchcard.store.access.token_store import create_token
from punchcard.store.routing.event_results import decode_batch, encode_batch
from punchcard.store.routing.schema import result_batches
from punchcard.store.schema import Instant, metadata
from punchcard.testing.engage_samples import add_computation
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.traces.trace import result_trace

RAW = "zz_unlisted"
CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "sandbox-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"

[[audiences]]
key = "regulars"
name = "Regulars"
definition = "event('Checked In').count() >= 1"
destinations = ["perkville"]
"""
PAGES = [
    "/",
    "/audiences",
    "/audiences/regulars",
    "/customers",
    "/customers/ann",
    "/customers/ann@example.com",
    "/destinations",
    "/destinations/perkville",
    "/destinations/perkville/map",
    "/destinations/perkville/settings",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/events",
    "/events/hello",
    "/settings/audit",
    "/settings/team",
    "/settings/tokens",
    "/sources",
    "/sources/website",
    "/sources/website/debugger",
    "/sources/website/schema",
]
CALLS = [
    "/api/spaces/spa_punchcard/audiences",
    "/api/spaces/spa_punchcard/audiences/regulars",
    "/api/sources/website/rejected-requests",
    "/api/destinations/perkville/pipeline?startTime=2025-12-01T00:00:00Z&endTime=2026-02-01T00:00:00Z",
    "/api/audit-events",
    "/api/destinations",
    "/api/destinations/perkville",
    "/api/destinations/perkville/transactions",
    "/api/events/hello",
    "/api/sources",
    "/api/tokens",
]
COLUMNS = {
    "recoveries.reason": "/",
    "destination_pauses.reason": "",
    "destination_pauses.ended_by": "",
    "effects.state": "/destinations/perkville/transactions",
    "effects.reason": "/destinations/perkville/transactions",
    "effects.kind": "",
    "delivery_attempts.action": "/events/hello",
    "delivery_attempts.outcome": "/events/hello",
    "computation_states.status": "/audiences",
    "computation_states.kind": "",
    "audit_events.kind": "/settings/audit",
    "audit_events.resource_type": "/settings/audit",
    "quarantined_records.reason": "/",
    "held_events.reason": "",
    "rejected_requests.reason": "/sources/website",
    "result_counts.status": "",
    "result_counts.reason": "",
    "api_tokens.role": "/settings/tokens",
    "operators.role": "/settings/team",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def _add_row(work: Connection, table: Table, values: Mapping[str, object], *, now: datetime) -> None:
    """Insert a row: what is not given and cannot be null gets some value of its type."""
    row = dict(values)
    for column in table.c:
        if column.name in row or column.nullable or (column.primary_key and column.autoincrement is True):
            continue
        fillers = ((Instant, now), (Boolean, True), (Integer, 1), (BigInteger, 1), (LargeBinary, b"{}"))
        row[column.name] = next((filler for type_, filler in fillers if isinstance(column.type, type_)), "x")
    work.execute(insert(table).values(row))


def _fill(world: PublicApiServer) -> None:
    """One row at least in each of the tables."""
    world.send({"userId": "ann", "email": "ann@example.com", "event": "Checked In", "messageId": "hello"})
    world.route()
    world.deliver()
    world.feed_lake()
    world.engage()
    now = world.clock.now()
    rows: dict[str, dict[str, object]] = {
        "recoveries": {"noticed_at": now, "reason": "declared"},
        "destination_pauses": {"destination": "perkville", "ended_at": now, "ended_by": "check"},
        "quarantined_records": {"quarantined_at": now},
        "held_events": {"destination": "perkville"},
        "held_records": {},
        "rejected_requests": {"source": "website"},
        "operators": {"email": "other@acme.example", "role": "owner", "name": "other", "password": "!"},
    }
    with world.store.unit_of_work() as work:
        add_computation(work, "regulars", size=1, now=now)
        create_token(work, "other", clock=world.clock)
        for name, values in rows.items():
            _add_row(work, metadata.tables[name], values, now=now)


@pytest.mark.sample(5)
@pytest.mark.parametrize("column", sorted(COLUMNS))
def test_a_stored_value_that_is_not_listed_is_shown_as_it_is(world: PublicApiServer, column: str) -> None:
    """Every page and call answers, and the page that shows the column shows the raw value."""
    _fill(world)
    owner = FormBrowser(world)
    assert owner.sign_in("owner@acme.example").status == 303
    table, name = column.split(".")
    changed = update(metadata.tables[table]).values({name: RAW})
    if table == "result_counts":
        changed = changed.where(metadata.tables[table].c.status == "delivered")  # each row has a key of its own
    if name == "role":
        changed = changed.where(metadata.tables[table].c.name == "other")  # the one who looks keeps their role
    with world.store.unit_of_work() as work:
        assert work.execute(changed).rowcount
    pages = {path: owner.get(path) for path in PAGES}
    assert {path: page.status for path, page in pages.items() if page.status != 200} == {}
    calls = {path: world.request("GET", path) for path in CALLS}
    assert {path: (call.status, call.body) for path, call in calls.items() if call.status != 200} == {}
    if shown := COLUMNS[column]:
        assert re.search(r"zz.unlisted", pages[shown].text, re.IGNORECASE), pages[shown].text


def test_a_result_that_is_not_listed_is_shown_before_and_after_the_lake_has_it(world: PublicApiServer) -> None:
    """Traces read kept results from the store, and later from the lake."""
    owner = FormBrowser(world)
    assert owner.sign_in("owner@acme.example").status == 303
    world.send({"userId": "ann", "event": "Unmapped", "messageId": "hello"})
    world.route()
    with world.store.unit_of_work() as work:
        (batch,) = [decode_batch(row.body) for row in work.execute(select(result_batches))]
        body = encode_batch(batch).replace(b"\xa7refused", b"\xa7zzother")
        work.execute(update(result_batches).values(body=body))
    for path in ("/events", "/events/hello"):
        page = owner.get(path)
        assert page.status == 200
        assert "Zzother" in page.text
    assert b'"zzother"' in world.request("GET", "/api/events/hello").body
    from_lake = result_trace(LakeResult("perkville", "zzother"), {}, None)
    assert from_lake.status == "zzother"


def test_an_effect_of_a_kind_that_is_not_listed_is_parked_and_the_others_are_delivered(world: PublicApiServer) -> None:
    """It must neither be sent as something else nor stop the loop."""
    for person in ("ann", "bea"):
        world.send({"userId": person, "email": f"{person}@example.com", "event": "Checked In", "messageId": person})
    world.route()
    effects = metadata.tables["effects"]
    with world.store.unit_of_work() as work:
        work.execute(update(effects).where(effects.c.message_id == "ann").values(kind=RAW))
    world.deliver(rounds=2)
    with world.store.reading() as work:
        states = {row.message_id: (row.state, row.reason) for row in work.execute(select(effects))}
    assert states == {"ann": ("parked", "preparation_failed"), "bea": ("delivered", None)}

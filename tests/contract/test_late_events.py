"""Lists of events hold what the log has and the lake lacks, and read only the events that may be in them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from punchcard.lake.conditions import Value
from punchcard.lake.data_file import DataFile
from punchcard.lake.lake_queries import LakeQueries
from punchcard.lake.listing import EventQuery
from punchcard.log.port import LogRecord
from punchcard.routing.records import Item
from punchcard.testing.public_api import PublicApiServer
from punchcard.traces import tail
from punchcard.traces.customer_events import CustomerIds
from punchcard.traces.event_matching import record_may_hold

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "pos"
write_key = "wk_pos"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "pos"]
[destinations.settings]
apiKey = "token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def event(number: int, name: str = "Checked In", email: str = "ann@example.com") -> dict[str, object]:
    return {
        "type": "track",
        "event": name,
        "userId": "ann",
        "messageId": f"m-{number}",
        "properties": {"email": email},
    }


def ids(world: PublicApiServer, query: EventQuery) -> list[str]:
    return [seen.event.message_id for seen in world.browser.page(query, limit=50).events]


def fill(world: PublicApiServer) -> None:
    batch = [event(1), event(2, email="nonsense"), event(3, "Locker Opened"), event(4)]
    world.send({"batch": batch}, call="batch")
    world.send(event(5, "Locker Opened"), write_key="wk_pos")
    world.route()


def record_of(body: bytes) -> LogRecord:
    return LogRecord(0, "wk_website", "track", "identity", body, "", 1)


def test_a_list_by_result_holds_the_events_of_a_record_that_have_it(world: PublicApiServer) -> None:
    fill(world)
    late = {
        reason: ids(world, EventQuery(status="refused", destination="perkville", reason=reason))
        for reason in ("invalid_email", "not_allowlisted", "missing_email")
    }
    assert late == {"invalid_email": ["m-2"], "not_allowlisted": ["m-5", "m-3"], "missing_email": []}
    assert ids(world, EventQuery(status="refused", source="website")) == ["m-3", "m-2"]
    assert ids(world, EventQuery(source="pos")) == ["m-5"]
    world.feed_lake()
    assert ids(world, EventQuery(status="refused", source="website")) == ["m-3", "m-2"]


def test_events_with_other_results_are_not_read(world: PublicApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    read: list[str] = []
    see = tail._seen

    def noting(item: Item, *others: object) -> object:
        read.append(item.message_id)
        return see(item, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(tail, "_seen", noting)
    assert ids(world, EventQuery(status="refused", reason="invalid_email")) == ["m-2"]
    assert read == ["m-2"]


def test_an_event_that_waits_for_routing_is_listed_under_the_source_of_its_write_key(world: PublicApiServer) -> None:
    world.send(event(1))
    world.send(event(2), write_key="wk_pos")
    assert (
        ids(world, EventQuery(source="website")),
        ids(world, EventQuery(source="pos")),
        ids(world, EventQuery()),
    ) == (["m-1"], ["m-2"], ["m-2", "m-1"])


def test_the_late_events_of_a_customer_are_read_once(world: PublicApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    read: list[int] = []
    between = tail.Tail._between

    def noting(self: tail.Tail, after: int, last: int) -> list[LogRecord]:
        read.extend(range(after + 1, last + 1))
        return between(self, after, last)

    monkeypatch.setattr(tail.Tail, "_between", noting)
    known = CustomerIds(emails=["ann@example.com"], user_ids=["ann"])
    customer = world.browser.find_customer("ann@example.com", known=known, limit=10)
    events = world.browser.events_of(customer.ids, limit=10, late=customer.late).events
    assert [seen.event.message_id for seen in events] == ["m-5", "m-4", "m-3", "m-2", "m-1"]
    assert sorted(read) == [1, 2]
    later = world.browser.events_of(customer.ids, limit=10, before=(2, 0), late=customer.late).events
    assert [seen.event.message_id for seen in later] == ["m-4", "m-3", "m-2", "m-1"]


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_events_far_from_each_other_are_read_with_one_query(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch, *, in_lake: bool
) -> None:
    for number in range(60):
        world.send(event(number))
    world.route()
    if in_lake:
        world.feed_lake()
    queries: list[int] = []
    rows = LakeQueries.rows

    def noting(self: LakeQueries, sql: str, files: Sequence[DataFile], *values: Value) -> list[tuple[Any, ...]]:
        queries.append(len(files))
        return rows(self, sql, files, *values)

    monkeypatch.setattr(LakeQueries, "rows", noting)
    events = world.browser._events_at([(60, 0), (3, 0), (3, 1), (1, 0)])
    assert [event.message_id for event in events] == ["m-59", "m-2", "m-0"]
    assert queries == [1 if in_lake else 0]


@pytest.mark.parametrize(
    ("text", "needle"),
    [
        pytest.param(b'{"event":"Checked In"}', "checked in", id="plain"),
        pytest.param(b'{"event":"Checked \\u0049n","city":"\\u00df"}', "Checked In", id="escaped without need"),
        pytest.param(b'{"event":"In\\/Out"}', "In/Out", id="escaped slash"),
        pytest.param(b'{"event":"The \\"Gym\\""}', 'The "Gym"', id="escaped quotes"),
        pytest.param(b'{"event":"A\\tB"}', "A\tB", id="escaped tab"),
    ],
)
def test_a_record_is_read_however_json_writes_what_is_sought(text: bytes, needle: str) -> None:
    assert record_may_hold([needle])(record_of(text))


def test_a_record_with_other_escapes_is_not_read() -> None:
    record = record_of(b'{"event":"Checked In","city":"Gie\\u00dfen","note":"\\n \\u2028 \\ud83d\\ude00"}')
    assert not record_may_hold(["Locker Opened"])(record)

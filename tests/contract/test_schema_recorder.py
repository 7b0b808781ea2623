"""The source schema beside routing: exact at a crash, a bounded sample, and never in the way of an award."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from punchcard.routing.batch import Batch
from punchcard.routing.schema_recorder import SchemaRecorder
from punchcard.store.source_schema.model import SchemaKey
from punchcard.store.source_schema.reading import ListedEvent, list_events, list_properties, list_values
from punchcard.testing.damage import CONFIG
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.world import batch_of


@pytest.fixture
def server(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as opened:
        yield opened


def track(number: int, name: str = "Checked In", **properties: object) -> dict[str, object]:
    return {"type": "track", "event": name, "userId": "u", "messageId": f"m{number}", "properties": properties}


def listed(server: PublicApiServer, source: str = "website") -> dict[str, ListedEvent]:
    with server.store.reading() as work:
        events = list_events(work, source, since=server.clock.now() - timedelta(days=1))
    return {event.key.event_name or event.key.event_type: event for event in events}


def counts(server: PublicApiServer) -> dict[str, int]:
    return {name: event.count for name, event in listed(server).items()}


def route_without_writing(server: PublicApiServer) -> None:
    while server._router.step():
        continue


def test_every_kind_of_call_is_listed(server: PublicApiServer) -> None:
    server.send(track(1, plan="gold"), track(2, plan="gold", email="ann@example.com"))
    server.send({"userId": "u", "messageId": "m3", "traits": {"tier": "silver"}}, call="identify")
    server.send({"userId": "u", "groupId": "g", "messageId": "m4", "traits": {"size": 5}}, call="group")
    server.send({"userId": "u", "name": "Home", "messageId": "m5", "properties": {"path": "/"}}, call="page")
    server.send(b'{"event": "Broken"', call="track")
    server.send({"event": "Unknown", "userId": "u"}, write_key="wk_unknown")
    server.route()
    assert counts(server) == {"Checked In": 2, "identify": 1, "group": 1, "page": 1}
    with server.store.reading() as work:
        properties = list_properties(work, SchemaKey("website", "track", "Checked In"))
        assert [(known.path, known.count, dict(known.personal)) for known in properties] == [
            ("plan", 2, {}),
            ("email", 1, {"email": 1}),
        ]
        traits = list_values(work, ["website"], ["identify", "group"], ["tier", "size"])
    assert traits == {"tier": ['"silver"'], "size": ["5"]}


@pytest.mark.parametrize("crashes", [1, 3])
def test_counts_are_exact_after_a_crash(server: PublicApiServer, crashes: int) -> None:
    """What was routed and not written is counted again from the log: each event once."""
    server.send(track(0))
    server.route()
    for crash in range(crashes):
        server.send(track(10 * crash + 1), track(10 * crash + 2))
        route_without_writing(server)
        server.restart_routing()
    server.send(track(100))
    server.route()
    assert counts(server) == {"Checked In": 2 + 2 * crashes}


def test_the_very_first_events_survive_a_crash(server: PublicApiServer) -> None:
    server.send(track(1), track(2))
    route_without_writing(server)
    server.restart_routing()
    server.send(track(3))
    server.route()
    assert counts(server) == {"Checked In": 3}


def test_a_process_that_was_replaced_adds_nothing_twice(server: PublicApiServer) -> None:
    server.send(track(1))
    server.route()
    server.send(track(2))
    route_without_writing(server)
    replaced = server._router
    server.restart_routing()
    server.send(track(3))
    server.route()
    replaced.write_schema()
    assert counts(server) == {"Checked In": 3}


def test_a_process_that_is_replaced_while_it_writes_takes_nothing_away(server: PublicApiServer) -> None:
    server.send(track(1))
    server.route()
    server.send(track(2))
    route_without_writing(server)
    replaced = server._router
    server.restart_routing()
    server.send(track(3))
    route_without_writing(server)
    replaced.write_schema()
    server._router.write_schema()  # finds that the other one has written, and counts from there
    server.send(track(4))
    server.route()
    assert counts(server) == {"Checked In": 4}


def test_routing_goes_on_while_the_schema_cannot_be_written(
    server: PublicApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.send(track(1))
    server.route()
    with server.store.unit_of_work() as work:
        work.execute(text("ALTER TABLE schema_event_days RENAME TO away"))
    server.send(track(2))
    server.route()
    assert server.store is not None
    with server.store.unit_of_work() as work:
        assert work.scalar(text("SELECT sum(count) FROM result_counts WHERE status = 'received'")) == 2
        work.execute(text("ALTER TABLE away RENAME TO schema_event_days"))
    assert counts(server) == {"Checked In": 1}
    server.clock.advance(60)
    server.send(track(3))
    server.route()
    assert counts(server) == {"Checked In": 3}
    assert "source_schema_failed" in "".join(capsys.readouterr())


def test_a_defect_in_the_schema_stops_nothing(
    server: PublicApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(SchemaRecorder, "_sample", fail)
    server.send(track(1))
    server.route()
    assert server._router.position == 1
    assert counts(server) == {"Checked In": 1}
    assert "ZeroDivisionError" in "".join(capsys.readouterr())


def test_all_events_are_counted_and_a_bounded_sample_is_read(server: PublicApiServer) -> None:
    """Of a flood, properties are read of two hundred events; a rare name in it has its properties too."""
    server.send(batch_of(*(track(number, seat=number % 3) for number in range(1_500))), call="batch")
    server.send(track(5_000, "Rare", colour="red"), track(5_001, "", colour="red"))
    server.route()
    events = listed(server)
    assert (events["Checked In"].count, events["Rare"].count) == (1_500, 1)
    assert events["Checked In"].sampled <= 201
    assert (events["Rare"].sampled, events["Rare"].properties) == (1, 1)
    server.clock.advance(1)
    server.send(batch_of(*(track(10_000 + number) for number in range(1_500))), call="batch")
    before = listed(server)["Checked In"].sampled
    server.route()
    assert 0 < listed(server)["Checked In"].sampled - before <= 50


def test_what_is_gathered_is_bounded(server: PublicApiServer) -> None:
    """However many names come between two writes, memory holds a thousand, and the frequent ones among them."""
    for portion in range(3):
        junk = [track(portion * 1_000 + number, f"Junk {portion}.{number}") for number in range(900)]
        real = [track(50_000 + 10 * portion + number, "Real") for number in range(3)]
        server.send(batch_of(*real, *junk), call="batch")
        server._router.step()
    assert len(server._router._schema._events) <= 1_000
    server._router.write_schema()
    events = listed(server)
    assert events["Real"].count == 9
    assert len(events) <= 301


def test_writes_wait_while_events_come(server: PublicApiServer) -> None:
    server.send(track(1))
    server._router.step()
    assert counts(server) == {}
    server.clock.advance(1)
    server._router.step()
    assert counts(server) == {"Checked In": 1}
    server.send(track(2))
    server.clock.advance(11)
    server._router.step()
    assert counts(server) == {"Checked In": 2}


def test_an_empty_batch_is_no_defect(server: PublicApiServer) -> None:
    recorder = SchemaRecorder(
        store=server.store, log=server.log, clock=server.clock, current=server.watch.newest, position=0
    )
    recorder._sample(Batch(), set())
    recorder.write()
    assert counts(server) == {}

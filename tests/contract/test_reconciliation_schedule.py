"""The nightly reconciliation: asked for once a night, by the clock of the workspace, and never before a first award."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.operations.reconciliation_runner import ReconciliationPlan
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[workspace]
timezone = "{zone}"

[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"
"""
NIGHTLY = ReconciliationPlan(nightly_at="03:00", nightly_days=35)


@pytest.fixture
def server(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG.format(zone="America/Los_Angeles")) as opened:
        yield opened


def go_to(server: PublicApiServer, text: str) -> None:
    """Let the time pass until an instant."""
    server.clock.advance((datetime.fromisoformat(text) - server.clock.now()).total_seconds())


def award(server: PublicApiServer) -> None:
    properties = {"email": "ann@example.com"}
    server.send({"messageId": server.clock.new_id(), "userId": "a", "event": "Checked In", "properties": properties})
    server.route()


def look(server: PublicApiServer, plan: ReconciliationPlan = NIGHTLY) -> list[dict[str, Any]]:
    """Let the worker look for what is due; return the scheduled reconciliations, oldest first.

    Perkville cannot be reached: each waits, so it is ended before the next one.
    """
    server.reconcile(plan=plan)
    path = "/api/destinations/perkville/reconciliations"
    response = server.request("GET", path)
    assert response.status == 200, response.body
    listed: list[dict[str, Any]] = response.json()["data"]["reconciliations"]
    for reconciliation in listed:
        if reconciliation["status"] in ("queued", "reading"):
            assert server.request("POST", f"{path}/{reconciliation['id']}/cancel", b"{}").status == 200
    return [item for item in reversed(listed) if item["requestedBy"] == "schedule"]


def test_a_night_asks_once_by_the_clock_of_the_workspace(server: PublicApiServer) -> None:
    go_to(server, "2026-03-01T20:00:00-08:00")
    assert look(server) == []  # nothing was awarded yet
    award(server)
    go_to(server, "2026-03-02T02:59:00-08:00")
    assert look(server) == []
    go_to(server, "2026-03-02T03:00:00-08:00")
    (first,) = look(server)
    assert datetime.fromisoformat(first["since"]) == server.clock.now() - timedelta(days=35)
    assert len(look(server)) == 1
    go_to(server, "2026-03-02T23:59:00-08:00")
    assert len(look(server)) == 1
    go_to(server, "2026-03-03T03:00:30-08:00")
    assert len(look(server)) == 2


def test_an_award_of_this_night_is_not_compared_before_the_next_one(server: PublicApiServer) -> None:
    go_to(server, "2026-03-02T03:10:00-08:00")
    award(server)
    assert look(server) == []
    go_to(server, "2026-03-03T03:00:00-08:00")
    assert len(look(server)) == 1


def test_missed_nights_are_made_up_for_by_one(server: PublicApiServer) -> None:
    go_to(server, "2026-03-01T20:00:00-08:00")
    award(server)
    go_to(server, "2026-03-02T03:00:00-08:00")
    assert len(look(server)) == 1
    go_to(server, "2026-03-06T15:00:00-08:00")  # nothing ran for four nights
    assert len(look(server)) == 2
    assert len(look(server)) == 2
    go_to(server, "2026-03-07T03:00:00-08:00")
    assert len(look(server)) == 3


def test_the_nights_on_which_clocks_change_have_one_each(server: PublicApiServer) -> None:
    go_to(server, "2026-03-07T12:00:00-08:00")
    award(server)
    counts = []
    # On March 8 the clock goes from 02:00 to 03:00; on November 1 it shows 01:00 to 02:00 twice.
    for text in ("2026-03-08T09:59:00Z", "2026-03-08T10:00:00Z", "2026-03-09T09:59:00Z", "2026-03-09T10:00:00Z"):
        go_to(server, text.replace("Z", "+00:00"))
        counts.append(len(look(server)))
    for text in ("2026-11-01T10:59:00Z", "2026-11-01T11:00:00Z", "2026-11-01T23:00:00Z"):
        go_to(server, text.replace("Z", "+00:00"))
        counts.append(len(look(server)))
    assert counts == [0, 1, 1, 2, 3, 4, 4]
    assert server.clock.now() == datetime(2026, 11, 1, 23, tzinfo=UTC)


def test_another_time_zone_moves_the_night(server: PublicApiServer) -> None:
    go_to(server, "2026-03-02T00:00:00+00:00")
    award(server)
    server.configure(CONFIG.format(zone="Asia/Tokyo"))
    go_to(server, "2026-03-02T17:59:00+00:00")
    assert look(server) == []
    go_to(server, "2026-03-02T18:00:00+00:00")
    assert len(look(server)) == 1


def test_without_a_time_of_day_there_is_none(server: PublicApiServer) -> None:
    go_to(server, "2026-03-01T20:00:00-08:00")
    award(server)
    go_to(server, "2026-03-04T20:00:00-08:00")
    assert look(server, ReconciliationPlan(nightly_at="")) == []


def test_a_requested_reconciliation_does_not_stand_for_the_nightly_one(server: PublicApiServer) -> None:
    go_to(server, "2026-03-01T20:00:00-08:00")
    award(server)
    go_to(server, "2026-03-02T02:58:00-08:00")
    body = json.dumps({"since": "7d"}).encode()
    assert server.request("POST", "/api/destinations/perkville/reconciliations", body).status == 200
    assert look(server) == []
    go_to(server, "2026-03-02T03:00:00-08:00")
    assert len(look(server)) == 1

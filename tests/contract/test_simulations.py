"""Simulations by the Public API and in the App: started, watched, cancelled, and started again after a crash."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from punchcard.store.operations.simulations import next_simulation, note_parts
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
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
eventToPerkMap = { "Checked In" = "123457" }
"""
PATH = "/api/destinations/perkville/simulations"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as opened:
        for number, event in enumerate(["Checked In", "Sauna Visited", "Sauna Visited"]):
            properties = {"email": "ann@example.com"}
            opened.send({"messageId": f"m{number}", "userId": "ann", "event": event, "properties": properties})
        opened.route()
        opened.deliver(rounds=2)
        opened.feed_lake()
        opened.clock.advance(60)
        yield opened


def request(server: PublicApiServer, method: str, path: str, body: object = None) -> dict[str, Any]:
    response = server.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status == 200, response.body
    simulation: dict[str, Any] = response.json()["data"]["simulation"]
    return simulation


def start(server: PublicApiServer, **body: object) -> dict[str, Any]:
    return request(server, "POST", f"{PATH}?wait=0", body)


def test_a_simulation_is_started_and_read(server: PublicApiServer) -> None:
    started = start(server, settings={"eventToPerkMap": {"Checked In": "123457", "Sauna Visited": "123460"}})
    assert (started["status"], started["byEvent"], started["refused"]) == ("queued", [], {})
    assert server.simulate()
    assert not server.simulate()
    simulation = request(server, "GET", f"{PATH}/{started['id']}")
    assert (simulation["status"], simulation["done"] == simulation["total"]) == ("finished", True)
    rows = {row["event"]: row for row in simulation["byEvent"]}
    assert (rows["Sauna Visited"]["awards"], rows["Sauna Visited"]["actualQuantity"]) == (2, "0")
    assert rows["Checked In"]["quantity"] == rows["Checked In"]["actualQuantity"] == "1"
    assert (simulation["totals"]["points"], simulation["totals"]["awards"]) == (None, 3)
    with server.store.reading() as work:
        assert work.exec_driver_sql("SELECT count(*) FROM effects").scalar() == 1  # nothing was changed


def test_points_are_shown_as_money_if_the_workspace_sets_their_cost(server: PublicApiServer) -> None:
    started = start(server, settings={"eventToPerkMap": {"Checked In": "123457", "Sauna Visited": "123460"}})
    assert server.simulate(points={"123457": Decimal(10), "123460": Decimal(5)})
    path = f"{PATH}/{started['id']}"
    assert request(server, "GET", path)["cost"] is None
    add_operators(server)
    browser = FormBrowser(server)
    assert browser.sign_in("owner@acme.example").status == 303
    page = f"/destinations/perkville/simulations/{started['id']}"
    assert "Cost" not in browser.get(page).text
    fields = {"name": "Acme", "timezone": "UTC", "point_cost": "0.125", "currency": "USD"}
    refused = browser.post("/settings", **{**fields, "point_cost": "free"})
    assert refused.status == 422
    assert "is not an amount above 0" in refused.text
    assert browser.post("/settings", **fields).status == 303
    assert request(server, "GET", path)["cost"] == {"currency": "USD", "amount": "2.50", "actualAmount": "1.25"}
    assert "2.50 USD" in browser.get(page).text


def test_secrets_of_a_proposal_are_not_stored(server: PublicApiServer) -> None:
    start(server, settings={"apiKey": "another-secret", "businessId": "41"})
    with server.store.reading() as work:
        (proposal,) = work.exec_driver_sql("SELECT proposal FROM simulations").scalars()
    assert "secret" not in proposal


def test_a_cancelled_simulation_is_not_run(server: PublicApiServer) -> None:
    started = start(server)
    assert request(server, "POST", f"{PATH}/{started['id']}/cancel")["status"] == "cancelled"
    assert not server.simulate()


def test_a_simulation_that_was_interrupted_runs_again(server: PublicApiServer) -> None:
    started = start(server)
    with server.store.unit_of_work() as work:
        simulation = next_simulation(work)
        assert simulation is not None
        note_parts(work, simulation.id, done=3, total=9)  # its process ends here
    assert request(server, "GET", f"{PATH}/{started['id']}")["status"] == "running"
    assert server.simulate()
    assert request(server, "GET", f"{PATH}/{started['id']}")["status"] == "finished"


@pytest.mark.parametrize(
    ("body", "status", "field", "text"),
    [
        ({"filters": [{"if": "properties.x >"}]}, 422, "filters[0]", "proposed filter"),
        ({"settings": {"businessId": ""}}, 422, "settings.businessId", "Is required"),
        ({"settings": {"nope": 1}}, 422, "settings.nope", "Is not known"),
        ({"options": {"requestsPerSecond": -1}}, 422, "options.requestsPerSecond", "Must be at least 0"),
        ({"since": "tomorrow"}, 400, "since", "tomorrow"),
        ({"since": "2999-01-01T00:00:00Z"}, 400, "since", "past"),
        ({"nonsense": 1}, 400, "nonsense", "nonsense"),
    ],
)
def test_an_invalid_proposal_is_refused(
    server: PublicApiServer, body: dict[str, Any], status: int, field: str, text: str
) -> None:
    response = server.request("POST", f"{PATH}?wait=0", json.dumps(body).encode())
    assert response.status == status, response.body
    assert (response.error["field"], text in response.error["message"]) == (field, True), response.body


def test_forms_are_tried_before_they_are_saved(server: PublicApiServer) -> None:
    add_operators(server)
    browser = FormBrowser(server)
    assert browser.sign_in("owner@acme.example").status == 303
    base = "/destinations/perkville"
    event_map = {"eventToPerkMap.name": "Sauna Visited", "eventToPerkMap.value": "123460"}
    started = browser.post(f"{base}/simulate/map", **event_map)
    assert started.status == 200
    assert "Queued" in started.text
    server.simulate()
    shown = browser.get(f"{base}/simulations/1").text
    assert "Finished" in shown
    assert "Sauna Visited" in shown
    a_filter = {"title": "x", "if": "all", "action": "DROP", "enabled": "on"}
    assert "Queued" in browser.post(f"{base}/simulate/filter?id=", **a_filter).text
    refused = browser.post(f"{base}/simulate/filter?id=", **{**a_filter, "if": "properties.x >"}).text
    assert "alert-danger" in refused
    for page in (f"{base}/map", f"{base}/settings", f"{base}/filters/new"):
        assert "Try on past events" in browser.get(page).text


def test_the_reconciliation_pages_show_and_start_comparisons(server: PublicApiServer) -> None:
    add_operators(server)
    browser = FormBrowser(server)
    assert browser.sign_in("owner@acme.example").status == 303
    base = "/destinations/perkville/reconciliations"
    assert "Not compared yet" in browser.get(base).text
    assert browser.post(base, days="30").status == 303
    assert "Queued" in browser.get(f"{base}/1").text
    assert browser.post(f"{base}/1", do="cancel").status == 303
    assert "Cancelled" in browser.get(base).text
    assert browser.get(f"{base}/99").status == 404

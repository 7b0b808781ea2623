"""The inventory of personal data: what it lists and how it classifies it, for App and command line."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.contract.privacy_world import CONFIG

from punchcard.cli.inventory import classify_properties, show_inventory
from punchcard.operations.alert_evaluation import AlertEvaluator
from punchcard.operations.export_files import ExportFormat, write_export
from punchcard.operations.exports import export_inventory
from punchcard.operations.inventory import (
    Classification,
    InventoryItem,
    needing_attention,
    propose_classification,
    read_inventory,
)
from punchcard.runtime.settings import read_settings
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.model import PropertyControls, Source

EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "Checked In", "userId": "u", "properties": {"gym": "north", "card": "4111 1111 1111 1111"}},
    {"event": "Order Completed", "userId": "u", "properties": {"gym": "south", "note": "call 0043 664 1234567"}},
)
TRAITS = {"userId": "u", "traits": {"email": "ann@example.com", "plan": "gold", "birthday": "1990-01-02"}}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    """A running App with a source schema of two sources."""
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        server.send(*EVENTS)
        server.send(EVENTS[0], write_key="wk_till")
        server.send(TRAITS, call="identify")
        server.route()
        yield server


def items_of(api: PublicApiServer) -> dict[str, InventoryItem]:
    """Return the inventory by section and path."""
    with api.store.reading() as work:
        return {f"{item.section}.{item.path}": item for item in read_inventory(work)}


def test_every_property_is_listed_once_with_its_sources_and_what_it_looks_like(api: PublicApiServer) -> None:
    items = items_of(api)
    assert {name: (item.classification.name, list(item.kinds), item.sources) for name, item in items.items()} == {
        "properties.card": ("RED", ["card_number"], ["till", "website"]),
        "traits.birthday": ("RED", ["birth_date"], ["website"]),
        "properties.note": ("YELLOW", ["phone"], ["website"]),
        "traits.email": ("YELLOW", ["email"], ["website"]),
        "properties.gym": ("GREEN", [], ["till", "website"]),
        "traits.plan": ("GREEN", [], ["website"]),
    }
    assert [item.classification for item in items.values()] == sorted(item.classification for item in items.values())
    gym = items["properties.gym"]
    assert gym.count == 3
    assert set(gym.events) == {
        ("website", "track", "Checked In"),
        ("website", "track", "Order Completed"),
        ("till", "track", "Checked In"),
    }


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({}, Classification.GREEN),
        ({"email": 1}, Classification.YELLOW),
        ({"email": 9, "card_number": 1}, Classification.RED),  # the most sensitive one counts
        ({"secret": 1}, Classification.RED),
        ({"ip_address": 1, "name": 1, "address": 1, "phone": 1}, Classification.YELLOW),
    ],
)
def test_the_most_sensitive_kind_decides(kinds: dict[str, int], expected: Classification) -> None:
    assert propose_classification(kinds) is expected


def test_app_api_and_command_line_export_the_same_file(
    api: PublicApiServer, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    browser = FormBrowser(api)
    browser.sign_in("read_only@acme.example")
    page = browser.get("/exports/inventory?format=csv").text
    assert 'href="/exports/inventory?format=csv' in browser.get("/privacy/inventory").text
    header, card, *others = page.splitlines()
    assert header.startswith("property,classification,proposedClassification,status,personalData,types,count,sources")
    assert card.startswith("properties.card,RED,RED,NEW,card_number,string,2,till website,2026-")
    assert len(others) == 5
    assert api.request("GET", "/api/privacy/inventory?format=csv").body.decode() == page
    settings = read_settings({"PUNCHCARD_DATA": str(Path(api.store.sqlite_path or "").parent)})
    show_inventory(settings, as_json=False, as_csv=True)
    assert capfdbinary.readouterr().out.decode() == page
    selected = browser.get("/exports/inventory?format=csv&classification=RED&source=till").text
    assert [line.partition(",")[0] for line in selected.splitlines()[1:]] == ["properties.card"]


def test_a_property_that_looks_like_a_formula_is_defused() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    item = InventoryItem(
        section="=cmd|' /C calc'!A0;properties", path="a", proposed=Classification.GREEN, classified=None, kinds={},
        count=1, types=["string"], sources=["-web"], events=[], first_seen=now, last_seen=now,
    )  # fmt: skip
    (_, row) = b"".join(write_export(export_inventory([item]), ExportFormat.CSV)).decode().splitlines()
    assert row.startswith("'=cmd|")
    assert ",'-web," in row


def test_the_page_lists_filters_and_links(api: PublicApiServer) -> None:
    browser = FormBrowser(api)
    browser.sign_in("read_only@acme.example")
    page = browser.get("/privacy/inventory")
    assert page.status == 200
    assert page.text.index("properties.card") < page.text.index("traits.email") < page.text.index("properties.gym")
    assert "4111" not in page.text
    link = "/sources/till/schema/event?type=track&amp;name=Checked%20In"
    assert link in page.text or link.replace("till", "website") in page.text
    assert browser.get(link.replace("&amp;", "&")).status == 200
    red = browser.get("/privacy/inventory?classification=RED&source=till").text
    assert "properties.card" in red
    assert "traits.birthday" not in red
    assert "properties.gym" in browser.get("/privacy/inventory?q=GYM").text
    assert "No property matches." in browser.get("/privacy/inventory?q=nothing").text
    assert browser.get("/privacy/inventory?classification=%00&source=%C3%A9").status == 200


def test_the_command_prints_the_same(api: PublicApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(api.store.sqlite_path or "").parent
    settings = read_settings({"PUNCHCARD_DATA": str(folder)})
    assert show_inventory(settings, as_json=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [f"{line['section']}.{line['path']}" for line in lines] == list(items_of(api))
    assert show_inventory(settings, as_json=False) == 0
    table = capsys.readouterr().out
    assert "properties.card" in table
    assert "4111" not in table


def test_what_people_say_counts_and_stays(api: PublicApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    """In App, Public API and on the command line; what nobody has classified is new."""
    browser = FormBrowser(api)
    browser.sign_in("editor@acme.example")
    names = ["properties.gym", "traits.plan"]
    assert browser.post("/privacy/inventory", **{"name": names, "as": "YELLOW"}).status == 303
    assert "2 properties changed." in browser.get("/privacy/inventory?status=classified").text
    items = items_of(api)
    assert [items[name].classification for name in names] == [Classification.YELLOW] * 2
    assert items["properties.gym"].proposed is Classification.GREEN
    new = browser.get("/privacy/inventory?status=new").text
    assert "properties.note" in new
    assert "properties.gym" not in new
    assert "by operator editor@acme.example" in browser.get("/privacy/inventory/property?name=properties.gym").text

    listed = api.request("GET", "/api/privacy/inventory?status=CLASSIFIED").json()["data"]
    assert [(each["path"], each["classification"], each["status"]) for each in listed["properties"]] == [
        ("gym", "YELLOW", "CLASSIFIED"),
        ("plan", "YELLOW", "CLASSIFIED"),
    ]
    put = json.dumps({"properties": ["properties.gym"], "classification": None}).encode()
    assert api.request("PUT", "/api/privacy/inventory", put).json() == {"data": {"changed": 1}}
    assert items_of(api)["properties.gym"].is_new
    for body, status in (
        ({"properties": ["properties.no"], "classification": "RED"}, 404),
        ({"properties": ["properties.gym"], "classification": "PINK"}, 400),
    ):
        assert api.request("PUT", "/api/privacy/inventory", json.dumps(body).encode()).status == status

    settings = read_settings({"PUNCHCARD_DATA": str(Path(api.store.sqlite_path or "").parent)})
    classify_properties(settings, ["traits.plan"], "none")
    assert "1 made new" in capsys.readouterr().out
    assert show_inventory(settings, as_json=True, only_new=True) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(items)
    audit = api.request("GET", "/api/audit-events").json()["data"]["events"]
    assert {each["actor"] for each in audit if each["type"] == "classification.change"} == {
        "operator editor@acme.example",
        "token test",
        "command line",
    }


def test_chosen_properties_become_what_is_proposed(api: PublicApiServer) -> None:
    browser = FormBrowser(api)
    browser.sign_in("editor@acme.example")
    names = ["properties.note", "properties.gym"]
    browser.post("/privacy/inventory", **{"name": names, "as": "proposed"})
    items = items_of(api)
    assert [(items[name].is_new, items[name].classification.name) for name in names] == [
        (False, "YELLOW"),
        (False, "GREEN"),
    ]
    browser.post("/privacy/inventory", **{"name": names, "as": "new"})
    assert all(items_of(api)[name].is_new for name in names)
    nothing = browser.post("/privacy/inventory", **{"as": "RED"})
    assert "Choose at least one" in browser.get(nothing.headers["location"]).text


def test_a_viewer_sees_classifications_and_cannot_change_them(api: PublicApiServer) -> None:
    browser = FormBrowser(api)
    browser.sign_in("read_only@acme.example")
    assert 'name="as"' not in browser.get("/privacy/inventory").text
    assert 'name="as"' not in browser.get("/privacy/inventory/property?name=properties.gym").text
    assert browser.post("/privacy/inventory", **{"name": "properties.gym", "as": "RED"}).status == 403
    assert browser.get("/privacy/inventory/property?name=properties.nothing").status == 404


def test_a_card_number_raises_one_alert_until_somebody_acts(api: PublicApiServer) -> None:
    """It names the property, not the value; two sources and their events are one alert."""

    def alerts() -> list[dict[str, Any]]:
        AlertEvaluator(api.store, clock=api.clock, current=api.watch.refresh).step()
        listed = api.request("GET", "/api/alerts?state=raised").json()["data"]["alerts"]
        return [alert for alert in listed if alert["kind"] == "personal_data"]

    (alert,) = alerts()
    assert alert["subject"] == "properties.card"
    assert "card number" in alert["title"]
    assert "till, website" in alert["detail"]
    assert "4111" not in json.dumps(alert)
    browser = FormBrowser(api)
    browser.sign_in("owner@acme.example")
    assert "Values of properties.card look like card numbers." in browser.get("/").text
    assert "needs attention" in browser.get("/privacy/inventory").text
    path = browser.get("/").text.partition("/privacy/inventory/property?")[2].partition('"')[0]
    assert "Values look like card numbers." in browser.get(f"/privacy/inventory/property?{path}").text
    for source in ("website", "till"):
        assert [each["subject"] for each in alerts()] == ["properties.card"]
        browser.post(f"/privacy/controls/source/{source}", path="properties.card", action="drop")
    assert alerts() == []  # controlled at all sources that send it
    browser.post("/privacy/controls/source/till", path="properties.card", action="allow")
    assert len(alerts()) == 1
    browser.post("/privacy/inventory", **{"name": "properties.card", "as": "GREEN"})
    assert alerts() == []
    assert "needs attention" not in browser.get("/privacy/inventory").text


def test_the_inventory_shows_the_control_of_what_a_property_is_in(tmp_path: Path) -> None:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as api:
        add_operators(api)
        api.send({"event": "Paid", "userId": "u", "properties": {"cards": ["4111111111111111"], "pay": {"iban": "x"}}})
        api.route()
        browser = FormBrowser(api)
        browser.sign_in("owner@acme.example")
        assert browser.get("/privacy/inventory").text.count("needs attention") == 1
        for path, action in (("properties.cards[]", "mask"), ("properties.pay", "drop")):
            browser.post("/privacy/controls/source/website", path=path, action=action)
        page = browser.get("/privacy/inventory").text
        assert "needs attention" not in page
        assert (page.count("masked ("), page.count("dropped (")) == (1, 2)  # the object, and what is in it


@pytest.mark.parametrize(
    ("name", "control", "is_covered"),
    [
        ("properties.cards", "properties.cards", True),
        ("properties.cards", "properties.cards[]", True),
        ("properties.orders[].card", "properties.orders[].card", True),
        ("properties.orders[].card", "properties.orders", True),
        ("properties.orders[].card", "properties.orders[]", True),
        ("properties.pay.card", "properties.pay", True),
        ("properties.pay.card", "properties.payment", False),
        ("properties.pay.card", "properties.pay.card.number", False),
        ("properties.pay\\.card", "properties.pay", False),
        ("properties.pay.card", "traits.pay.card", False),
    ],
)
def test_a_control_of_what_a_property_is_in_covers_it(name: str, control: str, *, is_covered: bool) -> None:
    section, _, path = name.partition(".")
    item = InventoryItem(
        section=section,
        path=path,
        proposed=Classification.RED,
        kinds={"card_number": 1},
        count=1,
        types=["string"],
        sources=["website"],
        events=[],
        first_seen=datetime(2026, 1, 1, tzinfo=UTC),
        last_seen=datetime(2026, 1, 1, tzinfo=UTC),
    )
    source = Source(slug="website", name="Website", write_keys=("wk",), controls=PropertyControls(drop=(control,)))
    assert needing_attention([item], [source]) == ([] if is_covered else [item])


def test_new_names_are_sampled_when_no_sample_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First events of new names are read in any case, so less than no sample may be left for the next batch."""
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as api:
        for number in range(4):
            events = [
                {
                    "type": "track",
                    "event": f"Name {number}-{index % 30}",
                    "userId": "u",
                    "messageId": f"{number}-{index}",
                    "properties": {f"p{number}": 1},
                }
                for index in range(300)
            ]
            api.send({"batch": events}, call="batch")
            api.route()
        assert "source_schema_failed" not in capsys.readouterr().out
        assert {f"properties.p{number}" for number in range(4)} == set(items_of(api))

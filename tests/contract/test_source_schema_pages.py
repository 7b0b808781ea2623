"""The source schema in App, Public API and command line, and what forms suggest of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from punchcard.app.tester_form import compose_event
from punchcard.cli.running import run
from punchcard.operations.source_schema import suggest_properties
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
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
apiKey = "a-secret"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
[[destinations.filters]]
title = "no staff"
if = "properties.plan = 'staff'"
actions = [{ type = "DROP" }]
"""
NASTY = "<script>alert(1)</script>\"'"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        for number, plan in enumerate(["gold", "gold", "staff"]):
            properties = {"plan": plan, "email": "ann@example.com", "guests": 2, "address": {"city": "Bern"}}
            server.send({"userId": "u", "event": "Checked In", "messageId": f"c{number}", "properties": properties})
        server.send(
            {"userId": "u", "event": "Class Booked", "messageId": "b", "properties": {"products": [{"sku": "s"}]}}
        )
        server.send({"userId": "u", "messageId": "i", "traits": {"tier": "silver"}}, call="identify")
        server.send({"userId": "u", "event": NASTY, "messageId": "n", "properties": {NASTY: NASTY}})
        server.route()
        yield server


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


def data(world: PublicApiServer, path: str) -> dict[str, object]:
    response = world.request("GET", path)
    assert response.status == 200, response.body
    content: dict[str, object] = response.json()["data"]
    return content


# --- Public API ---


def test_the_api_lists_events_by_type_and_name(world: PublicApiServer) -> None:
    events = data(world, "/api/sources/website/schema/events")["events"]
    assert isinstance(events, list)
    checked_in = next(event for event in events if event["name"] == "Checked In")
    assert {name: checked_in[name] for name in ("type", "received", "planned", "filtered", "sampled", "mappedTo")} == {
        "type": "track",
        "received": 3,
        "planned": 2,
        "filtered": 1,
        "sampled": 3,
        "mappedTo": [{"destinationId": "perkville", "value": "123457"}],
    }
    assert [(event["type"], event["name"]) for event in events] == sorted(
        (event["type"], event["name"]) for event in events
    )


def test_the_api_pages_events(world: PublicApiServer) -> None:
    path = "/api/sources/website/schema/events?pagination[count]=2"
    first = data(world, path)
    second = data(world, f"{path}&pagination[cursor]={first['pagination']['next']}")  # type: ignore[index]
    assert len({event["name"] for event in [*first["events"], *second["events"]]}) == 4  # type: ignore[misc]


def test_the_api_lists_properties(world: PublicApiServer) -> None:
    details = data(world, "/api/sources/website/schema/properties?event=Checked%20In")
    properties = {known["path"]: known for known in details["properties"]}  # type: ignore[attr-defined]
    assert properties["plan"]["frequentValues"][0] == {"value": "gold", "countMin": 2, "countMax": 2}
    assert properties["guests"]["types"] == {"integer": 3}
    assert properties["email"]["personalData"] == {"email": 3}
    assert properties["email"]["frequentValues"] == properties["address.city"]["frequentValues"] == []
    assert [day["received"] for day in details["days"]] == [3]  # type: ignore[attr-defined]
    traits = data(world, "/api/sources/website/schema/properties?type=identify")["properties"]
    assert [known["path"] for known in traits] == ["tier"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path",
    [
        "/api/sources/nowhere/schema/events",
        "/api/sources/nowhere/schema/properties?event=x",
        "/api/sources/website/schema/properties?event=never",
        "/api/sources/website/schema/properties?type=screen",
    ],
)
def test_what_is_not_there_is_not_found(world: PublicApiServer, path: str) -> None:
    assert world.request("GET", path).error["status"] == 404


def test_no_value_of_a_person_is_anywhere(world: PublicApiServer, owner: FormBrowser) -> None:
    for path in ("/sources/website/schema", "/sources/website/schema/event?name=Checked%20In"):
        assert "ann@example.com" not in owner.get(path).text
    assert (
        b"ann@example.com" not in world.request("GET", "/api/sources/website/schema/properties?event=Checked%20In").body
    )


# --- pages ---


def test_the_schema_page_lists_events_with_links(owner: FormBrowser) -> None:
    text = owner.get("/sources/website/schema").text
    assert "Class Booked" in text
    assert "not mapped" in text
    assert "/sources/website/schema/event?type=track&amp;name=Checked%20In" in text
    assert NASTY not in text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=book", {"Class Booked"}),
        ("show=mapped", {"Checked In"}),
        ("show=filtered", {"Checked In"}),
        ("show=unmapped", {"Class Booked", NASTY}),
        ("q=nothing", set()),
    ],
)
def test_the_schema_page_is_searched(owner: FormBrowser, query: str, names: set[str]) -> None:
    text = owner.get(f"/sources/website/schema?{query}").text
    shown = {name for name in ("Checked In", "Class Booked", NASTY) if f'name={quote(name, safe=",")}"' in text}
    assert shown == names


def test_an_event_has_a_page_of_its_own(owner: FormBrowser) -> None:
    text = owner.get("/sources/website/schema/event?name=Checked%20In").text
    for part in ("plan", "gold", "email", "integer"):
        assert part in text
    assert "From 3 of 3 events" in " ".join(text.split())
    assert "Map this event" not in text
    unmapped = owner.get("/sources/website/schema/event?name=Class%20Booked").text
    assert "/destinations/perkville/map?add=Class%20Booked" in unmapped
    assert "products[].sku" in unmapped
    assert "/destinations/perkville/filters/new?type=track&amp;event=Class%20Booked" in unmapped
    assert owner.get("/sources/website/schema/event?name=Never").status == 404
    assert owner.get(f"/sources/website/schema/event?name={quote(NASTY)}").status == 200


def test_a_filter_begins_with_the_event(owner: FormBrowser) -> None:
    text = owner.get("/destinations/perkville/filters/new?type=track&event=Class%20Booked").text
    assert "event = &#39;Class Booked&#39;" in text
    assert "type = &#39;identify&#39;" in owner.get("/destinations/perkville/filters/new?type=identify").text
    assert owner.get(f"/destinations/perkville/filters/new?event={quote(NASTY)}").status == 200


# --- suggestions ---


def test_suggestions_are_what_is_sent(world: PublicApiServer) -> None:
    with world.store.reading() as work:
        properties = suggest_properties(work, ["website"], prefix="properties.")
        traits = suggest_properties(work, ["website"], traits=True)
        nothing = suggest_properties(work, [])
    assert properties.names[0] == "Checked In"
    assert "properties.plan" in properties.paths
    assert not [path for path in properties.paths if "[" in path or "\\" in path]
    assert properties.frequent["properties.plan"] == ["gold", "staff"]
    assert "properties.email" not in properties.frequent
    assert (traits.paths, traits.frequent) == (["tier"], {"tier": ["silver"]})
    assert (nothing.names, nothing.paths, nothing.frequent) == ([], [], {})


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/destinations/perkville/filters/new", ["properties.plan", "traits.tier", "Class Booked"]),
        ("/destinations/perkville/map", ["Class Booked"]),
        ("/audiences/new", ["plan", "Checked In", "tier"]),
        ("/audiences/new?kind=computed_trait", ["guests", "Class Booked"]),
        ("/destinations/perkville/tester", ["Class Booked", "gold", "staff"]),
    ],
)
def test_forms_suggest_what_is_sent(owner: FormBrowser, path: str, options: list[str]) -> None:
    text = owner.get(path).text
    for option in options:
        assert f'<option value="{option}">' in text


# --- the Event Tester ---


def test_the_tester_asks_for_the_usual_properties(owner: FormBrowser) -> None:
    text = owner.get("/destinations/perkville/tester").text
    assert 'name="property:plan" value="gold"' in text
    assert 'name="property:email" value="example@example.com"' in text
    assert 'name="type:guests" value="integer"' in text
    assert "Mapped to" in text
    other = owner.get("/destinations/perkville/tester?name=Class%20Booked").text
    assert "Such events also have products" in other
    assert "Map this event" in other


def test_the_tester_repeats_no_order(world: PublicApiServer, owner: FormBrowser) -> None:
    """The id of a received order would be a duplicate or a conflict."""
    world.send({"userId": "u", "event": "Bought", "messageId": "o", "properties": {"order_id": "A-1", "classId": 7}})
    world.route()
    text = owner.get("/destinations/perkville/tester?name=Bought").text
    now = int(world.clock.now().timestamp())
    assert f'name="property:order_id" value="test-{now}"' in text
    assert f'name="property:classId" value="{now}"' in text
    assert "A-1" not in text


def test_the_tester_sends_what_was_filled_in(owner: FormBrowser) -> None:
    fields = {"property:plan": "gold", "type:plan": "string", "property:guests": "3", "type:guests": "integer"}
    fields |= {"property:email": "ann@example.com", "type:email": "string", "event_name": "Checked In", "user_id": "u"}
    result = owner.post("/destinations/perkville/tester", source="website", send="no", **fields)
    assert "This would be sent" in result.text
    staff = owner.post(
        "/destinations/perkville/tester", source="website", send="no", **fields | {"property:plan": "staff"}
    )
    assert "Nothing would be sent" in staff.text
    assert "no staff" in staff.text


def test_the_tester_turns_the_form_into_json(owner: FormBrowser) -> None:
    page = owner.post(
        "/destinations/perkville/tester/json", source="website", event_name="Checked In", **{"property:plan": "basic"}
    )
    assert "&#34;plan&#34;: &#34;basic&#34;" in page.text
    assert 'name="event"' in owner.get("/destinations/perkville/tester?as=json").text
    assert 'name="event"' in owner.get("/destinations/perkville/tester?event=c0").text


@pytest.mark.parametrize(
    ("fields", "properties"),
    [
        ({"property:a": "1", "type:a": "integer"}, {"a": 1}),
        ({"property:a": "1.50", "type:a": "number"}, {"a": 1.5}),
        ({"property:a": "007", "type:a": "string"}, {"a": "007"}),
        ({"property:a": "007", "type:a": "integer"}, {"a": "007"}),
        ({"property:a": "true", "type:a": "boolean"}, {"a": True}),
        ({"property:a": " ", "type:a": "string"}, {}),
        ({"property:a.b": "x", "property:a.c": "y"}, {"a": {"b": "x", "c": "y"}}),
        ({"property:a": "x", "property:a.b": "y"}, {"a": "x", "a.b": "y"}),
        ({"new_path": "a", "new_value": "2"}, {"a": 2}),
        ({"new_path": "", "new_value": "2"}, {}),
    ],
)
def test_a_form_becomes_an_event(fields: dict[str, str], properties: dict[str, object]) -> None:
    form = {name: [value] for name, value in fields.items()}
    assert json.loads(compose_event({**form, "event_name": ["E"], "user_id": ["u"]})) == {
        "type": "track",
        "event": "E",
        "userId": "u",
        "properties": properties,
    }


# --- command line ---


@pytest.fixture
def folder(world: PublicApiServer, tmp_path: Path) -> Path:
    return tmp_path


def test_the_command_prints_the_schema(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "website", "--data", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    # The events are older than the command's clock: they count in total, not in the last 30 days.
    assert lines[0].startswith(
        "Checked In · 0 in 30 days · 5 properties · mapped to perkville: 123457 · last seen 2026-"
    )
    assert run(["schema", "website", "--event", "Checked In", "--data", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "  plan · string · in 3 of 3 sampled events · gold, staff" in text
    assert "  email · string · in 3 of 3 sampled events · looks like personal data: email" in text


def test_the_command_prints_json_as_the_api(
    world: PublicApiServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", "website", "--json", "--data", str(folder)]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    listed = data(world, "/api/sources/website/schema/events")["events"]
    in_period = {"received": 0, "planned": 0, "filtered": 0}  # by the command's clock, the events are old
    expected = [event | in_period for event in listed]  # type: ignore[attr-defined]
    assert sorted(printed, key=lambda event: (event["type"], event["name"])) == expected
    assert run(["schema", "website", "--type", "identify", "--json", "--data", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "tier"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "There is no source nowhere."), (["website", "--event", "Never"], "no such event: Never")],
)
def test_the_command_refuses_what_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["schema", *arguments, "--data", str(folder)]) == 2
    assert message in capsys.readouterr().err

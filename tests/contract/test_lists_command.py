"""Lists on the command line: JSON as in the Public API, tables for people, exports to files."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer

from punchcard.cli.app import app
from punchcard.cli.running import run
from punchcard.store.access.operators import count_failures, note_failure
from punchcard.testing.operators import PASSWORD, FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website_0001"
controls = { mask = ["properties.phone"], drop = ["context.ip"] }

[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-secret"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457", "Order Completed" = "123456" }

[[transformations]]
name = "Fix order"
source = "website"
if = "event = 'order_completed'"
newEventName = "Order Completed"
propertyDrops = ["card"]
[tracking_plans.shop]
name = "Shop"
[[tracking_plans.shop.rules]]
key = "Checked In"
jsonSchema = '{"type":"object"}'

[[audiences]]
name = "Regulars"
definition = "event('Checked In').count() >= 1"

[[audiences]]
name = "VIP"
definition = "list('vip')"
"""
# By command: the call of the Public API with the same list, and its member. None: the API does not have it.
LISTS: dict[str, tuple[str, str] | None] = {
    "alerts list": ("/api/alerts", "alerts"),
    "audience list": ("/api/spaces/punchcard/audiences", "audiences"),
    "audience members regulars": ("/api/customers?trait=regulars", "customers"),
    "audience uploads vip": ("/api/spaces/punchcard/audiences/vip/uploads", "uploads"),
    "audit list": ("/api/audit-events", "events"),
    "conflicts": ("/api/destinations/perkville/conflicts", "conflicts"),
    "customers list": ("/api/customers", "customers"),
    "destination list": ("/api/destinations", "destinations"),
    "events list": ("/api/events", "events"),
    "plan list": ("/api/tracking-plans", "trackingPlans"),
    "privacy controls list": ("/api/privacy/controls", "controls"),
    "replay --destination perkville --list": ("/api/destinations/perkville/replays", "replays"),
    "retention list": None,
    "source list": ("/api/sources", "sources"),
    "transformation list": ("/api/transformations", "transformations"),
    "transactions list": ("/api/destinations/perkville/transactions", "transactions"),
    "user list": None,
    "versions list": ("/api/configuration-versions", "versions"),
}
# Commands that print no list: each acts, sends, runs, or prints one thing.
OTHERS = {
    "adopt-log",
    "alerts acknowledge",
    "alerts test",
    "apply",
    "audience preview",
    "audience resync",
    "demo",
    "destination new",
    "destination off",
    "destination on",
    "destination pause",
    "destination resume",
    "engage",
    "export",
    "import",
    "lake compact",
    "lake repair",
    "plan codegen",
    "plan attach",
    "plan export",
    "plan import",
    "plan infer",
    "privacy classify",
    "privacy controls preview",
    "privacy controls remove",
    "privacy controls set",
    "privacy delete",
    "privacy export",
    "privacy suppress",
    "privacy unsuppress",
    "recover",
    "retention preview",
    "resolve",
    "retention set",
    "retry",
    "sandbox",
    "secrets finish",
    "secrets rotate",
    "serve",
    "transformation preview",
    "up",
    "user invite",
    "user reset",
    "user reset-two-factor",
    "versions diff",
    "versions restore",
    "worker",
}

Command = Callable[..., list[str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicApiServer]:
    """A server; the data folder of the commands is its folder."""
    for name in ("PUNCHCARD_DATABASE_URL", "PUNCHCARD_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PUNCHCARD_DATA", str(tmp_path))
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        order = {"userId": "ann", "event": "Order Completed"}
        for number in range(3):
            properties = {"email": f"p{number}@example.com"}
            event = {"messageId": f"m{number}", "userId": f"u{number}", "event": "Checked In", "properties": properties}
            server.send(event, write_key="wk_website_0001")
        for message_id, revenue in (("first", 10), ("second", 11)):
            properties_ = {"email": "ann@example.com", "order_id": "=1", "revenue": revenue}
            server.send({**order, "messageId": message_id, "properties": properties_}, write_key="wk_website_0001")
        server.route()
        server.deliver(rounds=3)
        server.feed_lake()
        server.engage()
        path = "/api/spaces/punchcard/audiences/vip/uploads?mode=replace"
        uploaded = server.request("POST", path, b"email\np0@example.com\n")
        assert uploaded.status == 200, uploaded
        planned = server.request("POST", "/api/destinations/perkville/replays", b'{"dryRun": true}')
        assert planned.status == 200, planned
        yield server


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; return the lines that it prints."""

    def call(*arguments: str, status: int = 0) -> list[str]:
        capsys.readouterr()
        result = run(arguments)
        printed = capsys.readouterr()
        assert result == status, printed
        return (printed.out if status == 0 else printed.err).splitlines()

    return call


def names(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    for name, child in group.commands.items():
        if hasattr(child, "commands"):
            yield from names(child, *path, name)
        else:
            yield " ".join([*path, name]), child


def test_every_command_that_prints_a_list_prints_json_too() -> None:
    commands = dict(names(typer.main.get_command(app)))
    without = {
        name
        for name, each in commands.items()
        if not {"--json", "--format"} & {option for parameter in each.params for option in parameter.opts}
    }
    assert {name for name in without if not name.startswith("send ")} == OTHERS
    listed = {name for line in LISTS for name in commands if f"{line} ".startswith(f"{name} ")}
    assert listed == {name for name in commands if name.endswith((" list", " members", " uploads"))} | {
        "conflicts",
        "replay",
    }


def test_json_is_as_in_the_public_api(world: PublicApiServer, command: Command) -> None:
    for line, call in LISTS.items():
        items = [json.loads(text) for text in command(*line.split(), "--json")]
        if call is None:
            continue
        response = world.request("GET", call[0]).json()["data"][call[1]]
        if line == "source list":
            assert items[0].pop("writeKeys") == ["••••0001"]
            response[0].pop("writeKeys")
        assert items == response, line
        assert items or line == "alerts list", line


def test_tables_are_for_people(world: PublicApiServer, command: Command) -> None:
    for line in LISTS:
        printed = "\n".join(command(*line.split()))
        assert printed, line
        assert "{'" not in printed, (line, printed)
        assert "wk_website_0001" not in printed, line
    assert "p0@example.com" in "\n".join(command("transactions", "list", "--customer", "P0@example.com"))
    assert command("transactions", "list", "--state", "parked") == ["No transaction matches."]
    newest = "\n".join(command("events", "list", "--count", "2"))
    assert command("events", "list", "--count", "9" * 30) == command("events", "list", "--count", "50")
    assert ("m2" in newest, "second" in newest, "first" in newest) == (False, True, True)
    assert "perkville conflict" in newest


@pytest.mark.parametrize("format", ["csv", "parquet", "json"])
def test_a_list_is_exported_to_a_file(world: PublicApiServer, command: Command, tmp_path: Path, format: str) -> None:
    file = tmp_path / f"export.{format}"
    for line, key, count in (
        ("transactions list", "messageId", 4),
        ("events list", "messageId", 5),
        ("customers list", "id", 4),
        ("audience members regulars", "id", 3),
        ("audit list", "id", 7),
    ):
        assert command(*line.split(), "--format", format, "--output", str(file)) == []
        if format == "parquet":
            rows = pq.read_table(file).to_pylist()
        elif format == "csv":
            rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
            assert "=1" not in {value for row in rows for value in row.values()}
        else:
            rows = [json.loads(text) for text in file.read_text().splitlines()]
        assert len({row[key] for row in rows}) == len(rows) == count, line
        assert not file.with_name(f"{file.name}.part").exists()
    command("events", "list", "--format", format, "--count", "2", "--output", str(file))
    assert len(pq.read_table(file) if format == "parquet" else file.read_text().splitlines()) == 3 - (format != "csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("transactions list --format xlsx", "--format is table, json, csv or parquet"),
        ("transactions list --state nowhere", "nowhere"),
        ("events list --type nonsense", "The type is one of track, identify"),
        ("events list --status nonsense", "nonsense"),
        ("events list --reason not_allowlisted", "by a reason only together with a status"),
        ("events list --destination perkville", "by a destination only together with a status"),
        ("events list --since yesterday", "--since yesterday"),
        ("events list --source shop", "--source shop: There is no source shop. Use one of: website."),
        ("events list --status refused --destination shop --json", "--destination shop: There is no destination shop."),
        ("transactions list --destination shop", "--destination shop: There is no destination shop. Use one of: perk"),
        ("transactions list --destination shop --json", "--destination shop: There is no destination shop."),
        ("transactions list --destination shop --format csv", "--destination shop: There is no destination shop."),
        ("conflicts --destination shop --json", "--destination shop: There is no destination shop. Use one of: perk"),
        ("audience members nobody", "There is no audience or computed trait nobody (known: regulars, vip)"),
        ("user reset nobody@example.com", "There is no operator nobody@example.com (known: "),
        ("conflicts 1 --json", "--json prints the list"),
    ],
)
def test_a_wrong_call_is_named(world: PublicApiServer, command: Command, line: str, message: str) -> None:
    assert message in "\n".join(command(*line.split(), status=2))


def test_a_list_of_a_removed_part_can_still_be_read(world: PublicApiServer, command: Command) -> None:
    for path in ("/api/transformations/fix-order", "/api/destinations/perkville", "/api/sources/website"):
        assert world.request("DELETE", path).status == 200
    assert len(command("transactions", "list", "--destination", "perkville", "--json")) == 4
    assert len(command("events", "list", "--source", "website", "--json")) == 5
    assert len(command("conflicts", "--destination", "perkville", "--json")) == 1


def test_a_lost_password_is_reset(world: PublicApiServer, command: Command) -> None:
    browser = FormBrowser(world)
    browser.sign_in("editor@acme.example")
    with world.store.unit_of_work() as work:
        note_failure(work, ["editor@acme.example 127.0.0.1"] * 8, clock=world.clock)
        note_failure(work, ["owner@acme.example 127.0.0.1"], clock=world.clock)
    printed = command("user", "reset", "Editor@acme.example")
    password = printed[0].rpartition(": ")[2]
    assert len(password) >= 20
    assert browser.get("/").status == 303  # its session has ended
    assert browser.sign_in("editor@acme.example", PASSWORD).status == 401
    assert browser.sign_in("editor@acme.example", password).status == 303
    with world.store.reading() as work:
        assert count_failures(work, "owner@acme.example 127.0.0.1", clock=world.clock) == 1
    audit = [json.loads(text) for text in command("audit", "list", "--json", "--count", "1")]
    assert (audit[0]["type"], audit[0]["actor"]) == ("operator.change", "command line")
    assert password not in json.dumps(audit)

"""`punchcard plan`: from the events of a source to an attached plan."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from punchcard.cli.running import run
from punchcard.testing.partner.configuration import WEBSITE_DESTINATION
from punchcard.testing.public_api import PublicApiServer

CONFIG = (
    """
[[sources]]
slug = "website"
write_key = "wk_website"
"""
    + WEBSITE_DESTINATION
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as opened:
        yield opened


@pytest.fixture
def plan(
    server: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(["plan", *arguments, "--data", str(tmp_path)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_plan_is_inferred_checked_and_attached(
    server: PublicApiServer, plan: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    server.clock.set_wall_clock(by=(datetime.now(UTC) - server.clock.now()).total_seconds() - 60)
    for number in range(3):
        own = {"order_id": f"o{number}", "total": 9, "email": "ann@example.com"}
        server.send({"event": "Order Completed", "userId": "u", "messageId": f"m{number}", "properties": own})
    server.route()
    assert plan("list")[1] == "There are no tracking plans. Make one with `punchcard plan infer SOURCE`.\n"
    status, out, _ = plan("infer", "website", "--days", "100", "--dry-run")
    assert (status, json.loads(out)["rules"][0]["key"]) == (0, "Order Completed")
    assert "made with 1 rule" in plan("infer", "website", "--name", "Shop", "--days", "100")[1]
    assert "total" in plan("show", "shop")[1]

    other = {"order_id": "o9", "total": "9", "email": "ann@example.com"}
    server.send({"event": "Order Completed", "userId": "u", "messageId": "m9", "properties": other})
    server.route()
    server.feed_lake()
    status, out, _ = plan("check", "shop", "--source", "website", "--block", "--days", "100")
    assert status == 1
    assert "1 of 4 events violate the plan." in out
    assert "At stake at Perkville: 1 award of 123456, quantity 9." in out
    status, out, _ = plan("check", "shop", "--source", "website", "--days", "100", "--json")
    assert json.loads(out)["violationField"] == "properties.total"

    assert "attached to website" in plan("attach", "shop", "website")[1]
    assert [
        source["id"] for source in server.request("GET", "/api/tracking-plans/shop/sources").json()["data"]["sources"]
    ]
    assert "detached from website" in plan("attach", "shop", "website", "--detach")[1]

    exported = tmp_path / "exported.json"
    exported.write_text(plan("export", "shop")[1])
    assert "1 rule saved in the tracking plan copy" in plan("import", str(exported), "--name", "Copy")[1]
    table = tmp_path / "more.csv"
    table.write_text("Event,Property,Type\nSigned Up,plan,string\n")
    assert "1 rule saved in the tracking plan copy" in plan("import", str(table), "--to", "copy")[1]
    assert len(plan("show", "copy", "--json")[1].splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["show", "nothing"], "There is no tracking plan nothing"),
        (["attach", "nothing", "website"], "There is no tracking plan nothing"),
        (["infer", "nothing"], "There is no source nothing"),
        (["infer", "website"], "has sent no events"),
        (["check", "nothing", "--source", "website"], "There is no tracking plan nothing"),
    ],
)
def test_refusal_says_why(plan: Callable[..., tuple[int, str, str]], arguments: list[str], part: str) -> None:
    status, out, error = plan(*arguments)
    assert (status, out) == (2, "")
    assert part in error


def test_invalid_file_is_refused_with_its_place(plan: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"rules": [{"type": "TRACK", "key": "A", "jsonSchema": {"properties": {"a": {"type": "x"}}}}]}')
    status, _, error = plan("import", str(file))
    assert status == 2
    assert "jsonSchema.properties.a.type" in error
    file.write_text("[")
    assert "not JSON" in plan("import", str(file))[2]

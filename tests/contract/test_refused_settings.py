"""Settings that Perkville does not accept are saved with a warning, everywhere; if it is down, without one."""

import asyncio
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import pytest

from punchcard.cli.running import run
from punchcard.destinations.perkville.client import PerkvilleClient
from punchcard.destinations.perkville.settings import read_settings
from punchcard.destinations.port import MappingChoice
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.sandbox import SandboxProcess

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
businessId = "{business}"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
[destinations.options]
apiBaseUrl = "{url}"
"""
UNKNOWN = "does not accept the saved settings: Business 999: it does not exist at Perkville"
FORM = {
    "apiKey": "sandbox-token",
    "businessId": "41",
    "locationId": "7",
    "sources": "website",
    "name": "Points",
    "enabled": "on",
    "requestsPerSecond": "3",
    "concurrency": "32",
    "requestTimeoutSeconds": "10",
    "unknownWaitSeconds": "10",
    "retryBaseSeconds": "30",
    "retryAttemptsMax": "10",
    "refundMethod": "auto",
    "orderIdScope": "destination",
    "refundWaitHours": "24",
    "refundFollows": "order",
}
NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str, sandbox: SandboxProcess) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG.format(business="41", url=sandbox.url)) as server:
        add_operators(server)
        yield server


def notices_after_saving(owner: FormBrowser, **fields: str) -> str:
    page = owner.post("/destinations/perkville/settings", **(FORM | fields))
    assert page.status == 303
    return html.unescape(owner.get(unquote(page.headers["location"])).text)


def test_the_app_warns_of_an_account_that_perkville_does_not_know(
    world: PublicApiServer, sandbox: SandboxProcess
) -> None:
    owner = signed_in(world, "owner")
    url = {"apiBaseUrl": sandbox.url}
    page = notices_after_saving(owner, businessId="999", **url)
    assert "The settings were saved" in page
    assert f"Points {UNKNOWN}" in page
    assert page.count("alert alert-warning") == 1
    assert "does not accept" not in notices_after_saving(owner, name="Loyalty", businessId="999", **url)
    assert "does not accept the saved settings: " in notices_after_saving(owner, apiKey="wrong", **url)
    assert "does not accept" not in notices_after_saving(owner, **url)


def test_a_partner_that_is_down_or_disabled_gives_no_warning(world: PublicApiServer, sandbox: SandboxProcess) -> None:
    owner = signed_in(world, "owner")
    for fields in ({"apiBaseUrl": NOBODY_LISTENS}, {"apiBaseUrl": sandbox.url, "enabled": ""}):
        page = notices_after_saving(owner, businessId="999", **fields)
        assert "The settings were saved" in page
        assert "does not accept" not in page


def test_the_public_api_answers_a_change_with_the_warning(world: PublicApiServer) -> None:
    path, change = "/api/destinations/perkville", {"settings": {"businessId": "999"}}
    response = world.request("PATCH", path, json.dumps(change).encode(), headers={"Content-Type": "application/json"})
    assert response.status == 200
    (warning,) = response.json()["data"]["destination"]["warnings"]
    assert UNKNOWN in warning
    assert world.request("GET", path).json()["data"]["destination"]["warnings"] == []


def test_the_command_line_warns_when_it_applies_a_file(
    tmp_path: Path, sandbox: SandboxProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "punchcard.toml"
    for url, warns in ((sandbox.url, True), (NOBODY_LISTENS, False)):
        file.write_text(CONFIG.format(business="999", url=url))
        assert run(["apply", str(file), "--data", str(tmp_path / "data")]) == 0
        assert (f"Warning: Perkville {UNKNOWN}" in capsys.readouterr().err) is warns


def test_mapped_perks_of_another_business_have_titles_and_points_still(sandbox: SandboxProcess) -> None:
    async def choices(business_id: str) -> Sequence[MappingChoice]:
        event_map = {"Checked In": "123457", "Gone": "1"}
        settings = {
            "apiKey": "sandbox-token",
            "businessId": business_id,
            "locationId": "7",
            "eventToPerkMap": event_map,
        }
        client = PerkvilleClient(read_settings(settings, {"apiBaseUrl": sandbox.url}))
        try:
            return await client.mapping_choices()
        finally:
            await client.close()

    known = {choice.value: choice for choice in asyncio.run(choices("41"))}
    (foreign,) = asyncio.run(choices("999"))
    assert (foreign.value, foreign.title, foreign.points) == ("123457", known["123457"].title, known["123457"].points)
    assert foreign.note == "belongs to business 41, not to 999"

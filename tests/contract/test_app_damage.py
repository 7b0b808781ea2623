"""What the App shows of damage: an alert on Home, and a page that says so instead of failing."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.log.port import NewRecord
from punchcard.store.routing.lake_status import note_lake_failure, note_lake_loss, note_lake_success
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
apiKey = "sandbox-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


def test_home_tells_of_an_unreadable_record_and_leads_to_it(world: PublicApiServer, owner: FormBrowser) -> None:
    assert "could not be read" not in owner.get("/").text
    world.log.append([NewRecord(1_767_312_000_000_000, "wk_website", "track", "zstd", b"garbage", "")])
    world.send({"userId": "ann", "event": "Checked In", "messageId": "fine"})
    world.route()
    home = owner.get("/").text
    assert "<strong>1 record could not be read in the last seven days.</strong>" in home
    assert "/events?time=7d&amp;status=failed_on_ingest&amp;reason=unreadable_record" in home
    world.clock.advance(timedelta(days=8).total_seconds())
    assert "could not be read" not in owner.get("/").text


def test_home_tells_of_a_lake_that_cannot_be_used_and_of_what_it_lost(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        note_lake_failure(work, "a file is missing <b>", now=now)
        note_lake_failure(work, "a file is missing <b>", now=now + timedelta(hours=1))
        note_lake_loss(work, 3, begin=now, end=now, now=now)
    home = owner.get("/").text
    assert "The data lake cannot be used" in home
    assert "A file is missing &lt;b&gt;." in home
    assert "<code>punchcard lake repair</code>" in home
    assert "<strong>3 events were lost from the data lake" in home
    with world.store.unit_of_work() as work:
        note_lake_success(work)
        note_lake_loss(work, 0, begin=None, end=None, now=now)
    assert "data lake" not in owner.get("/").text


@pytest.mark.parametrize("path", ["/events", "/events/fine-1", "/customers/ann", "/sources/website/debugger"])
def test_pages_that_read_the_lake_say_that_it_cannot_be_read(
    world: PublicApiServer, owner: FormBrowser, tmp_path: Path, path: str
) -> None:
    world.send({"userId": "ann", "event": "Checked In", "messageId": "fine"})
    world.route()
    world.feed_lake()
    for commit in (tmp_path / "lake" / "_delta_log").glob("*.json"):
        commit.write_bytes(b"garbage")
    page = owner.get(path)
    assert page.status == 503
    assert "The data lake cannot be read" in page.text
    assert "punchcard lake repair" in page.text


@pytest.mark.parametrize("path", ["/sources", "/destinations/perkville/tester", "/destinations/perkville/map"])
def test_pages_that_can_do_without_the_lake_work_when_it_is_damaged(
    world: PublicApiServer, owner: FormBrowser, tmp_path: Path, path: str
) -> None:
    world.send({"userId": "ann", "event": "Checked In", "messageId": "fine"})
    world.send({"userId": "ann", "event": "Checked In", "messageId": "lost"}, write_key="wk_nobody")
    world.route()
    world.feed_lake()
    for commit in (tmp_path / "lake" / "_delta_log").glob("*.json"):
        commit.write_bytes(b"garbage")
    page = owner.get(path)
    assert page.status == 200, page.text
    assert ("punchcard lake repair" in page.text) == (path == "/sources")

"""Home and the destination's page say that credentials are refused, when the next check is, and that it is over."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.clock import SystemClock
from punchcard.store.delivery.pauses import Pause, PauseEnd, end_pause, pause, pause_of, plan_check
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
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def test_a_pause_is_shown_while_it_lasts_and_for_a_while_after(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    pages = ("/", "/destinations/perkville")
    now = world.clock.now()
    lasting = Pause(
        destination="perkville",
        reason="credentials_refused",
        detail="Perkville answered 401: <b>no</b>",
        since=now,
        settings_fingerprint="x",
    )
    with world.store.unit_of_work() as work:
        pause(work, lasting)
        plan_check(work, lasting, checks=1, next_check_at=now + timedelta(seconds=40))
    for path in pages:
        text = browser.send("GET", path).text
        assert "refused since" in text
        assert "Next check" in text
        assert "401: &lt;b&gt;no" in text
    world.send({"userId": "a", "event": "Checked In", "messageId": "m", "properties": {"email": "a@example.com"}})
    world.route()
    assert "Credentials refused since" in browser.send("GET", "/events/m").text
    with world.store.unit_of_work() as work:
        current_pause = pause_of(work, "perkville")
        assert current_pause is not None
        end_pause(work, current_pause, by=PauseEnd.CHECK, now=now + timedelta(minutes=3))
    for path in pages:
        text = browser.send("GET", path).text
        assert "credentials were refused from" in text
        assert "Next check at" not in text
    assert "Credentials refused since" not in browser.send("GET", "/events/m").text


def test_a_pause_that_somebody_ended_is_not_shown_any_more(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    now = SystemClock().now()
    lasting = Pause(
        destination="perkville", reason="credentials_refused", detail="no", since=now, settings_fingerprint="x"
    )
    with world.store.unit_of_work() as work:
        pause(work, lasting)
        end_pause(work, lasting, by=PauseEnd.OPERATOR, now=now)
    assert "credentials" not in browser.send("GET", "/").text

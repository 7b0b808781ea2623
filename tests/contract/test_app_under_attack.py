"""The App against foreign names and floods: DNS rebinding makes nobody the owner, and only signing in slows down."""

import asyncio
import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.app.passwords import PasswordPool, PasswordsBusyError
from punchcard.store.access.operators import count_operators
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

CONFIG = '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n'
OWNER = {
    "name": "Mallory",
    "email": "mallory@evil.example",
    "password": "a password of mallory",
    "workspace": "Mine",
    "timezone": "UTC",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def owners(world: PublicApiServer) -> int:
    with world.store.reading() as work:
        return count_operators(work)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_rebound_name_cannot_become_the_owner(world: PublicApiServer, host: str) -> None:
    browser = FormBrowser(world)
    response = browser.send("POST", "/welcome", OWNER, headers={"Host": host, "Origin": f"http://{host}"})
    assert response.status == 421
    assert "allowed_hosts" in response.text
    assert owners(world) == 0
    assert browser.send("POST", "/welcome", OWNER).status == 303
    assert owners(world) == 1


@pytest.mark.parametrize("path", ["/", "/welcome", "/sign-in", "/settings", "/assets/app.css", "/nothing"])
def test_no_page_answers_under_a_foreign_name(world: PublicApiServer, path: str) -> None:
    assert FormBrowser(world).send("GET", path, headers={"Host": "evil.example"}).status == 421


def test_two_hosts_are_none(world: PublicApiServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=PATIENCE_SECONDS)
    connection.putrequest("GET", "/sign-in", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


# --- floods of attempts to sign in


def test_attempts_at_once_count_before_their_passwords_are_checked(world: PublicApiServer) -> None:
    add_operators(world)
    statuses: list[int] = []

    def attempt() -> None:
        response = FormBrowser(world).send("POST", "/sign-in", {"email": "owner@acme.example", "password": "wrong" * 3})
        statuses.append(response.status)

    threads = [threading.Thread(target=attempt) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.count(401) <= 8
    assert set(statuses) <= {401, 429, 503}


def test_a_right_password_after_wrong_ones_forgets_them(world: PublicApiServer) -> None:
    add_operators(world)
    for _ in range(3):
        for _ in range(7):
            assert FormBrowser(world).sign_in("owner@acme.example", "not the password").status == 401
        assert FormBrowser(world).sign_in("owner@acme.example").status == 303
        # Those from this address, with whatever email, stay: forget them, or the third round is one too many.
        world.clock.advance(20 * 60)


def test_many_right_passwords_from_one_address_are_no_flood(world: PublicApiServer) -> None:
    add_operators(world)
    for _ in range(50):
        assert FormBrowser(world).sign_in("owner@acme.example").status == 303


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP"])
def test_a_header_does_not_evade_the_throttle(world: PublicApiServer, header: str) -> None:
    add_operators(world)
    form = {"email": "owner@acme.example", "password": "not the password"}
    statuses = [
        FormBrowser(world).send("POST", "/sign-in", form, headers={header: f"192.0.2.{number}"}).status
        for number in range(12)
    ]
    assert statuses == [401] * 8 + [429] * 4


def test_the_pool_takes_a_few_and_refuses_the_rest() -> None:
    async def flood() -> tuple[int, int, float]:
        pool = PasswordPool(threads=1, waiting_max=2)
        release = threading.Event()
        calls = [asyncio.ensure_future(pool.run(release.wait, PATIENCE_SECONDS)) for _ in range(10)]
        await asyncio.sleep(0)
        begun = time.monotonic()
        await asyncio.to_thread(lambda: None)  # the threads of everything else are free
        waited = time.monotonic() - begun
        release.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = sum(isinstance(result, PasswordsBusyError) for result in results)
        assert await pool.run(lambda: "free again") == "free again"
        return refused, sum(result is True for result in results), waited

    refused, done, _ = asyncio.run(flood())
    assert (refused, done) == (7, 3)


def test_a_caller_that_gives_up_does_not_free_a_place() -> None:
    async def give_up() -> None:
        pool = PasswordPool(threads=1, waiting_max=0)
        release = threading.Event()
        call = asyncio.ensure_future(pool.run(release.wait, PATIENCE_SECONDS))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        with pytest.raises(PasswordsBusyError):
            await pool.run(lambda: None)
        release.set()
        while pool._pending:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.01)
        await pool.run(lambda: None)

    asyncio.run(give_up())

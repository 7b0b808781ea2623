"""Operators with passkeys at browsers and devices, for the tests of passkeys."""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.access.operators import Operator, create_operator, operator_by_email
from punchcard.store.access.token_store import Role
from punchcard.testing.authenticator import Authenticator
from punchcard.testing.operators import PASSWORD, PASSWORD_HASH, FormBrowser, PageResponse, add_operators
from punchcard.testing.public_api import PublicApiServer

HOUR_SECONDS = 60 * 60
CODES = re.compile(r"[a-z2-9]{4}(?:-[a-z2-9]{4}){3}")


@contextmanager
def running_app(folder: Path) -> Iterator[PublicApiServer]:
    """An App with an operator of each role."""
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", '[workspace]\nname = "Acme"\n') as server:
        add_operators(server)
        yield server


class LocalBrowser(FormBrowser):
    """A browser that has opened the App at localhost: browsers have no passkeys for addresses."""

    def __init__(self, world: PublicApiServer) -> None:
        super().__init__(world)
        self.host = f"localhost:{world.port}"

    def send(
        self,
        method: str,
        path: str,
        form: Mapping[str, str | Sequence[str]] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> PageResponse:
        return super().send(method, path, form, headers={"Host": self.host, **(headers or {})}, body=body)


class Person:
    """An operator at a browser, with a device."""

    def __init__(self, world: PublicApiServer, name: str) -> None:
        self.world = world
        self.email = f"{name}@acme.example"
        with world.store.unit_of_work() as work:
            create_operator(
                work, email=self.email, name=name, role=Role.EDITOR, password=PASSWORD_HASH, clock=world.clock
            )
        self.browser = LocalBrowser(world)
        assert self.browser.sign_in(self.email).headers["location"] == "/"
        self.device = Authenticator(origin=f"http://localhost:{world.port}")
        self.codes: list[str] = []

    @property
    def operator(self) -> Operator:
        with self.world.store.reading() as work:
            operator = operator_by_email(work, self.email)
        assert operator is not None
        return operator

    def begin(self) -> PageResponse:
        page = self.browser.post("/settings/passkeys/begin", password=PASSWORD)
        assert page.status == 200, page.text
        return page

    def add(self, device: Authenticator | None = None, name: str = "My phone") -> PageResponse:
        """Add a passkey with a device."""
        page = self.begin()
        response = (device or self.device).create(options_of(page))
        added = self.browser.post("/settings/passkeys/create", state=state_of(page), response=response, name=name)
        self.codes = self.codes or CODES.findall(added.text)
        return added


def options_of(page: PageResponse) -> str:
    matched = re.search(r'data-options="([^"]+)"', page.text)
    assert matched, page.text
    return html.unescape(matched[1])


def state_of(page: PageResponse) -> str:
    matched = re.search(r'name="state"\s+value="([^"]+)"', page.text)
    assert matched, page.text
    return matched[1]


def sign_in(world: PublicApiServer, device: Authenticator, browser: FormBrowser | None = None) -> PageResponse:
    """Sign in with the passkey of a device alone."""
    browser = browser or LocalBrowser(world)
    page = browser.get("/sign-in")
    return browser.send(
        "POST", "/sign-in/passkey", {"state": state_of(page), "response": device.sign(options_of(page)), "next": "/"}
    )


def enter_password(person: Person) -> tuple[FormBrowser, PageResponse]:
    """A new browser in which the password was accepted, and its page for the second step."""
    browser = LocalBrowser(person.world)
    assert browser.sign_in(person.email, next="/sources").headers["location"] == "/sign-in/code"
    assert browser.get("/").headers["location"] == "/sign-in"
    return browser, browser.get("/sign-in/code")


def message_of(page: PageResponse) -> str:
    matched = re.search(r'role="alert"[^>]*>.*?<div>\s*(?:<div>)?([^<]+?)</div>', page.text, re.DOTALL)
    assert matched, page.text
    return html.unescape(matched[1])


def changes_of(person: Person) -> list[str]:
    """What the audit log has of an operator, oldest first."""
    with person.world.store.reading() as work:
        operator = operator_by_email(work, person.email)
        assert operator is not None
        events = list_events(work, AuditQuery(resource_id=operator.id), count=100)
    changes = [json.loads(event.changes)[0] for event in reversed(events)]
    return [f"{change['path']}: {change['before']} -> {change['after']}" for change in changes]

"""A browser without a screen: keeps cookies and says where its forms come from, for tests of the App's answers."""

import http.client
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

import argon2

from punchcard.store.operators import create_operator
from punchcard.store.token_store import Role
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

PASSWORD = "correct horse battery"
# The hash says itself how much work it takes to check, and this one takes none: tests sign in a thousand times.
_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def add_operators(world: PublicApiServer) -> None:
    """One person of each role: `owner@acme.example` and so on, all with the same password."""
    for role in Role:
        with world.store.unit_of_work() as work:
            create_operator(work, email=f"{role}@acme.example", name=role, role=role, password=_HASH, clock=world.clock)


class PageResponse(NamedTuple):
    """What the App answered: `headers` by lower-case name, `cookies` as they were set."""

    status: int
    headers: Mapping[str, str]
    cookies: dict[str, str]
    text: str


class FormBrowser:
    """Asks the App as a browser does.

    Attributes:
        cookies: By name, as the next request sends them.
    """

    def __init__(self, world: PublicApiServer) -> None:
        self._world = world
        self.cookies: dict[str, str] = {}

    def ask(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> PageResponse:
        """One request; with a form it is posted from one of our own pages, unless `headers` say otherwise."""
        every = {"Accept": "text/html", "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if form is not None:
            every |= {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        connection = http.client.HTTPConnection("127.0.0.1", self._world.port, timeout=PATIENCE_SECONDS)
        try:
            body = None if form is None else urlencode(form).encode()
            connection.request(method, path, body, {k: v for k, v in {**every, **(headers or {})}.items() if v})
            answer = connection.getresponse()
            set_cookies = answer.msg.get_all("set-cookie") or []
            cookies = dict(one.split(";")[0].partition("=")[::2] for one in set_cookies)
            page_response = PageResponse(
                answer.status,
                {k.lower(): v for k, v in answer.getheaders()},
                {one.partition("=")[0]: one for one in set_cookies},
                answer.read().decode(),
            )
        finally:
            connection.close()
        for name, value in cookies.items():
            if value.strip('"'):
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return page_response

    def get(self, path: str) -> PageResponse:
        """A page."""
        return self.ask("GET", path)

    def post(self, path: str, /, **form: str) -> PageResponse:
        """A form of a page of ours: with what only our pages know."""
        page = self.get("/settings/password")
        match = re.search(r'name="_csrf" value="(\w+)"', page.text)
        return self.ask("POST", path, {"_csrf": match.group(1) if match else "", **form})

    def sign_in(self, email: str, password: str = PASSWORD, **form: str) -> PageResponse:
        """The form of the sign-in page."""
        return self.ask("POST", "/sign-in", {"email": email, "password": password, **form})

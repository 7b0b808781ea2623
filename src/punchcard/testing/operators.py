"""A browser without a screen that stores cookies and sends the origin of forms, for tests of the App's responses."""

import http.client
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import argon2

from punchcard.store.access.operators import create_operator
from punchcard.store.access.token_store import Role
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

PASSWORD = "correct horse battery"
# The hash determines the work of a check, and this one needs almost none: tests sign in a thousand times.
PASSWORD_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def add_operators(world: PublicApiServer) -> None:
    """Add an operator of each role: `owner@acme.example` and so on, all with the same password."""
    for role in Role:
        with world.store.unit_of_work() as work:
            create_operator(
                work, email=f"{role}@acme.example", name=role, role=role, password=PASSWORD_HASH, clock=world.clock
            )


class PageResponse(NamedTuple):
    """A response of the App: `headers` by lower-case name, `cookies` as they were set."""

    status: int
    headers: Mapping[str, str]
    cookies: dict[str, str]
    text: str


class FormBrowser:
    """Sends requests to the App like a browser.

    Attributes:
        cookies: Cookies by name, as sent with the next request.
    """

    def __init__(self, world: PublicApiServer) -> None:
        self._world = world
        self.cookies: dict[str, str] = {}

    def send(
        self,
        method: str,
        path: str,
        form: Mapping[str, str | Sequence[str]] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> PageResponse:
        """Send one request; a form is posted from one of our own pages, unless `headers` differ.

        Args:
            form: Fields; one that occurs several times has a list of values.
            body: Sent as it is, without a form.
        """
        all_headers = {"Accept": "text/html", "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if form is not None:
            all_headers |= {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        connection = http.client.HTTPConnection("127.0.0.1", self._world.port, timeout=PATIENCE_SECONDS)
        try:
            body = body if form is None else urlencode(form, doseq=True).encode()
            connection.request(method, path, body, {k: v for k, v in {**all_headers, **(headers or {})}.items() if v})
            response = connection.getresponse()
            set_cookies = response.msg.get_all("set-cookie") or []
            cookies = dict(cookie.split(";")[0].partition("=")[::2] for cookie in set_cookies)
            page_response = PageResponse(
                response.status,
                {k.lower(): v for k, v in response.getheaders()},
                {cookie.partition("=")[0]: cookie for cookie in set_cookies},
                response.read().decode(),
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
        """Get a page."""
        return self.send("GET", path)

    def post(self, path: str, /, **form: str | Sequence[str]) -> PageResponse:
        """Post a form of one of our pages, with its token."""
        page = self.get("/settings/password")
        match = re.search(r'name="_csrf" value="(\w+)"', page.text)
        return self.send("POST", path, {"_csrf": match.group(1) if match else "", **form})

    def upload(self, path: str, content: bytes, *, file_name: str = "list.csv", **form: str) -> PageResponse:
        """Post a form with a file in the field `file`, with the token of our pages."""
        match = re.search(r'name="_csrf" value="(\w+)"', self.get("/settings/password").text)
        fields = {"_csrf": match.group(1) if match else "", **form}
        parts = [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode() for name, text in fields.items()
        ]
        parts.append(f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\n\r\n'.encode() + content)
        body = b"".join(b"--end-of-part\r\n" + part + b"\r\n" for part in parts) + b"--end-of-part--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=end-of-part", "Sec-Fetch-Site": "same-origin"}
        return self.send("POST", path, headers=headers, body=body)

    def sign_in(self, email: str, password: str = PASSWORD, **form: str) -> PageResponse:
        """Post the form of the sign-in page."""
        return self.send("POST", "/sign-in", {"email": email, "password": password, **form})


def signed_in(world: PublicApiServer, role: str) -> FormBrowser:
    """Return a browser in which the operator with this role has signed in.

    Args:
        role: `owner`, `editor` or `read_only`, as `add_operators` has them.
    """
    browser = FormBrowser(world)
    assert browser.sign_in(f"{role}@acme.example").status == 303
    return browser

"""The sandbox's web site: its routes, and the protection of its forms."""

import re
from collections.abc import Callable

from punchcard.clock import Clock
from punchcard.sandbox.database import Database
from punchcard.sandbox.faults import FaultInjector
from punchcard.sandbox.pages import apps, catalog, customers, fault_form
from punchcard.sandbox.pages.view import FOLDER, View
from punchcard.sandbox.web import Request, SandboxResponse

Page = Callable[[View, Request, int], SandboxResponse]
"""Responds to a request; the number is the id in the URL, 0 if it has none."""

ROUTES: list[tuple[str, str, Page]] = [
    ("GET", r"/", fault_form.home),
    ("GET", r"/settings/usr/apps/", apps.list_tokens),
    ("GET", r"/settings/usr/apps/segment/", apps.confirm_token),
    ("POST", r"/settings/usr/apps/segment/", apps.create_token),
    ("POST", r"/settings/usr/apps/revoke/", apps.revoke_token),
    ("POST", r"/settings/usr/apps/restore/", apps.restore_token),
    ("GET", r"/perks/", catalog.list_perks),
    ("POST", r"/perks/", catalog.add_perk),
    ("GET", r"/perks/([0-9]{1,18})/", catalog.show_perk),
    ("POST", r"/perks/([0-9]{1,18})/", catalog.save_perk),
    ("GET", r"/locations/", catalog.list_locations),
    ("GET", r"/customers/", customers.list_customers),
    ("GET", r"/customers/([0-9]{1,18})/", customers.show_customer),
    ("GET", r"/transactions/", customers.list_transactions),
    ("POST", r"/transactions/([0-9]{1,18})/void/", customers.void),
    ("GET", r"/faults/", fault_form.show_faults),
    ("POST", r"/faults/", fault_form.save_faults),
]

_SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_STYLE_PATH = "/static/sandbox.css"


class Site:
    """Responds to all requests outside of the API and the control API."""

    def __init__(self, database: Database, clock: Clock, injector: FaultInjector) -> None:
        self._view = View(database, clock, injector)
        self._style = (FOLDER / "static" / "sandbox.css").read_bytes()
        self._routes = [(method, re.compile(pattern), page) for method, pattern, page in ROUTES]

    def response(self, request: Request) -> SandboxResponse:
        """Return the response to a request.

        Raises:
            StorageError: A change cannot be stored now.
        """
        if request.path == _STYLE_PATH:
            return SandboxResponse(200, self._style, "text/css; charset=utf-8", (("Cache-Control", "max-age=60"),))
        response = self._page(request)
        return SandboxResponse(
            response.status, response.body, response.content_type, (*response.headers, *_SECURITY_HEADERS)
        )

    def _page(self, request: Request) -> SandboxResponse:
        if request.is_write and not is_same_site(request):
            message = "This form was sent from another site and is refused. Use the sandbox's own page."
            return self._view.page("message.html", request, status=403, title="Refused", message=message)
        for method, pattern, page in self._routes:
            match = pattern.fullmatch(request.path)
            if match is not None and method == request.method:
                return page(self._view, request, int(match[1]) if pattern.groups else 0)
        message = "There is no such page in the sandbox."
        return self._view.page("message.html", request, status=404, title="Not found", message=message)


def is_same_site(request: Request) -> bool:
    """Return whether a form was sent by these pages, or by a tool that is not a browser.

    Browsers send the origin of a form; a page of another site must not change data here.
    """
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")

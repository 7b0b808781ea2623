"""One request of an operator: who it is, what they may do, and how an answer is made."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.exceptions import PermissionDeniedException
from litestar.params import SkipValidation

from punchcard.app.passwords import PasswordPool
from punchcard.app.rendering import Renderer
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.partner_queries import MappingChoiceCache
from punchcard.store.operators import SESSION_LENGTH, Operator
from punchcard.store.token_store import Role
from punchcard.workspace.model import Workspace

PUBLIC = "public"
"""Under this name a handler's `opt` says that nobody needs to be signed in."""

REQUIRED_ROLE = "required_role"
"""Under this name a handler's `opt` says which role it needs, where the method does not say it."""

SESSION_COOKIE = "punchcard_session"
NOTICE_COOKIE = "punchcard_notice"
_NOTICE_SECONDS = 60
_NOTICE_CHARACTERS_MAX = 1500

Page = Response[str]


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """One request.

    Attributes:
        passwords: Where password hashes are computed.
        mapping_choices: What partners have said of late.
        operator: Who is signed in, None on the pages before that.
        secret: Of the session, "" without one.
        form: The fields of a posted form, each with all its values.
        notices: What the page before has left to be said.
    """

    dependencies: Dependencies
    renderer: Renderer
    passwords: PasswordPool
    mapping_choices: MappingChoiceCache
    request: Request[Any, Any, Any]
    operator: Operator | None
    secret: str
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notices: Sequence[str] = ()

    @property
    def actor(self) -> str:
        """Who does it, for the audit log."""
        return f"operator {self.operator.email}" if self.operator else "nobody"

    @property
    def csrf(self) -> str:
        """What a form must hold to be taken: only our own pages know it."""
        return csrf_token(self.secret)

    def may(self, role: Role) -> bool:
        """Whether the operator may do what this role may."""
        return self.operator is not None and self.operator.role.may(role)

    def require_role(self, role: Role) -> None:
        """Refuse the request of who may not do what this role may.

        Raises:
            PermissionDeniedException: they may not.
        """
        if not self.may(role):
            raise PermissionDeniedException(f"this needs somebody who is {role.replace('_', ' ')}")

    def field(self, name: str) -> str:
        """A field of the form without blanks around it, "" if it is not there."""
        values = self.form.get(name, ())
        return values[-1].strip() if values else ""

    def fields(self, name: str) -> list[str]:
        """All values of a field of the form, without blanks around them."""
        return [value.strip() for value in self.form.get(name, ())]

    def query(self, name: str) -> str:
        """A field of the address's query without blanks around it, "" if it is not there."""
        return str(self.request.query_params.get(name, "")).strip()

    def edit(self, change: Callable[[Workspace], Workspace]) -> Sequence[str]:
        """Change the configuration in the operator's name; returns what whoever saves it should know."""
        return self.dependencies.edit_as(change, self.actor)

    def page(self, template: str, *, status: int = 200, **values: object) -> Page:
        """The page of this template."""
        response = self.fragment(template, status=status, notices=self.notices, **values)
        if self.notices:
            response.delete_cookie(NOTICE_COOKIE, path="/")
        return response

    def fragment(self, template: str, *, status: int = 200, **values: object) -> Page:
        """A part of a page, to be put into one that is shown."""
        text = self.renderer.render(template, {"context": self, **values})
        return Response(text, status_code=status, media_type="text/html")

    def redirect(self, path: str, *, notices: Sequence[str] = (), **query: str) -> Page:
        """Send the browser on with a GET, so that reloading does not post again.

        Args:
            notices: Sentences that the next page shows.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        response: Page = Response("", status_code=303, headers={"Location": target})
        if self.request.headers.get("hx-request"):
            response = Response("", status_code=200, headers={"HX-Redirect": target})
        if notices:
            text = quote(_encode_notices(notices))
            response.set_cookie(NOTICE_COOKIE, text, max_age=_NOTICE_SECONDS, httponly=True, samesite="lax", path="/")
        return response

    def set_session_cookie(self, response: Page, secret: str) -> Page:
        """The answer with the cookie of a session."""
        response.set_cookie(
            SESSION_COOKIE,
            secret,
            max_age=int(SESSION_LENGTH.total_seconds()),
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.request.url.scheme == "https",
        )
        return response


ContextDependency = NamedDependency[SkipValidation[RequestContext]]
"""The type of a handler's parameter `context`."""


def csrf_token(secret: str) -> str:
    """The token for forms of a session; nobody can tell the session from it."""
    return hashlib.sha256(b"csrf:" + secret.encode()).hexdigest() if secret else ""


def read_notices(text: str | None) -> tuple[str, ...]:
    """What a cookie says that a page should say; nothing if it is not of our making."""
    if not text:
        return ()
    try:
        decoded = json.loads(unquote(text))
    except ValueError:
        return ()
    return tuple(one for one in decoded if isinstance(one, str)) if isinstance(decoded, list) else ()


def local_path(text: str) -> str:
    """A path of this App, or its first page: nobody is sent elsewhere by a link to here."""
    split = urlsplit(text)
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and not split.scheme and not split.netloc
    return text if is_ours and "\\" not in text and text.isprintable() else "/"


def _encode_notices(notices: Sequence[str]) -> str:
    """As many of the sentences as a cookie holds, as JSON text; of a first one that is too long, its beginning."""
    kept = [notices[0][: _NOTICE_CHARACTERS_MAX // 8], *notices[1:]]
    while len(text := json.dumps(kept)) > _NOTICE_CHARACTERS_MAX and len(kept) > 1:
        kept.pop()
    return text

"""The context of a request: the operator and their permissions, the form, and helpers that build responses."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.exceptions import PermissionDeniedException
from litestar.params import SkipValidation
from sqlalchemy import Connection

from punchcard import __version__
from punchcard.app.award_texts import AwardText, award_text
from punchcard.app.documentation_links import link_of_template
from punchcard.app.passwords import PasswordPool
from punchcard.app.rendering import Renderer
from punchcard.errors import ConfigurationError
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.invitations import ROLE_LABELS
from punchcard.operations.oidc import OidcClient
from punchcard.operations.partner_queries import MappingChoiceCache
from punchcard.operations.password_resets import PasswordResetMailer
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.audit import ChangedValue, record_operator_change
from punchcard.store.access.operators import Operator, note_seen_version
from punchcard.store.access.sessions import SESSION_LENGTH, SignInMethod, begin_session
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import Edit
from punchcard.workspace.export import export_part
from punchcard.workspace.names_of_snapshot import destination_names, source_names
from punchcard.workspace.persistence import PartKey, parts_by_key

PUBLIC = "public"
"""Key in a handler's `opt`: True if the page needs no signed-in operator."""

REQUIRED_ROLE = "required_role"
"""Key in a handler's `opt`: the role that it needs, if it differs from the default of the method."""

SHOWS_AWARDS = "shows_awards"
"""Key in a handler's `opt`: True if the page shows awards, for which titles and points are read from the partners."""

TAKES_FILE = "takes_file"
"""Key in a handler's `opt`: True if its form has a file, which is larger than other forms may be."""

NEEDS_NO_SECOND_FACTOR = "needs_no_second_factor"
"""Key in a handler's `opt`: True if it serves operators who lack the second factor that the workspace requires."""

REVISION_FIELD = "_revision"
"""Name of the field with the revision of the configuration that a form was made from."""

CHANGED_SINCE = "changed_since"
"""Code of the error about something that was changed after the page of a form had been loaded."""

SESSION_COOKIE = "punchcard_session"
NOTICE_COOKIE = "punchcard_notice"
UNDO_COOKIE = "punchcard_undo"
_NOTICE_SECONDS = 60
_NOTICE_CHARACTERS_MAX = 1500

Page = Response[str]


@dataclass(frozen=True)
class Notice:
    """A sentence that the next page shows.

    Attributes:
        is_warning: True if what was done may be a mistake.
    """

    text: str
    is_warning: bool = False


@dataclass(frozen=True, kw_only=True)
class RequestContext:
    """Context of one request.

    Attributes:
        passwords: Pool that computes password hashes.
        password_resets: Sends links for a new password.
        oidc: Talks to identity providers.
        mapping_choices: Cached mapping choices of partners.
        operator: The signed-in operator, None on public pages.
        secret: Secret of the session, "" without one.
        form: Fields of a posted form, each with all its values.
        notices: Notices that the previous page has left for this one.
        revision: Revision of the configuration when the request was received, so not newer than what its page shows.
    """

    dependencies: Dependencies
    renderer: Renderer
    passwords: PasswordPool
    password_resets: PasswordResetMailer
    oidc: OidcClient
    mapping_choices: MappingChoiceCache
    request: Request[Any, Any, Any]
    operator: Operator | None
    secret: str
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notices: Sequence[Notice] = ()
    revision: int = 0

    @property
    def actor(self) -> str:
        """Actor of changes, for the audit log."""
        return f"operator {self.operator.email}" if self.operator else "nobody"

    @property
    def base_url(self) -> str:
        """Where people reach the App, without a slash at the end: as configured, else as this request has it."""
        return self.dependencies.public_url or str(self.request.base_url).rstrip("/")

    @property
    def client_address(self) -> str:
        """Address of the client, "" if it is not known."""
        return self.request.client.host if self.request.client else ""

    @property
    def csrf(self) -> str:
        """CSRF token that every form must contain."""
        return csrf_token(self.secret)

    def may(self, role: Role) -> bool:
        """Return True if the operator has at least the permissions of this role."""
        return self.operator is not None and self.operator.role.may(role)

    def require_role(self, role: Role) -> None:
        """Raise an error unless the operator has at least the permissions of this role.

        Raises:
            PermissionDeniedException: The operator lacks the role.
        """
        if not self.may(role):
            own = "" if self.operator is None else f"; yours is {ROLE_LABELS[self.operator.role]}"
            raise PermissionDeniedException(
                f"This needs the role {ROLE_LABELS[role]}{own}. Ask an owner of the workspace."
            )

    def money(self, points: Decimal | str | None) -> str:
        """Return what points cost, such as `12.50 USD`; "" if they are unknown or the workspace sets no cost."""
        cost = self.dependencies.current().point_cost
        return "" if cost is None or points is None else cost.text(Decimal(points))

    def is_managed_by_file(self, kind: str, slug: str) -> bool:
        """Return whether the config file manages a part of the configuration."""
        return (kind, slug) in self._managed_by_file

    @cached_property
    def _managed_by_file(self) -> frozenset[PartKey]:
        # Once for a request: a look at the configuration costs a statement, and lists ask for each row.
        return self.dependencies.current().managed_by_file

    def may_change(self, kind: str, slug: str) -> bool:
        """Return whether the operator may change a part of the configuration in the App."""
        return self.may(Role.EDITOR) and not self.is_managed_by_file(kind, slug)

    @property
    def form_revision(self) -> int:
        """Revision of the configuration that the forms of this page are made from.

        A form that is shown again, such as with a preview, has what was typed into an earlier page: it keeps the
        revision of that, unless the page shows what was changed since.
        """
        shown = self.field(REVISION_FIELD)
        is_change_shown = getattr(self.request.state, "is_change_shown", False)
        return int(shown) if is_row_id(shown) and not is_change_shown else self.revision

    @property
    def page_part(self) -> PartKey | None:
        """Kind and slug of the part of the configuration that this page is about, None if it is about none."""
        match self.request.url.path.strip("/").split("/"):
            case ["settings"]:
                return "workspace", ""
            case ["sources", slug, *_] if slug != "_new":
                return "source", unquote(slug)
            case ["destinations", slug, *_]:
                return "destination", unquote(slug)
            case ["audiences", key, *_] if key != "new":
                return self._computation_kind(unquote(key)), unquote(key)
            case ["transformations", slug, *_] if slug not in ("new", "preview"):
                return "transformation", unquote(slug)
            case ["protocols", slug, *_]:
                return "tracking_plan", unquote(slug)
            case ["privacy", "controls", "source" | "destination" as kind, slug, *_]:
                return kind, unquote(slug)
            case ["alerts", "channels", slug, *_]:
                return "alert_channel", unquote(slug)
            case ["alerts", "rules", rule]:
                return "alert_rule", unquote(rule)
            case _:
                return None

    def _computation_kind(self, key: str) -> str:
        snapshot = self.dependencies.current()
        ready = snapshot.computations.get(key)
        is_trait = ("computed_trait", key) in snapshot.managed_by_file
        return ready.configured.kind if ready is not None else "computed_trait" if is_trait else "audience"

    @property
    def is_page_managed_by_file(self) -> bool:
        """Whether this page is about a part of the configuration that the config file manages."""
        part = self.page_part
        return part is not None and self.is_managed_by_file(*part)

    @property
    def page_toml(self) -> str:
        """The part that this page is about as the config file describes it, secrets masked."""
        part = None if self.page_part is None else parts_by_key(self.dependencies.workspace()).get(self.page_part)
        return "" if part is None else export_part(part)

    def destination_name(self, slug: str) -> str:
        """Return what people call a destination; the slug if it was deleted."""
        return destination_names(self.dependencies.current()).get(slug, slug)

    def is_only_destination(self, slug: str) -> bool:
        """Return whether this is the only destination: lists then leave its name out of their rows."""
        return list(self.dependencies.current().destinations) == [slug]

    def source_name(self, slug: str) -> str:
        """Return what people call a source; the slug if it was deleted."""
        return source_names(self.dependencies.current()).get(slug, slug)

    def award(self, destination: str, item: str, quantity: Decimal | str | None) -> AwardText:
        """Return the text of an award at a destination.

        Args:
            destination: Slug.
            item: Id of what it gives.
            quantity: Units, None while they are not decided.
        """
        return award_text(item, quantity, self.mapping_choices.choice(destination, item))

    def field(self, name: str) -> str:
        """Return a field of the form without surrounding blanks, "" if it is missing."""
        values = self.form.get(name, ())
        return values[-1].strip() if values else ""

    def password_field(self, name: str) -> str:
        """Return a field of the form as it was sent: a blank at the end belongs to a password."""
        return next(iter(self.form.get(name, ())), "")

    def fields(self, name: str) -> list[str]:
        """Return all values of a field of the form without surrounding blanks."""
        return [value.strip() for value in self.form.get(name, ())]

    def query(self, name: str) -> str:
        """Return a query parameter without surrounding blanks, "" if it is missing."""
        return str(self.request.query_params.get(name, "")).strip()

    def edit(self, change: Edit) -> None:
        """Change the configuration on behalf of the operator.

        The page that the response redirects to shows warnings about likely mistakes, and offers to undo the change.

        Raises:
            ConfigurationError: The changed configuration is not valid; or the part that the page is about was changed
                after the page had been loaded, code `changed_since`. Nothing was changed.
            StorageError: The store cannot be written.
        """
        versions = self.dependencies.configuration.versions
        shown = self.field(REVISION_FIELD)
        if self.page_part is not None and is_row_id(shown):
            change = versions.refuse_stale(change, part=self.page_part, revision=int(shown))
        before = versions.newest_of(self.actor)
        try:
            self.request.state.save_warnings = self.dependencies.edit_as(self.actor, change)
        except ConfigurationError as error:
            self.request.state.is_change_shown = error.code == CHANGED_SINCE
            raise
        saved = versions.newest_of(self.actor)
        if saved != before:  # what was saved may be as it was
            self.request.state.saved_version = saved

    def record_operator_change(
        self, work: Connection, operator_id: str, value: ChangedValue, *, kind: str = "change"
    ) -> None:
        """Record in the audit log what the operator of this request has changed of one, perhaps of themselves."""
        record_operator_change(work, operator_id, value, kind=kind, actor=self.actor, at=self.dependencies.clock.now())

    def page(self, template: str, *, status: int = 200, **values: object) -> Page:
        """Return the page of a template."""
        undo = self.request.cookies.get(UNDO_COOKIE, "") if self.notices and self.may(Role.EDITOR) else ""
        response = self.fragment(
            template,
            status=status,
            notices=self.notices,
            undo=undo if is_row_id(undo) else "",
            documentation_link=link_of_template(template),
            **values,
        )
        if self.notices:
            response.delete_cookie(NOTICE_COOKIE, path="/")
            response.delete_cookie(UNDO_COOKIE, path="/")
        return response

    @property
    def is_upgraded(self) -> bool:
        """Whether the operator has not yet been offered the changes of this version."""
        return self.operator is not None and self.operator.seen_version != __version__

    def note_version(self) -> None:
        """Note that the operator knows of this version."""
        if self.operator is not None and self.is_upgraded:
            with self.dependencies.store.unit_of_work() as work:
                note_seen_version(work, self.operator.id, __version__)

    def fragment(self, template: str, *, status: int = 200, **values: object) -> Page:
        """Return a fragment that replaces a part of a page."""
        text = self.renderer.render(template, {"context": self, **values})
        return Response(text, status_code=status, media_type="text/html")

    def redirect(self, path: str, *, notices: Sequence[str] = ()) -> Page:
        """Redirect the browser with a GET, so that reloading does not post again.

        Args:
            notices: Sentences that the next page shows, before warnings about what was saved.
        """
        warnings = [Notice(warning, is_warning=True) for warning in getattr(self.request.state, "save_warnings", ())]
        shown = [*map(Notice, notices), *warnings]
        response: Page = Response("", status_code=303, headers={"Location": path})
        if self.request.headers.get("hx-request"):
            response = Response("", status_code=200, headers={"HX-Redirect": path})
        if shown:
            text = quote(_encode_notices(shown))
            response.set_cookie(NOTICE_COOKIE, text, max_age=_NOTICE_SECONDS, httponly=True, samesite="lax", path="/")
            if (saved := getattr(self.request.state, "saved_version", None)) is not None:
                response.set_cookie(
                    UNDO_COOKIE, str(saved), max_age=_NOTICE_SECONDS, httponly=True, samesite="lax", path="/"
                )
        return response

    def begin_session(
        self, work: Connection, operator: Operator, *, method: SignInMethod = SignInMethod.PASSWORD
    ) -> str:
        """Sign an operator in at this browser; return the secret for the session cookie."""
        return begin_session(
            work,
            operator,
            clock=self.dependencies.clock,
            method=method,
            address=self.client_address,
            user_agent=self.request.headers.get("user-agent", ""),
        )

    def set_session_cookie(self, response: Page, secret: str) -> Page:
        """Set the session cookie of a response."""
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
"""Type of the handler parameter `context`."""


def csrf_token(secret: str) -> str:
    """Return the CSRF token of a session. The secret cannot be derived from it."""
    return hashlib.sha256(b"csrf:" + secret.encode()).hexdigest() if secret else ""


def read_notices(text: str | None) -> tuple[Notice, ...]:
    """Return the notices in a cookie; none if the cookie is invalid."""
    try:
        return msgspec.json.decode(unquote(text or "[]"), type=tuple[Notice, ...])
    except (msgspec.MsgspecError, UnicodeError):
        return ()


def local_path(text: str) -> str:
    """Return the path if it belongs to this App, else `/`: a link must not redirect to another site."""
    is_ours = text.startswith("/") and not text.startswith("//")
    return text if is_ours and "\\" not in text and text.isprintable() else "/"


def _encode_notices(notices: Sequence[Notice]) -> str:
    """Return as many notices as fit into a cookie, as JSON; a first notice that is too long is cut."""
    fitting = [replace(notices[0], text=notices[0].text[: _NOTICE_CHARACTERS_MAX // 8]), *notices[1:]]
    while len(text := json.dumps(msgspec.to_builtins(fitting))) > _NOTICE_CHARACTERS_MAX and len(fitting) > 1:
        fitting.pop()
    return text

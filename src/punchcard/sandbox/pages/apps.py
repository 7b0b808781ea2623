"""Settings > Apps: making, showing and revoking the tokens that the API takes."""

import secrets

from punchcard.clock import to_micros
from punchcard.sandbox.database import DEVELOPMENT_TOKEN
from punchcard.sandbox.error_bodies import FieldError
from punchcard.sandbox.pages.view import View, redirect
from punchcard.sandbox.web import Request, SandboxResponse

PATH = "/settings/usr/apps/"
TOKEN_BYTES = 20

SCOPES = (
    ("ADMIN_CUSTOMER_INFO", "Read your customers' contact data, connections and balances"),
    ("ADMIN_CUSTOMER_GRANT_POINTS", "Grant points to customers and invite new ones"),
    ("ADMIN_CUSTOMER_REDEEM", "Take points away on your customers' behalf"),
)


def list_tokens(view: View, request: Request, _: int) -> SandboxResponse:
    """The apps that are connected, each with its token."""
    tokens = view.database.rows("SELECT * FROM tokens ORDER BY revoked_us IS NOT NULL, created_us DESC")
    return view.page("apps.html", request, tokens=tokens)


def ask_for_token(view: View, request: Request, _: int) -> SandboxResponse:
    """What accepting means, before it is accepted."""
    return view.page("accept.html", request, scopes=SCOPES)


def make_token(view: View, request: Request, _: int) -> SandboxResponse:
    """Accept: Segment gets a token of its own."""
    token = secrets.token_hex(TOKEN_BYTES)
    with view.database.unit_of_work():
        view.database.write("INSERT INTO tokens VALUES (?, 'Segment', ?, NULL)", (token, to_micros(view.clock.now())))
    return redirect(PATH, done="token_made")


def revoke_token(view: View, request: Request, _: int) -> SandboxResponse:
    """Make a token worthless."""
    token = _posted_token(request)
    if isinstance(token, FieldError):
        return view.page("message.html", request, status=400, title="Not revoked", message=token.message)
    with view.database.unit_of_work():
        view.database.write(
            "UPDATE tokens SET revoked_us = ? WHERE token = ? AND revoked_us IS NULL",
            (to_micros(view.clock.now()), token),
        )
    return redirect(PATH, done="token_revoked")


def restore_token(view: View, request: Request, _: int) -> SandboxResponse:
    """Make the development token work again; any other that was revoked stays revoked."""
    with view.database.unit_of_work():
        view.database.write("UPDATE tokens SET revoked_us = NULL WHERE token = ?", (DEVELOPMENT_TOKEN,))
    return redirect(PATH, done="token_restored")


def _posted_token(request: Request) -> str | FieldError:
    try:
        token = request.form().get("token", "")
    except ValueError:
        token = ""
    return token or FieldError("token", "The form does not say which token to revoke.", "required")

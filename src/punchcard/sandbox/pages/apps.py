"""Settings > Apps: create, show and revoke API tokens."""

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
    """Show the connected apps with their tokens."""
    tokens = view.database.rows("SELECT * FROM tokens ORDER BY revoked_us IS NOT NULL, created_us DESC")
    return view.page("apps.html", request, tokens=tokens)


def confirm_token(view: View, request: Request, _: int) -> SandboxResponse:
    """Show the permissions of a token before it is created."""
    return view.page("accept.html", request, scopes=SCOPES)


def create_token(view: View, request: Request, _: int) -> SandboxResponse:
    """Create a token for Segment."""
    token = secrets.token_hex(TOKEN_BYTES)
    with view.database.unit_of_work():
        view.database.write("INSERT INTO tokens VALUES (?, 'Segment', ?, NULL)", (token, to_micros(view.clock.now())))
    return redirect(PATH, done="token_created")


def revoke_token(view: View, request: Request, _: int) -> SandboxResponse:
    """Revoke a token."""
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
    """Make the development token valid again; other revoked tokens stay revoked."""
    with view.database.unit_of_work():
        view.database.write("UPDATE tokens SET revoked_us = NULL WHERE token = ?", (DEVELOPMENT_TOKEN,))
    return redirect(PATH, done="token_restored")


def _posted_token(request: Request) -> str | FieldError:
    try:
        token = request.form().get("token", "")
    except ValueError:
        token = ""
    return token or FieldError("token", "The token is missing. Choose a token to revoke.", "required")

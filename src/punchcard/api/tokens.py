"""Tokens of the Public API, created and revoked by owners."""

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.clock import to_iso
from punchcard.operations.executor import run_in_executor
from punchcard.operations.token_actions import make_token, remove_token
from punchcard.store.access.token_store import Role, StoredToken, list_tokens


class TokenView(msgspec.Struct, rename="camel"):
    """A token without its secret."""

    id: str
    name: str
    role: str
    created_at: str
    last_used_at: str | None


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token to create."""

    name: str
    role: str


class CreatedToken(msgspec.Struct):
    """A new token; `secret` is the token itself, which is returned only once."""

    token: TokenView
    secret: str


@get("/tokens", opt={REQUIRED_ROLE: Role.OWNER}, summary="List tokens")
@run_in_executor
def list_tokens_call(dependencies: Dependencies) -> dict[str, dict[str, list[TokenView]]]:
    """List tokens, oldest first."""
    with dependencies.store.reading() as work:
        return {"data": {"tokens": [_view(token) for token in list_tokens(work)]}}


@post("/tokens", status_code=200, opt={REQUIRED_ROLE: Role.OWNER}, summary="Create a token")
@run_in_executor
def create_token_call(data: JSONBody[NewToken], dependencies: Dependencies) -> dict[str, CreatedToken]:
    """Create a token. Store its secret: it cannot be retrieved again."""
    with dependencies.store.unit_of_work() as work:
        token, secret = make_token(work, data.name, data.role, actor=dependencies.actor, clock=dependencies.clock)
    return {"data": CreatedToken(token=_view(token), secret=secret)}


@delete("/tokens/{token_id:str}", status_code=200, opt={REQUIRED_ROLE: Role.OWNER}, summary="Revoke a token")
@run_in_executor
def revoke_token_call(token_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Revoke a token; it is refused from the next request on. The last owner's token cannot be revoked."""
    with dependencies.store.unit_of_work() as work:
        remove_token(work, token_id, actor=dependencies.actor, clock=dependencies.clock)
    return {"data": {"status": "SUCCESS"}}


def _view(token: StoredToken) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        role=token.role,
        created_at=to_iso(token.created_at),
        last_used_at=None if token.last_used_at is None else to_iso(token.last_used_at),
    )

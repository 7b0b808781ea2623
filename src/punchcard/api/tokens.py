"""Tokens of the API: made and revoked by owners, shown once."""

import json

import msgspec
from litestar import delete, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, JSONBody
from sqlalchemy import Connection

from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.parts import NEEDS, ApiParts, Parts
from punchcard.clock import to_iso
from punchcard.operations.threads import in_thread
from punchcard.store import audit
from punchcard.store.tokens import Role, StoredToken, create_token, find_token, list_tokens, revoke_token

_NAME_CHARACTERS_MAX = 100


class TokenView(msgspec.Struct, rename="camel"):
    """A token, without the token."""

    id: str
    name: str
    role: str
    created_at: str
    last_used_at: str | None


class NewToken(msgspec.Struct):
    """A token to make."""

    name: str
    role: str


class MadeToken(msgspec.Struct):
    """A new token; `secret` is the token itself, which is shown this once."""

    token: TokenView
    secret: str


@get("/tokens", opt={NEEDS: Role.OWNER}, summary="All tokens")
@in_thread
def list_tokens_call(parts: Parts) -> dict[str, dict[str, list[TokenView]]]:
    """Every token, oldest first."""
    with parts.store.reading() as work:
        return {"data": {"tokens": [_view(one) for one in list_tokens(work)]}}


@post("/tokens", status_code=200, opt={NEEDS: Role.OWNER}, summary="Make a token")
@in_thread
def create_token_call(data: JSONBody[NewToken], parts: Parts) -> dict[str, MadeToken]:
    """A new token. Keep its secret now: nobody can show it again."""
    if not 1 <= len(data.name.strip()) <= _NAME_CHARACTERS_MAX:
        raise bad_request(f"a name has 1 to {_NAME_CHARACTERS_MAX} characters", "name")
    if data.role not in set(Role):
        raise bad_request(f"role is one of {', '.join(Role)}", "role")
    id_ = parts.clock.new_id()
    with parts.store.unit_of_work() as work:
        secret = create_token(work, data.name.strip(), clock=parts.clock, role=Role(data.role), id=id_)
        made = find_token(work, id_)
        assert made is not None
        _write_down(work, parts, "add", made)
    return {"data": MadeToken(token=_view(made), secret=secret)}


@delete("/tokens/{token_id:str}", status_code=200, opt={NEEDS: Role.OWNER}, summary="Revoke a token")
@in_thread
def revoke_token_call(token_id: FromPath[str], parts: Parts) -> dict[str, dict[str, str]]:
    """It is refused from the next request on. The last owner's stays: without it nobody could make another."""
    with parts.store.unit_of_work() as work:
        found = find_token(work, token_id)
        if found is None:
            raise HTTPException(f"there is no token {token_id}", status_code=404)
        owners = [one.id for one in list_tokens(work) if one.role is Role.OWNER]
        if owners == [found.id]:
            raise unprocessable("this is the last token of an owner: make another one first")
        revoke_token(work, found.id)
        _write_down(work, parts, "remove", found)
    return {"data": {"status": "SUCCESS"}}


def _view(token: StoredToken) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        role=token.role,
        created_at=to_iso(token.created_at),
        last_used_at=None if token.last_used_at is None else to_iso(token.last_used_at),
    )


def _write_down(work: Connection, parts: ApiParts, kind: str, token: StoredToken) -> None:
    said = [("name", token.name), ("role", token.role.value)]
    is_new = kind == "add"
    values = [
        {"path": path, "before": None if is_new else value, "after": value if is_new else None} for path, value in said
    ]
    audit.record(
        work,
        at=parts.clock.now(),
        actor=parts.actor,
        kind=kind,
        resource_type="token",
        resource_id=token.id,
        changes=json.dumps(values),
    )

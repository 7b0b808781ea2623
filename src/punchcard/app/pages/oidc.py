"""Sign-in at an identity provider: the way there and back."""

import secrets

import structlog
from litestar import get

from punchcard.app.pages.sign_in import identity_provider, open_session, sign_in_page
from punchcard.app.request_context import PUBLIC, ContextDependency, Page, RequestContext, local_path
from punchcard.app.sealed_cookies import delete_sealed_cookie, read_sealed_cookie, set_sealed_cookie
from punchcard.operations.executor import run_in_executor
from punchcard.operations.oidc import OidcError, OidcRequest
from punchcard.operations.oidc_accounts import sign_in_identity
from punchcard.store.access.operators import count_operators
from punchcard.store.access.sessions import SignInMethod

CALLBACK_PATH = "/sign-in/oidc/callback"
_COOKIE = "punchcard_oidc"


@get("/sign-in/oidc", opt={PUBLIC: True})
@run_in_executor
def begin(context: ContextDependency) -> Page:
    """Send the browser to the identity provider."""
    provider = identity_provider(context)
    if provider is None or not _has_owner(context):
        return context.redirect("/sign-in")
    request = OidcRequest.new()
    try:
        url = context.oidc.authorization_url(provider, request, redirect_uri=context.base_url + CALLBACK_PATH)
    except OidcError as error:
        return _failed(context, error)
    values = {
        "state": request.state,
        "nonce": request.nonce,
        "verifier": request.verifier,
        "next": local_path(context.query("next")),
    }
    return set_sealed_cookie(context, context.redirect(url), _COOKIE, values)


@get(CALLBACK_PATH, opt={PUBLIC: True})
@run_in_executor
def finish(context: ContextDependency) -> Page:
    """Sign in the person whom the identity provider has verified."""
    values = read_sealed_cookie(context, _COOKIE)
    provider = identity_provider(context)
    try:
        if values is None or not secrets.compare_digest(context.query("state").encode(), values["state"].encode()):
            raise OidcError("This sign-in has expired, or it was begun in another browser. Try again.")
        if provider is None or not _has_owner(context):
            raise OidcError("No identity provider is set up.")
        if context.query("error"):
            raise OidcError("The identity provider has refused the sign-in.")
        request = OidcRequest(state=values["state"], nonce=values["nonce"], verifier=values["verifier"])
        identity = context.oidc.identify(
            provider, request, code=context.query("code"), redirect_uri=context.base_url + CALLBACK_PATH
        )
        with context.dependencies.store.unit_of_work() as work:
            operator = sign_in_identity(work, provider, identity, clock=context.dependencies.clock)
    except OidcError as error:
        return delete_sealed_cookie(_failed(context, error), _COOKIE)
    response = open_session(context, operator, local_path(values["next"]), method=SignInMethod.OIDC)
    return delete_sealed_cookie(response, _COOKIE)


def _failed(context: RequestContext, error: OidcError) -> Page:
    structlog.get_logger("punchcard.app").warning("oidc_sign_in_failed", error=error.message)
    return sign_in_page(context, 401, error.message, following="/")


def _has_owner(context: RequestContext) -> bool:
    with context.dependencies.store.reading() as work:
        return count_operators(work) > 0


HANDLERS = (begin, finish)

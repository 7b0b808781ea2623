"""Encrypted cookies, which nobody can read or change: what a sign-in has reached, between two of its pages."""

from collections.abc import Mapping
from datetime import timedelta

from punchcard.app.request_context import Page, RequestContext
from punchcard.operations.sealed_values import seal, unseal

_LENGTH = timedelta(minutes=10)


def set_sealed_cookie(context: RequestContext, response: Page, name: str, values: Mapping[str, str]) -> Page:
    """Store values in the browser for ten minutes, encrypted.

    Args:
        name: Name of the cookie, which is sealed with its content: one cookie cannot take the place of another.
    """
    dependencies = context.dependencies
    response.set_cookie(
        name,
        seal(dependencies.configuration.keyring, name, values, length=_LENGTH, clock=dependencies.clock),
        max_age=int(_LENGTH.total_seconds()),
        path="/sign-in",
        httponly=True,
        samesite="lax",
        secure=context.request.url.scheme == "https",
    )
    return response


def read_sealed_cookie(context: RequestContext, name: str) -> Mapping[str, str] | None:
    """Return the values of a cookie, None if it is missing, expired or not ours."""
    dependencies = context.dependencies
    text = context.request.cookies.get(name, "")
    return unseal(dependencies.configuration.keyring, name, text, clock=dependencies.clock)


def delete_sealed_cookie(response: Page, name: str) -> Page:
    """Remove a cookie from the browser."""
    response.delete_cookie(name, path="/sign-in")
    return response

"""Encrypted cookies, which nobody can read or change: what a sign-in has reached, between two of its pages."""

import json
from collections.abc import Mapping
from datetime import timedelta

from punchcard.app.request_context import Page, RequestContext
from punchcard.clock import from_micros, to_micros
from punchcard.errors import ConfigurationError

_LENGTH = timedelta(minutes=10)


def set_sealed_cookie(context: RequestContext, response: Page, name: str, values: Mapping[str, str]) -> Page:
    """Store values in the browser for ten minutes, encrypted.

    Args:
        name: Name of the cookie, which is sealed with its content: one cookie cannot take the place of another.
    """
    until = to_micros(context.dependencies.clock.now() + _LENGTH)
    text = json.dumps({"name": name, "until": until, "values": dict(values)})
    response.set_cookie(
        name,
        context.dependencies.configuration.keyring.encrypt(text),
        max_age=int(_LENGTH.total_seconds()),
        path="/sign-in",
        httponly=True,
        samesite="lax",
        secure=context.request.url.scheme == "https",
    )
    return response


def read_sealed_cookie(context: RequestContext, name: str) -> Mapping[str, str] | None:
    """Return the values of a cookie, None if it is missing, expired or not ours."""
    try:
        content = json.loads(context.dependencies.configuration.keyring.decrypt(context.request.cookies.get(name, "")))
    except ConfigurationError:
        return None
    if content["name"] != name or from_micros(content["until"]) <= context.dependencies.clock.now():
        return None
    values: dict[str, str] = content["values"]
    return values


def delete_sealed_cookie(response: Page, name: str) -> Page:
    """Remove a cookie from the browser."""
    response.delete_cookie(name, path="/sign-in")
    return response

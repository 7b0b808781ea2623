"""The first page, and the page on which faults are set."""

from collections.abc import Mapping

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.sandbox.faults import Faults, parse_faults
from punchcard.sandbox.pages.view import View, redirect
from punchcard.sandbox.web import Request, SandboxResponse

_FLAGS = ("afterCommit", "reset", "html")
_NUMBERS = ("status", "rate", "retryAfter", "latencyMs", "requestsPerSecond")
_CHOICES = {
    "duplicateAnswer": ("400", "409", "200", "accept"),
    "fractional": ("accept", "round", "refuse"),
    "negative": ("accept", "refuse"),
}


def home(view: View, request: Request, _: int) -> SandboxResponse:
    """Show the main pages, and how to send a first transaction."""
    counts = {
        name: view.database.count(f"SELECT count(*) FROM {name}") for name in ("transactions", "connections", "perks")
    }
    return view.page("home.html", request, counts=counts)


def show_faults(view: View, request: Request, _: int) -> SandboxResponse:
    """Show the enabled faults."""
    return _faults_page(view, request, faults=view.injector.faults)


def save_faults(view: View, request: Request, _: int) -> SandboxResponse:
    """Enable exactly the faults of the form."""
    try:
        faults = parse_faults(msgspec.json.encode(_as_json(request.form())))
    except (ConfigurationError, ValueError) as exc:
        message = exc.message if isinstance(exc, ConfigurationError) else f"A field is not a number: {exc}."
        return _faults_page(view, request, faults=view.injector.faults, problem=message)
    view.injector.set_faults(faults)
    return redirect("/faults/", done="faults_off" if faults == Faults() else "faults_on")


def _faults_page(view: View, request: Request, *, faults: Faults, problem: str = "") -> SandboxResponse:
    values: dict[str, object] = dict.fromkeys((*_NUMBERS, *_FLAGS), "") | msgspec.to_builtins(faults)
    values = {name: options[0] for name, options in _CHOICES.items()} | values
    return view.page(
        "faults.html",
        request,
        status=400 if problem else 200,
        values=values,
        choices=_CHOICES,
        problem=problem,
        json=msgspec.json.encode(faults).decode(),
        counts=dict(sorted(view.injector.counts.items())),
    )


def _as_json(form: Mapping[str, str]) -> dict[str, object]:
    """Return the form's fields as in `PUT /sandbox/faults`; empty fields are left out."""
    if "clear" in form:
        return {}
    faults: dict[str, object] = {name: True for name in _FLAGS if name in form}
    faults |= {name: form[name] for name in _CHOICES if name in form}
    for name in _NUMBERS:
        if text := form.get(name, ""):
            # A number with a point stays one, so that the rule of the field reports the problem.
            faults[name] = float(text) if "." in text else int(text)
    return faults

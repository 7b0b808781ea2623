"""The first page, and the page on which faults are switched on and off."""

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
    """Where things are, and how to send the first transaction."""
    counts = {
        name: view.database.count(f"SELECT count(*) FROM {name}") for name in ("transactions", "connections", "perks")
    }
    return view.page("home.html", request, counts=counts)


def show_faults(view: View, request: Request, _: int) -> SandboxResponse:
    """The switches as they stand."""
    return _faults_page(view, request, faults=view.misfortune.faults)


def switch_faults(view: View, request: Request, _: int) -> SandboxResponse:
    """Switch exactly the faults of the form on."""
    try:
        faults = parse_faults(msgspec.json.encode(_as_json(request.form())))
    except (ConfigurationError, ValueError) as exc:
        message = exc.message if isinstance(exc, ConfigurationError) else f"A field is not a number: {exc}"
        return _faults_page(view, request, faults=view.misfortune.faults, problem=message)
    view.misfortune.switch(faults)
    return redirect("/faults/", done="faults_off" if faults == Faults() else "faults_on")


def _faults_page(view: View, request: Request, *, faults: Faults, problem: str = "") -> SandboxResponse:
    shown: dict[str, object] = dict.fromkeys((*_NUMBERS, *_FLAGS), "") | msgspec.to_builtins(faults)
    shown = {name: options[0] for name, options in _CHOICES.items()} | shown
    return view.page(
        "faults.html",
        request,
        status=400 if problem else 200,
        values=shown,
        choices=_CHOICES,
        problem=problem,
        json=msgspec.json.encode(faults).decode(),
        counts=dict(sorted(view.misfortune.counts.items())),
    )


def _as_json(form: Mapping[str, str]) -> dict[str, object]:
    """The form's fields as `PUT /sandbox/faults` would have them; an empty field is a switch left alone."""
    if "clear" in form:
        return {}
    faults: dict[str, object] = {name: True for name in _FLAGS if name in form}
    faults |= {name: form[name] for name in _CHOICES if name in form}
    for name in _NUMBERS:
        if text := form.get(name, ""):
            # A number with a point stays one, so that the field's own rule says what is wrong with it.
            faults[name] = float(text) if "." in text else int(text)
    return faults

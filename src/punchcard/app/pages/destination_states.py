"""Pausing a destination or switching it off: a page that asks which is meant, and says what happens to events."""

from collections.abc import Mapping
from datetime import UTC, datetime

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.destination_states import (
    pause_destination,
    read_status,
    resume_destination,
    switch_destination,
)
from punchcard.operations.executor import run_in_executor
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination

_OFF = "off"


@get("/destinations/{slug:str}/state")
@run_in_executor
def show_state(context: ContextDependency, slug: FromPath[str]) -> Page:
    """What is possible from the state that the destination is in."""
    return _form(context, find_destination(context.dependencies.workspace(), slug), {}, FormErrors(), status=200)


@post("/destinations/{slug:str}/pause", status_code=200)
@run_in_executor
def stop(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Pause it or switch it off, as chosen."""
    dependencies = context.dependencies
    destination = find_destination(dependencies.workspace(), slug)
    values = {name: context.field(name) for name in ("state", "reason", "until")}
    now = dependencies.clock.now()
    try:
        if values["state"] == _OFF:
            switch_destination(
                dependencies.store,
                destination,
                enabled=False,
                detail=values["reason"],
                actor=context.actor,
                now=now,
                edit_as=dependencies.edit_as,
            )
            notice = f"{context.destination_name(slug)} is off. Its events are recorded, and can be replayed."
        else:
            until = _read_until(context, values["until"])
            with dependencies.store.unit_of_work() as work:
                pause_destination(work, destination, detail=values["reason"], until=until, actor=context.actor, now=now)
            notice = f"{context.destination_name(slug)} is paused. Its events are queued, and nothing is sent."
    except ConfigurationError as error:
        return _form(context, destination, values, _form_errors(error), status=422)
    return context.redirect(f"/destinations/{slug}", notices=[notice])


@post("/destinations/{slug:str}/resume", status_code=200)
@run_in_executor
def resume(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Resume deliveries, from a pause or after the destination was off."""
    dependencies = context.dependencies
    destination = find_destination(dependencies.workspace(), slug)
    now = dependencies.clock.now()
    if destination.enabled:
        with dependencies.store.unit_of_work() as work:
            resume_destination(work, slug, actor=context.actor, now=now)
    else:
        switch_destination(
            dependencies.store,
            destination,
            enabled=True,
            detail="",
            actor=context.actor,
            now=now,
            edit_as=dependencies.edit_as,
        )
    notices = [f"{context.destination_name(slug)} delivers again."]
    return context.redirect(f"/destinations/{slug}", notices=notices)


def _form_errors(error: ConfigurationError) -> FormErrors:
    field = error.context.get("field")
    return FormErrors(fields={field: error.message}) if isinstance(field, str) else form_errors_from(error)


def _read_until(context: RequestContext, text: str) -> datetime | None:
    """The end of a pause, in the workspace's time zone as the page shows times.

    Raises:
        ConfigurationError: the text is not a time.
    """
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text)
    except ValueError as error:
        message = "This is not a date and time."
        raise ConfigurationError(message, code="invalid_request", field="until") from error
    return local.replace(tzinfo=context.dependencies.current().zone).astimezone(UTC)


def _form(
    context: RequestContext, destination: Destination, values: Mapping[str, str], errors: FormErrors, *, status: int
) -> Page:
    with context.dependencies.store.reading() as work:
        status_now = read_status(work, destination)
    return context.page(
        "destination_state.html",
        status=status,
        destination=destination,
        destination_status=status_now,
        values={"state": "paused", "reason": "", "until": "", **values},
        errors=errors,
        zone=context.dependencies.workspace().timezone,
    )


HANDLERS = (show_state, stop, resume)

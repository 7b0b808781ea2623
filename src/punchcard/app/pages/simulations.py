"""Simulations of the event map, the settings and filters in a form, before they are saved."""

from datetime import timedelta

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.pages import destination_settings, filters
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.app.setting_forms import read_map
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.lookups import find_running_destination, find_simulation
from punchcard.operations.proposals import Proposal, ProposedFilter, propose, proposed_filter
from punchcard.operations.simulation_outcome import read_outcome
from punchcard.operations.simulations import cancel_simulation, request_simulation
from punchcard.store.access.token_store import Role
from punchcard.store.operations.simulations import Simulation
from punchcard.traces.summary import item_column
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import DestinationFilter
from punchcard.workspace.snapshot import RoutedDestination

_PERIOD = timedelta(days=30)


@post("/destinations/{slug:str}/simulate/{form:str}", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def begin(context: ContextDependency, slug: FromPath[str], form: FromPath[str]) -> Page:
    """Start a simulation with what is in a form, and return its progress as a part of the page."""
    destination = find_running_destination(context.dependencies.current(), slug)
    now = context.dependencies.clock.now()
    try:
        proposal = _read_proposal(context, destination, form)
        with context.dependencies.store.unit_of_work() as work:
            simulation = request_simulation(
                work, destination, proposal, since=now - _PERIOD, actor=context.actor, now=now
            )
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        return context.fragment("simulation.html", slug=slug, simulation=None, outcome=None, problem=error.message)
    return _part(context, slug, simulation)


@get("/destinations/{slug:str}/simulations/{number:str}")
@run_in_executor
def show(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Return the progress or the result of a simulation as a part of a page."""
    return _part(context, slug, find_simulation(context.dependencies.store, slug, number))


@post("/destinations/{slug:str}/simulations/{number:str}/cancel", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def cancel(context: ContextDependency, slug: FromPath[str], number: FromPath[str]) -> Page:
    """Cancel a simulation."""
    simulation = find_simulation(context.dependencies.store, slug, number)
    with context.dependencies.store.unit_of_work() as work:
        cancel_simulation(work, simulation, actor=context.actor, now=context.dependencies.clock.now())
    return _part(context, slug, find_simulation(context.dependencies.store, slug, number))


def _read_proposal(context: RequestContext, destination: RoutedDestination, form: str) -> Proposal:
    definition = destination.partner.definition
    match form:
        case "map" if definition.event_map is not None:
            key = definition.event_map.key
            return propose(destination, settings={key: dict(read_map(context, key))})
        case "settings":
            settings, options = destination_settings.read_form(context, definition)
            return propose(destination, settings=settings, options=options)
        case "filter":
            return propose(destination, filters=_read_filters(context, destination))
    raise NotFoundError(f"There is no form {form} to simulate.")


def _read_filters(context: RequestContext, destination: RoutedDestination) -> list[ProposedFilter]:
    """Return all filters with the one in the form, in its place or as the last one."""
    stored = destination.destination.filters
    filter_id = context.query("id")
    current = next((item for item in stored if item.id == filter_id), None)
    errors, new_filter = filters.read_form(
        context, current or DestinationFilter(title="", condition="", actions=({"type": "DROP"},))
    )
    if errors:
        raise ConfigurationError(" ".join([*errors.general, *errors.fields.values()]))
    if current is None:
        return [proposed_filter(item) for item in (*stored, new_filter)]
    return [proposed_filter(new_filter if item is current else item) for item in stored]


def _part(context: RequestContext, slug: str, simulation: Simulation) -> Page:
    return context.fragment(
        "simulation.html",
        slug=slug,
        simulation=simulation,
        outcome=read_outcome(simulation),
        item=item_column(slug, types=context.dependencies.current().destination_types),
        problem="",
    )


HANDLERS = (begin, show, cancel)

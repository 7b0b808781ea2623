"""Simulations of a destination: what another configuration would have earned."""

import asyncio
import time
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.paging import read_row_cursor
from punchcard.api.simulation_bodies import SimulationBody, SimulationPage, simulation_body
from punchcard.operations.executor import run_in_executor
from punchcard.operations.instants import read_instant
from punchcard.operations.lookups import find_running_destination, find_simulation
from punchcard.operations.proposals import ProposedFilter, propose
from punchcard.operations.simulations import cancel_simulation, request_simulation
from punchcard.store.access.token_store import Role
from punchcard.store.operations import simulations as stored
from punchcard.store.operations.simulations import Simulation
from punchcard.workspace.editing import find_destination

_SINCE_DEFAULT = "30d"
_WAIT_SECONDS = 20.0
_WAIT_SECONDS_MAX = 60.0
_LOOK_SECONDS = 0.2
_PAGE_DEFAULT = 50
_PAGE_MAX = 1000


class NewSimulation(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to plan under: what is left out stays as it is configured. `filters` takes the place of all filters.

    `since` is an ISO-8601 time, or a distance such as `30d`.
    """

    since: str = _SINCE_DEFAULT
    settings: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    filters: list[ProposedFilter] | None = None


@post(
    "/destinations/{destination_id:str}/simulations",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},  # it changes nothing
    summary="What another configuration would have earned",
)
async def create_simulation(
    destination_id: FromPath[str],
    data: JSONBody[NewSimulation],
    dependencies: Dependencies,
    wait: Annotated[float, QueryParameter(ge=0, le=_WAIT_SECONDS_MAX)] = _WAIT_SECONDS,
) -> dict[str, dict[str, SimulationBody]]:
    """Ask for a simulation; the answer comes when it is made, or after `wait` seconds with how far it is."""
    simulation = await asyncio.to_thread(_request, dependencies, destination_id, data)
    until = time.monotonic() + wait
    while not simulation.status.is_over and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
        simulation = await asyncio.to_thread(find_simulation, dependencies.store, destination_id, str(simulation.id))
    return _respond(dependencies, simulation)


@get("/destinations/{destination_id:str}/simulations", summary="Simulations, newest first")
@run_in_executor
def list_simulations(
    destination_id: FromPath[str],
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
) -> dict[str, SimulationPage]:
    """Those of a destination, with their results."""
    find_destination(dependencies.workspace(), destination_id)
    with dependencies.store.reading() as work:
        before = read_row_cursor(cursor)
        listed = stored.list_simulations(work, destination_id, count=count + 1, before_id=before)
        total = stored.count_simulations(work, destination_id)
    shown, snapshot = listed[:count], dependencies.current()
    following = str(shown[-1].id) if len(listed) > count else None
    return {
        "data": SimulationPage(
            simulations=[
                simulation_body(simulation, types=snapshot.destination_types, point_cost=snapshot.point_cost)
                for simulation in shown
            ],
            pagination=bodies.Pagination(current=cursor or "", total_entries=total, next=following),
        )
    }


@get("/destinations/{destination_id:str}/simulations/{simulation_id:str}", summary="One simulation")
@run_in_executor
def get_simulation(
    destination_id: FromPath[str], simulation_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, SimulationBody]]:
    """How far it is, and its result once it is finished."""
    return _respond(dependencies, find_simulation(dependencies.store, destination_id, simulation_id))


@post(
    "/destinations/{destination_id:str}/simulations/{simulation_id:str}/cancel",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Cancel a simulation",
)
@run_in_executor
def cancel_simulation_call(
    destination_id: FromPath[str], simulation_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, SimulationBody]]:
    """One that is over stays as it is."""
    simulation = find_simulation(dependencies.store, destination_id, simulation_id)
    with dependencies.store.unit_of_work() as work:
        cancel_simulation(work, simulation, actor=dependencies.actor, now=dependencies.clock.now())
    return _respond(dependencies, find_simulation(dependencies.store, destination_id, simulation_id))


def _request(dependencies: Any, slug: str, data: NewSimulation) -> Simulation:
    snapshot = dependencies.current()
    destination = find_running_destination(snapshot, slug)
    now = dependencies.clock.now()
    since = read_instant(data.since, option="since", now=now, zone=snapshot.zone, is_past=True)
    proposal = propose(destination, settings=data.settings, options=data.options, filters=data.filters)
    with dependencies.store.unit_of_work() as work:
        return request_simulation(work, destination, proposal, since=since, actor=dependencies.actor, now=now)


def _respond(dependencies: Any, simulation: Simulation) -> dict[str, dict[str, SimulationBody]]:
    snapshot = dependencies.current()
    body = simulation_body(simulation, types=snapshot.destination_types, point_cost=snapshot.point_cost)
    return {"data": {"simulation": body}}


HANDLERS = (create_simulation, list_simulations, get_simulation, cancel_simulation_call)

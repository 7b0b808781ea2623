"""The JSON bodies of simulations."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from punchcard.api import bodies
from punchcard.clock import to_iso
from punchcard.operations.simulation_outcome import (
    CustomerChange,
    SimulationTotals,
    name_item,
    read_outcome,
)
from punchcard.store.operations.simulations import Simulation
from punchcard.traces.summary import item_column
from punchcard.workspace.point_costs import PointCost


class SimulatedCost(msgspec.Struct, kw_only=True, rename="camel"):
    """What the points would cost, and have cost, by the workspace's cost per point."""

    currency: str
    amount: str
    actual_amount: str


class SimulationBody(msgspec.Struct, kw_only=True, rename="camel"):
    """One simulation.

    `status` is `queued`, `running`, `finished`, `failed` or `cancelled`; `done` of `total` parts of the period are
    planned. `byEvent` and `refused` are empty and the rest is null until it is finished. `cost` is null, too, if the
    workspace sets no cost per point or points are not known.
    """

    id: str
    status: str
    detail: str
    requested_by: str
    requested_at: str
    since: str
    until: str
    done: int
    total: int
    finished_at: str | None
    by_event: list[dict[str, Any]]
    refused: dict[str, int]
    totals: SimulationTotals | None
    gaining: list[CustomerChange]
    losing: list[CustomerChange]
    cost: SimulatedCost | None


class SimulationPage(msgspec.Struct):
    """A page of simulations, newest first."""

    simulations: list[SimulationBody]
    pagination: bodies.Pagination


def simulation_body(
    simulation: Simulation, *, types: Mapping[str, str], point_cost: PointCost | None
) -> SimulationBody:
    """A simulation's body.

    Args:
        types: The type of each configured destination by its slug.
    """
    item = item_column(simulation.destination, types=types)
    outcome = read_outcome(simulation)
    return SimulationBody(
        id=str(simulation.id),
        status=simulation.status,
        detail=simulation.detail,
        requested_by=simulation.requested_by,
        requested_at=to_iso(simulation.requested_at),
        since=to_iso(simulation.since),
        until=to_iso(simulation.until),
        done=simulation.done,
        total=simulation.total,
        finished_at=None if simulation.finished_at is None else to_iso(simulation.finished_at),
        by_event=[] if outcome is None else [name_item(row, item) for row in outcome.by_event],
        refused={} if outcome is None else outcome.refused,
        totals=None if outcome is None else outcome.totals,
        gaining=[] if outcome is None else outcome.gaining,
        losing=[] if outcome is None else outcome.losing,
        cost=None if outcome is None else simulated_cost(outcome.totals, point_cost),
    )


def simulated_cost(totals: SimulationTotals, point_cost: PointCost | None) -> SimulatedCost | None:
    """What the points of a simulation cost, None if that is not known."""
    if point_cost is None or totals.points is None or totals.actual_points is None:
        return None
    return SimulatedCost(
        currency=point_cost.currency,
        amount=str(point_cost.of(Decimal(totals.points))),
        actual_amount=str(point_cost.of(Decimal(totals.actual_points))),
    )

"""The JSON bodies of simulations."""

from collections.abc import Mapping
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
from punchcard.store.simulations import Simulation
from punchcard.traces.summary import item_column


class SimulationBody(msgspec.Struct, kw_only=True, rename="camel"):
    """One simulation.

    `status` is `queued`, `running`, `finished`, `failed` or `cancelled`; `done` of `total` parts of the period are
    planned. `byEvent` and `refused` are empty and the rest is null until it is finished.
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


class SimulationPage(msgspec.Struct):
    """A page of simulations, newest first."""

    simulations: list[SimulationBody]
    pagination: bodies.Pagination


def simulation_body(simulation: Simulation, *, types: Mapping[str, str]) -> SimulationBody:
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
    )

"""Simulations: which were asked for, how far each is, and what each came to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from punchcard.store.operations.destination_rows import count_rows, find_row, list_rows
from punchcard.store.operations.schema import simulations
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable


class SimulationStatus(StoredEnum):
    """How far a simulation is."""

    QUEUED = "queued"  # not started
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"  # it cannot be done; the detail says why
    CANCELLED = "cancelled"  # by a person

    @property
    def is_over(self) -> bool:
        """True if nothing more will come of it."""
        return self not in _UNFINISHED


_UNFINISHED = (SimulationStatus.QUEUED, SimulationStatus.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A simulation of what a configuration would have earned.

    Attributes:
        proposal: Settings and filters that differ from the configuration, without secrets.
        done: Parts of the period that were planned, of `total`.
        outcome: JSON text, None until it is finished.
    """

    id: int
    destination: str
    requested_by: str
    requested_at: datetime
    since: datetime
    until: datetime
    proposal: Mapping[str, Any]
    status: SimulationStatus
    done: int
    total: int
    detail: str
    outcome: str | None
    finished_at: datetime | None


def add_simulation(
    work: Connection,
    destination: str,
    *,
    proposal: Mapping[str, object],
    since: datetime,
    until: datetime,
    requested_by: str,
) -> Simulation:
    """Ask for a simulation.

    Args:
        until: Now.
    """
    values = {
        "destination": destination,
        "requested_by": storable(requested_by),
        "requested_at": until,
        "since": since,
        "until": until,
        "proposal": storable(json.dumps(dict(proposal))),
        "status": SimulationStatus.QUEUED,
        "done": 0,
        "total": 0,
        "detail": "",
    }
    return _simulation(work.execute(insert(simulations).values(values).returning(simulations)).one())


def simulation_by_id(work: Connection, destination: str, simulation_id: int) -> Simulation | None:
    """A destination's simulation, None if there is none with this id."""
    row = find_row(work, simulations, destination, simulation_id)
    return None if row is None else _simulation(row)


def list_simulations(
    work: Connection, destination: str, *, count: int, before_id: int | None = None
) -> Sequence[Simulation]:
    """A page of a destination's simulations, newest first."""
    return [_simulation(row) for row in list_rows(work, simulations, destination, count=count, before=before_id)]


def count_simulations(work: Connection, destination: str) -> int:
    """Return how many simulations of a destination there are."""
    return count_rows(work, simulations, destination)


def next_simulation(work: Connection) -> Simulation | None:
    """The oldest unfinished simulation, None if there is none."""
    chosen = select(simulations).where(simulations.c.status.in_(_UNFINISHED)).order_by(simulations.c.id).limit(1)
    row = work.execute(chosen).one_or_none()
    return None if row is None else _simulation(row)


def note_parts(work: Connection, simulation_id: int, *, done: int, total: int) -> bool:
    """Say how far it is; False if it is over: somebody has cancelled it."""
    changed = update(simulations).where(simulations.c.id == simulation_id, simulations.c.status.in_(_UNFINISHED))
    return work.execute(changed.values(status=SimulationStatus.RUNNING, done=done, total=total)).rowcount == 1


def end_simulation(
    work: Connection,
    simulation_id: int,
    *,
    status: SimulationStatus,
    now: datetime,
    detail: str = "",
    outcome: str | None = None,
) -> bool:
    """End one that is not over; False if it is."""
    changed = update(simulations).where(simulations.c.id == simulation_id, simulations.c.status.in_(_UNFINISHED))
    values = {"status": status, "detail": storable(detail), "outcome": outcome, "finished_at": now}
    return work.execute(changed.values(values)).rowcount == 1


def prune_simulations(work: Connection, *, before: datetime, limit: int = 20) -> int:
    """Drop simulations that ended before an instant; returns how many."""
    columns = simulations.c
    chosen = select(columns.id).where(columns.finished_at < before, columns.status.not_in(_UNFINISHED)).limit(limit)
    ids = list(work.scalars(chosen))
    if ids:
        work.execute(delete(simulations).where(columns.id.in_(ids)))
    return len(ids)


def _simulation(row: Any) -> Simulation:
    values: dict[str, Any] = dict(row._mapping)
    return Simulation(
        **{
            **values,
            "status": SimulationStatus(values["status"]),
            "proposal": json.loads(values["proposal"]),
        }
    )

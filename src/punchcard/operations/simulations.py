"""Simulations that operators ask for: kept with their progress, made by a process beside the worker."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from decimal import Decimal

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.definition import Capability
from punchcard.destinations.port import MappingChoice
from punchcard.errors import ConfigurationError, PunchcardError, StorageError
from punchcard.operations.comparison_telemetry import SimulationTelemetry
from punchcard.operations.partner_queries import list_mapping_choices
from punchcard.operations.proposals import Proposal, compile_proposal, read_proposal
from punchcard.operations.simulation import (
    Lake,
    PlanStretches,
    SimulationCancelledError,
    SimulationScope,
    plan_here,
    simulate,
)
from punchcard.operations.simulation_outcome import SimulationOutcome
from punchcard.routing.source_rules import rules_by_source
from punchcard.store.engine import Store
from punchcard.store.operations.simulations import (
    Simulation,
    SimulationStatus,
    add_simulation,
    end_simulation,
    next_simulation,
    note_parts,
)
from punchcard.workspace.snapshot import RoutedDestination, Snapshot


def can_simulate(destination: RoutedDestination) -> bool:
    """Whether what the destination awards can be added up."""
    return Capability.AMOUNTS in destination.partner.definition.capabilities


def request_simulation(
    work: Connection,
    destination: RoutedDestination,
    proposal: Proposal,
    *,
    since: datetime,
    actor: str,
    now: datetime,
) -> Simulation:
    """Ask for a simulation; a process beside the worker makes it.

    Raises:
        ConfigurationError: the proposal is not valid, the period is empty, or the destination awards nothing that
            could be added up.
    """
    check_simulation(destination, proposal, since=since, now=now)
    return add_simulation(
        work, destination.slug, proposal=proposal.document(), since=since, until=now, requested_by=actor
    )


def check_simulation(
    destination: RoutedDestination, proposal: Proposal, *, since: datetime, now: datetime
) -> RoutedDestination:
    """Return the destination under the proposed configuration.

    Raises:
        ConfigurationError: as `request_simulation`.
    """
    if not can_simulate(destination):
        raise ConfigurationError(
            f"{destination.name} awards nothing that could be added up.", code="not_supported", field="destination"
        )
    if since >= now:
        raise ConfigurationError("since: It must be in the past.", code="invalid_request", field="since")
    return compile_proposal(destination, proposal)


def cancel_simulation(work: Connection, simulation: Simulation, *, actor: str, now: datetime) -> bool:
    """Cancel one that is not over; False if it is."""
    return end_simulation(
        work, simulation.id, status=SimulationStatus.CANCELLED, detail=f"Cancelled by {actor}.", now=now
    )


def read_points(destination: RoutedDestination) -> Mapping[str, Decimal]:
    """What one unit of each value is worth, as the partner says; nothing if it cannot be asked."""
    return points_of_choices(read_choices(destination))


def read_choices(destination: RoutedDestination) -> Sequence[MappingChoice]:
    """Return what events can be mapped to, as the partner says; nothing if it cannot be asked."""
    choices, _ = asyncio.run(list_mapping_choices(destination))
    return choices


def points_of_choices(choices: Sequence[MappingChoice]) -> Mapping[str, Decimal]:
    """Return what one unit of each value is worth."""
    return {choice.value: choice.points for choice in choices if choice.points is not None}


class SimulationRunner:
    """Makes simulations, one after the other. One that did not come to its end is made again.

    Args:
        current: The stored configuration.
        points_of: What one unit of each value is worth.
        planning: Opens, for one simulation, what plans stretches of the log, perhaps in several processes.
    """

    def __init__(
        self,
        *,
        store: Store,
        lake: Lake,
        clock: Clock,
        current: Callable[[], Snapshot],
        points_of: Callable[[RoutedDestination], Mapping[str, Decimal]] = read_points,
        planning: Callable[[SimulationScope], AbstractContextManager[PlanStretches]] = lambda _: nullcontext(plan_here),
    ) -> None:
        self._store = store
        self._lake = lake
        self._clock = clock
        self._current = current
        self._points_of = points_of
        self._planning = planning
        self._telemetry = SimulationTelemetry()

    def run_next(self, *, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Make the oldest one; False if there is none.

        Raises:
            StorageError: store or lake is away: it is made again later.
        """
        with self._store.reading() as work:
            simulation = next_simulation(work)
        if simulation is None:
            return False
        try:
            outcome = self._make(simulation, stopping)
        except SimulationCancelledError:
            return True
        except StorageError:
            raise
        except PunchcardError as error:
            self._end(simulation, SimulationStatus.FAILED, detail=error.message)
        except Exception as error:  # noqa: BLE001  # one simulation: the next one must not wait for it for ever
            self._telemetry.simulation_failed(simulation_id=simulation.id, error=error)
            self._end(simulation, SimulationStatus.FAILED, detail=f"Punchcard failed: {error!r}")
        else:
            self._end(simulation, SimulationStatus.FINISHED, outcome=msgspec.json.encode(outcome).decode())
        return True

    def _make(self, simulation: Simulation, stopping: Callable[[], bool]) -> SimulationOutcome:
        def on_progress(done: int, total: int) -> None:
            with self._store.unit_of_work() as work:
                is_wanted = note_parts(work, simulation.id, done=done, total=total)
            if stopping() or not is_wanted:
                raise SimulationCancelledError

        snapshot = self._current()
        current = snapshot.destinations.get(simulation.destination)
        if current is None:
            raise ConfigurationError(f"There is no destination {simulation.destination} any more.")
        on_progress(0, 0)
        scope = SimulationScope(
            destination=compile_proposal(current, read_proposal(simulation.proposal)),
            current=current,
            zone=snapshot.zone,
            begin=simulation.since,
            end=simulation.until,
            rules=rules_by_source(snapshot),
        )
        with self._planning(scope) as plan:
            return simulate(
                scope,
                store=self._store,
                lake=self._lake,
                points=self._points_of(current),
                on_progress=on_progress,
                plan=plan,
            )

    def _end(
        self, simulation: Simulation, status: SimulationStatus, *, detail: str = "", outcome: str | None = None
    ) -> None:
        with self._store.unit_of_work() as work:
            end_simulation(work, simulation.id, status=status, detail=detail, outcome=outcome, now=self._clock.now())

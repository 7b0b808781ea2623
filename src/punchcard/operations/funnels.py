"""Funnels of audiences: which audiences have one, and how many people are in each step."""

from punchcard.clock import Clock, to_micros
from punchcard.computations.errors import DefinitionError
from punchcard.computations.funnels import Funnel, split_into_funnel
from punchcard.computations.parser import parse_audience
from punchcard.engage.funnel_counts import FunnelCounts, FunnelRequest
from punchcard.engage.requests import request_funnel
from punchcard.operations.computation_status import ComputationStatus
from punchcard.operations.list_uploads import is_static_list
from punchcard.store.engine import Store
from punchcard.workspace.model import Computation


def funnel_of(computation: Computation) -> Funnel | None:
    """Return the funnel of an audience, None if it has none or its definition cannot be read."""
    if computation.kind != "audience" or is_static_list(computation):
        return None
    try:
        return split_into_funnel(parse_audience(computation.definition))
    except DefinitionError:
        return None  # the page shows why the audience cannot be computed


def count_funnel(store: Store, status: ComputationStatus, *, clock: Clock) -> FunnelCounts:
    """Count the people in each step of an audience's funnel.

    Raises:
        StorageError: Engage does not respond, or the store is unavailable.
    """
    computation, state = status.computation, status.state
    since = 0 if computation.include_history or state is None else to_micros(state.created_at)
    request = FunnelRequest(computation.definition, computation.include_anonymous, since)
    return request_funnel(store, request, clock=clock)

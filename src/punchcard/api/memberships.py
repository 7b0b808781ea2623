"""Why a customer is, or is not, in an audience."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, QueryParameter

from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.clock import to_iso
from punchcard.operations.computation_status import find_computation_status
from punchcard.operations.executor import run_in_executor
from punchcard.operations.membership import Membership, explain_membership


class ConditionView(msgspec.Struct, rename="camel"):
    """A condition of the definition. `value` is what it compares; conditions below it have a greater `depth`."""

    text: str
    depth: int
    is_met: bool
    value: msgspec.Raw | None


class SyncedView(msgspec.Struct, rename="camel"):
    """What a destination has of the membership."""

    destination: str
    detail: str


class MembershipView(msgspec.Struct, rename="camel"):
    """Why a customer is, or is not, in an audience."""

    profile_id: str
    is_member: bool
    since: str | None
    notes: list[str]
    conditions: list[ConditionView]
    destinations: list[SyncedView]


@get("/spaces/{space_id:str}/audiences/{id:str}/membership", summary="Explain a membership")
@run_in_executor
def explain_audience_membership(
    space_id: FromPath[str],
    id: FromPath[str],
    dependencies: Dependencies,
    customer: Annotated[str, QueryParameter(name="customer")] = "",
) -> dict[str, dict[str, MembershipView]]:
    """Explain why a customer is, or is not, in an audience: each condition with its value."""
    if not customer:
        raise bad_request("Name a customer: an email, a user id or another id.", "customer")
    status = find_computation_status(dependencies.store, dependencies.workspace(), id, kind="audience")
    membership = explain_membership(dependencies.store, status, customer, clock=dependencies.clock)
    return {"data": {"membership": membership_view(membership)}}


def membership_view(membership: Membership) -> MembershipView:
    """Return the JSON body of a membership."""
    return MembershipView(
        profile_id=membership.public_id,
        is_member=membership.is_member,
        since=None if membership.since is None else to_iso(membership.since),
        notes=list(membership.notes),
        conditions=[
            ConditionView(
                text=condition.text,
                depth=condition.depth,
                is_met=condition.is_met,
                value=msgspec.Raw(condition.value.encode()) if condition.value else None,
            )
            for condition in membership.conditions
        ],
        destinations=[
            SyncedView(destination=synced.destination, detail=synced.detail) for synced in membership.destinations
        ],
    )


HANDLERS = (explain_audience_membership,)

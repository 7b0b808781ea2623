"""Why a customer is, or is not, in an audience, and what each destination has of it: for App, API and command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from punchcard.clock import Clock, to_micros
from punchcard.engage.explanations import ExplainedCondition, Explanation, ExplanationRequest
from punchcard.engage.requests import request_explanation
from punchcard.errors import ConfigurationError
from punchcard.operations.computation_status import ComputationStatus
from punchcard.store.engage import profile_search
from punchcard.store.engage.engage_tables import NOBODY, Status
from punchcard.store.engage.profiles import traits_of
from punchcard.store.engage.sync_accounts import UNSYNCED, current_account
from punchcard.store.engage.synced import synced_values_of, waiting_of
from punchcard.store.engine import Store
from punchcard.workspace.editing import NotFoundError

_WAITS: Mapping[str, str] = {
    "": "A change is pending.",
    "email": "Nothing is sent before the customer has an email address.",
    "too_large": "The value is too large for a call and is not sent.",
    "invalid": "The value cannot be written as JSON and is not sent.",
    "failed": "Punchcard failed on it: {detail}",
    "refused": "The destination's mapping refused it: {detail}",
}


@dataclass(frozen=True, kw_only=True)
class SyncedMembership:
    """What a destination has of a membership.

    Attributes:
        destination: Slug.
        detail: Sentences about what was sent, and what it waits for.
    """

    destination: str
    destination_name: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Membership:
    """Why a customer is, or is not, in an audience.

    Attributes:
        public_id: Id of the profile.
        is_member: As it is stored, which pages and destinations show.
        since: When that last changed, None if the customer was never a member.
        notes: Sentences about what the conditions do not tell.
        conditions: Of the definition, each with whether the customer meets it now.
    """

    public_id: str
    is_member: bool
    since: datetime | None
    notes: Sequence[str]
    conditions: Sequence[ExplainedCondition]
    destinations: Sequence[SyncedMembership]


def explain_membership(store: Store, status: ComputationStatus, customer_id: str, *, clock: Clock) -> Membership:
    """Explain why a customer is, or is not, in an audience.

    Args:
        customer_id: An external id of any type, or the id of the profile.

    Raises:
        ConfigurationError: It is a computed trait, or its definition cannot be computed.
        NotFoundError: No profile has this id.
        StorageError: Engage does not respond, or the store is unavailable.
    """
    computation, state = status.computation, status.state
    if computation.kind != "audience":
        raise ConfigurationError(f"{computation.name or computation.key} is not an audience.", field="key")
    with store.reading() as work:
        profile = profile_search.find(work, customer_id)
        if profile is None:
            raise NotFoundError(f"No customer has the id {customer_id}.")
        traits = [trait for trait in traits_of(work, [profile.id], [computation.key]) if trait.computation]
        destinations = [
            SyncedMembership(
                destination=pending.destination,
                destination_name=pending.destination_name,
                detail=_synced(work, pending.destination, computation.key, profile.id),
            )
            for pending in status.pending_syncs
        ]
    is_counted_from_now = state is not None and not computation.include_history
    request = ExplanationRequest(
        definition=computation.definition,
        profile_id=profile.id,
        include_anonymous=computation.include_anonymous,
        since=to_micros(state.created_at) if state is not None and is_counted_from_now else 0,
    )
    explanation = request_explanation(store, request, clock=clock)
    if explanation.error:
        raise ConfigurationError(f"The definition cannot be computed: {explanation.error}", field="definition")
    is_member = any(trait.value not in NOBODY for trait in traits)
    return Membership(
        public_id=profile.public_id,
        is_member=is_member,
        since=max((trait.updated_at for trait in traits), default=None),
        notes=_notes(status, explanation, is_member=is_member),
        conditions=explanation.conditions,
        destinations=destinations,
    )


def _synced(work: Connection, destination: str, key: str, profile_id: int) -> str:
    _, account = current_account(work, destination)
    values = synced_values_of(work, destination=destination, key=key, profile_id=profile_id)
    waiting = waiting_of(work, destination=destination, key=key, profile_id=profile_id)
    sentences = [
        f"Last sent: {value.value} for {value.email} at {value.sent_at:%Y-%m-%d %H:%M:%S} UTC."
        for value in values
        if value.account == account and value.value != UNSYNCED
    ] or ["Nothing was sent."]
    if waiting is not None:
        waits_for, detail = waiting
        sentences.append(_WAITS[waits_for].format(detail=detail))
    return " ".join(sentences)


def _notes(status: ComputationStatus, explanation: Explanation, *, is_member: bool) -> list[str]:
    notes = []
    computation, state = status.computation, status.state
    if not computation.enabled:
        notes.append("The audience is disabled: its members stay as they were.")
    elif state is None or state.status is not Status.LIVE:
        shown = "Preparing" if state is None else state.status.value
        detail = f": {state.detail}" if state is not None and state.detail else "."
        notes.append(f"The audience is not computed completely (status {shown}){detail}")
    elif is_member != explanation.is_member:
        notes.append("By the definition this has just changed; members follow within seconds.")
    if explanation.is_left_out:
        notes.append("The customer has only anonymous ids. Such customers are left out of this audience.")
    if not computation.include_history:
        notes.append("Events from before the audience was created do not count.")
    return notes

"""Audiences and computed traits.

Source: Segment's Public API, "Audiences" and "Computed Traits". A workspace has one space.
"""

from dataclasses import replace
from typing import Any

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.computation_bodies import (
    AudiencePage,
    Cadence,
    ComputationUpdate,
    ComputationView,
    Definition,
    DefinitionOrder,
    FailedSyncView,
    Kind,
    NewComputation,
    Options,
    OptionsUpdate,
    OutcomeView,
    PreviewOrder,
    PreviewSample,
    PreviewView,
    ResyncOrder,
    SavedAudience,
    SavedTrait,
    Size,
    SyncView,
    TraitPage,
    TraitPreviewOrder,
)
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.clock import to_iso
from punchcard.computations.keys import key_of
from punchcard.engage.requests import PreviewRequest
from punchcard.operations import computation_actions
from punchcard.operations.authorship import Authorship, read_authorships
from punchcard.operations.computation_actions import add_computation, change_computation, remove_computation
from punchcard.operations.computation_status import (
    ComputationStatus,
    add_sync_outcomes,
    find_computation_status,
    list_computation_statuses,
    request_rates,
)
from punchcard.operations.definitions import resolve_definition
from punchcard.operations.executor import run_in_executor
from punchcard.store.access.token_store import Role
from punchcard.store.engage.sync_outcomes import SyncOutcome
from punchcard.workspace.computations import parse_definition
from punchcard.workspace.model import Computation

_FAILED_MAX = 10
SPACE = "punchcard"
"""Id of the only space. Any other id is accepted as well, so that clients need no changes."""


@get("/spaces/{space_id:str}/audiences", summary="List audiences")
@run_in_executor
def list_audiences(
    space_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, AudiencePage]:
    """List audiences by key, with sizes and pending syncs."""
    audiences, pagination = _page(dependencies, "audience", count, cursor)
    return {"data": AudiencePage(audiences=audiences, pagination=pagination)}


@post("/spaces/{space_id:str}/audiences", status_code=200, summary="Create an audience")
@run_in_executor
def create_audience(
    space_id: FromPath[str], data: JSONBody[NewComputation], dependencies: Dependencies
) -> dict[str, SavedAudience]:
    """Create an audience. It is computed within seconds."""
    return {"data": SavedAudience(*_create(dependencies, "audience", data))}


@get("/spaces/{space_id:str}/audiences/{id:str}", summary="Get an audience")
@run_in_executor
def get_audience(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, ComputationView]]:
    """Get the audience with this id or key."""
    return {"data": {"audience": _detailed_view(dependencies, _find_status(dependencies, "audience", id))}}


@patch("/spaces/{space_id:str}/audiences/{id:str}", summary="Update an audience")
@run_in_executor
def update_audience(
    space_id: FromPath[str], id: FromPath[str], data: JSONBody[ComputationUpdate], dependencies: Dependencies
) -> dict[str, SavedAudience]:
    """Update anything but the key."""
    return {"data": SavedAudience(*_update(dependencies, "audience", id, data))}


@delete("/spaces/{space_id:str}/audiences/{id:str}", status_code=200, summary="Delete an audience")
@run_in_executor
def delete_audience(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Delete it. Its last values stay on profiles as custom traits."""
    dependencies.edit(remove_computation(_find_status(dependencies, "audience", id).computation.key))
    return {"data": {"status": "SUCCESS"}}


@post("/spaces/{space_id:str}/audiences/{id:str}/resync", status_code=200, summary="Resync an audience")
@run_in_executor
def resync_audience(
    space_id: FromPath[str], id: FromPath[str], data: JSONBody[ResyncOrder], dependencies: Dependencies
) -> dict[str, dict[str, int]]:
    """Queue a sync of everybody, whether or not a value has changed."""
    status = _find_status(dependencies, None, id)
    count = computation_actions.resync(
        dependencies.store, status, destination=data.destination, actor=dependencies.actor, clock=dependencies.clock
    )
    return {"data": {"queued": count}}


@post(
    "/spaces/{space_id:str}/audiences/previews",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Preview an audience",
)
@run_in_executor
def create_preview(
    space_id: FromPath[str], data: JSONBody[PreviewOrder], dependencies: Dependencies
) -> dict[str, dict[str, PreviewView]]:
    """Preview a definition: the number of matching people, ten samples, and warnings about likely mistakes."""
    return {"data": {"audiencePreview": _preview(dependencies, data.kind, data.definition, data.options)}}


@get("/spaces/{space_id:str}/computed-traits", summary="List computed traits")
@run_in_executor
def list_computed_traits(
    space_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, TraitPage]:
    """List computed traits by key."""
    traits, pagination = _page(dependencies, "computed_trait", count, cursor)
    return {"data": TraitPage(computed_traits=traits, pagination=pagination)}


@post("/spaces/{space_id:str}/computed-traits", status_code=200, summary="Create a computed trait")
@run_in_executor
def create_computed_trait(
    space_id: FromPath[str], data: JSONBody[NewComputation], dependencies: Dependencies
) -> dict[str, SavedTrait]:
    """Create a computed trait. It is computed within seconds."""
    return {"data": SavedTrait(*_create(dependencies, "computed_trait", data))}


@post(
    "/spaces/{space_id:str}/computed-traits/previews",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Preview a computed trait",
)
@run_in_executor
def create_trait_preview(
    space_id: FromPath[str], data: JSONBody[TraitPreviewOrder], dependencies: Dependencies
) -> dict[str, dict[str, PreviewView]]:
    """Preview a definition: the number of people with a value, ten samples, and warnings about likely mistakes."""
    return {"data": {"computedTraitPreview": _preview(dependencies, "computed_trait", data.definition, data.options)}}


@get("/spaces/{space_id:str}/computed-traits/{id:str}", summary="Get a computed trait")
@run_in_executor
def get_computed_trait(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, ComputationView]]:
    """Get the computed trait with this id or key."""
    return {"data": {"computedTrait": _detailed_view(dependencies, _find_status(dependencies, "computed_trait", id))}}


@patch("/spaces/{space_id:str}/computed-traits/{id:str}", summary="Update a computed trait")
@run_in_executor
def update_computed_trait(
    space_id: FromPath[str], id: FromPath[str], data: JSONBody[ComputationUpdate], dependencies: Dependencies
) -> dict[str, SavedTrait]:
    """Update anything but the key."""
    return {"data": SavedTrait(*_update(dependencies, "computed_trait", id, data))}


@delete("/spaces/{space_id:str}/computed-traits/{id:str}", status_code=200, summary="Delete a computed trait")
@run_in_executor
def delete_computed_trait(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Delete it. Its last values stay on profiles as custom traits."""
    dependencies.edit(remove_computation(_find_status(dependencies, "computed_trait", id).computation.key))
    return {"data": {"status": "SUCCESS"}}


HANDLERS = (
    list_audiences,
    create_audience,
    get_audience,
    update_audience,
    delete_audience,
    resync_audience,
    create_preview,
    list_computed_traits,
    create_computed_trait,
    create_trait_preview,
    get_computed_trait,
    update_computed_trait,
    delete_computed_trait,
)


def _page(
    dependencies: Dependencies, kind: Kind, count: int, cursor: str | None
) -> tuple[list[ComputationView], bodies.Pagination]:
    statuses = list_computation_statuses(
        dependencies.store,
        dependencies.workspace(),
        kind=kind,
        rates=request_rates(dependencies.current()),
    )
    statuses.sort(key=lambda status: status.computation.key)
    page_statuses, pagination = page(statuses, key=lambda status: status.computation.key, count=count, cursor=cursor)
    authors = read_authorships(dependencies.store, page_statuses)
    return [computation_view(status, authors[status.computation.key]) for status in page_statuses], pagination


def _find_status(dependencies: Dependencies, kind: Kind | None, id: str) -> ComputationStatus:
    rates = request_rates(dependencies.current())
    return find_computation_status(dependencies.store, dependencies.workspace(), id, kind=kind, rates=rates)


def _create(dependencies: Dependencies, kind: Kind, data: NewComputation) -> tuple[ComputationView, list[str]]:
    computation = Computation(
        kind=kind,
        key=key_of(data.name) if data.key is None else data.key,
        name=data.name,
        definition=_text(kind, data.definition),
        description=data.description,
        enabled=data.enabled,
        destinations=tuple(data.destinations),
        send=tuple(data.send),
        sync=data.sync,
        include_anonymous=data.options.include_anonymous_users,
        include_history=data.options.include_historical_data,
        when_removed=data.when_removed,
    )
    warnings = dependencies.edit(add_computation(computation))
    return _detailed_view(dependencies, _find_status(dependencies, kind, computation.key)), list(warnings)


def _update(
    dependencies: Dependencies, kind: Kind, id: str, data: ComputationUpdate
) -> tuple[ComputationView, list[str]]:
    key = _find_status(dependencies, kind, id).computation.key
    definition = None if data.definition is None else _text(kind, data.definition)
    options = data.options or OptionsUpdate()

    def changed(computation: Computation) -> Computation:
        _refuse_constant_members(computation, data)
        values: dict[str, Any] = {
            "name": data.name,
            "description": data.description,
            "enabled": data.enabled,
            "definition": definition,
            "include_history": options.include_historical_data,
            "destinations": None if data.destinations is None else tuple(data.destinations),
            "send": None if data.send is None else tuple(data.send),
            "sync": data.sync,
            "when_removed": data.when_removed,
        }
        return replace(computation, **{name: value for name, value in values.items() if value is not None})

    warnings = dependencies.edit(change_computation(key, changed))
    return _detailed_view(dependencies, _find_status(dependencies, kind, key)), list(warnings)


def _refuse_constant_members(computation: Computation, data: ComputationUpdate) -> None:
    if data.key is not None and data.key != computation.key:
        raise unprocessable("The key cannot be changed: profiles and destinations use it.", "key")
    if data.compute_cadence is not None and data.compute_cadence.type != Cadence().type:
        raise unprocessable("The only cadence is REALTIME.", "computeCadence.type")
    anonymous = None if data.options is None else data.options.include_anonymous_users
    if anonymous is not None and anonymous != computation.include_anonymous:
        raise unprocessable(
            "includeAnonymousUsers cannot be changed. Create another audience or computed trait with this option.",
            "options.includeAnonymousUsers",
        )


def _text(kind: Kind, definition: DefinitionOrder) -> str:
    return resolve_definition(kind, query=definition.query, model=definition.model)


def _preview(dependencies: Dependencies, kind: Kind, definition: DefinitionOrder, options: Options) -> PreviewView:
    text = _text(kind, definition)
    request = PreviewRequest(kind, text, options.include_anonymous_users)
    preview = computation_actions.preview(dependencies.store, request, clock=dependencies.clock)
    if preview.error:
        raise bad_request(preview.error, "definition")
    return PreviewView(
        id="preview",
        status="COMPLETED",
        definition=_definition(kind, text),
        size=Size(preview.count),
        people=preview.people,
        results=[
            PreviewSample(
                external_ids=[{"type": type_, "id": value} for type_, value in sample.ids],
                value=msgspec.Raw(sample.value.encode()),
            )
            for sample in preview.samples
        ],
        warnings=list(preview.warnings),
        seconds=preview.seconds,
    )


def _definition(kind: str, text: str) -> Definition:
    return Definition(query=text, model=msgspec.to_builtins(parse_definition(kind, text)))


def _outcome_view(outcome: SyncOutcome) -> OutcomeView:
    return OutcomeView(
        synced=outcome.synced,
        no_connection=outcome.no_connection,
        retrying=outcome.retrying,
        parked=outcome.parked,
        rejected=outcome.rejected,
        failed_count=len(outcome.failed),
        failed=[
            FailedSyncView(
                email=sync.email,
                value=msgspec.Raw(sync.value.encode()),
                state=sync.state,
                reason=sync.reason,
                detail=sync.detail,
                at=None if sync.at is None else to_iso(sync.at),
            )
            for sync in outcome.failed[:_FAILED_MAX]
        ],
    )


def _detailed_view(dependencies: Dependencies, status: ComputationStatus) -> ComputationView:
    status = add_sync_outcomes(dependencies.store, status)
    return computation_view(status, read_authorships(dependencies.store, [status])[status.computation.key])


def computation_view(status: ComputationStatus, authorship: Authorship) -> ComputationView:
    """Return the body of an audience or computed trait."""
    computation, state = status.computation, status.state
    return ComputationView(
        id=status.id,
        space_id=SPACE,
        name=computation.name,
        description=computation.description,
        key=computation.key,
        enabled=computation.enabled,
        definition=_definition(computation.kind, computation.definition),
        status=status.status,
        detail="" if state is None else state.detail,
        options=Options(computation.include_anonymous, computation.include_history),
        compute_cadence=Cadence(),
        size=Size(0 if state is None else state.size),
        created_by=authorship.created_by,
        created_at=to_iso(authorship.created_at),
        updated_by=authorship.updated_by,
        updated_at=to_iso(authorship.updated_at),
        computed_at=None if state is None or state.computed_at is None else to_iso(state.computed_at),
        checked_at=None if state is None or state.checked_at is None else to_iso(state.checked_at),
        differences=0 if state is None else state.differences,
        destinations=list(computation.destinations),
        send=list(computation.send),
        sync=computation.sync,
        when_removed=computation.when_removed,
        syncs=[
            SyncView(
                destination=pending.destination,
                queued=pending.queued,
                without_email=pending.without_email,
                too_large=pending.too_large,
                invalid=pending.invalid,
                failed=pending.failed,
                refused=pending.refused,
                cut_lists=pending.cut_lists,
                warnings=pending.warnings,
                seconds=pending.seconds,
                paused_since=None if pending.paused_since is None else to_iso(pending.paused_since),
                outcome=None if pending.outcome is None else _outcome_view(pending.outcome),
            )
            for pending in status.pending_syncs
        ],
    )

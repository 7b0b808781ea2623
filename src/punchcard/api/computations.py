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
from punchcard.operations import engagement
from punchcard.operations.authorship import Authorship, read_authorships
from punchcard.operations.definitions import resolve_definition
from punchcard.operations.engagement import ComputationStatus
from punchcard.operations.executor import run_in_executor
from punchcard.store.sync_outcomes import SyncOutcome
from punchcard.store.token_store import Role
from punchcard.workspace.computations import parse_definition
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import Computation

_FAILED_SHOWN = 10
SPACE = "punchcard"
"""The id of the one space; any other is taken for it too, so that clients of another host just work."""


@get("/spaces/{space_id:str}/audiences", summary="All audiences")
@run_in_executor
def list_audiences(
    space_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, AudiencePage]:
    """Every audience, by key, with its size and what its destinations are still to be told."""
    shown, pagination = _page(dependencies, "audience", count, cursor)
    return {"data": AudiencePage(audiences=shown, pagination=pagination)}


@post("/spaces/{space_id:str}/audiences", status_code=200, summary="Create an audience")
@run_in_executor
def create_audience(
    space_id: FromPath[str], data: JSONBody[NewComputation], dependencies: Dependencies
) -> dict[str, SavedAudience]:
    """A new audience; it is live within seconds."""
    return {"data": SavedAudience(*_create(dependencies, "audience", data))}


@get("/spaces/{space_id:str}/audiences/{id:str}", summary="One audience")
@run_in_executor
def get_audience(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, ComputationView]]:
    """The audience with this id or key."""
    return {"data": {"audience": _view_of(dependencies, _one(dependencies, "audience", id))}}


@patch("/spaces/{space_id:str}/audiences/{id:str}", summary="Change an audience")
@run_in_executor
def update_audience(
    space_id: FromPath[str], id: FromPath[str], data: JSONBody[ComputationUpdate], dependencies: Dependencies
) -> dict[str, SavedAudience]:
    """Anything but its key."""
    return {"data": SavedAudience(*_update(dependencies, "audience", id, data))}


@delete("/spaces/{space_id:str}/audiences/{id:str}", status_code=200, summary="Delete an audience")
@run_in_executor
def delete_audience(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Its last values stay on profiles as custom traits."""
    dependencies.edit(engagement.remove_computation(_one(dependencies, "audience", id).computation.key))
    return {"data": {"status": "SUCCESS"}}


@post("/spaces/{space_id:str}/audiences/{id:str}/resync", status_code=200, summary="Tell everybody again")
@run_in_executor
def resync_audience(
    space_id: FromPath[str], id: FromPath[str], data: JSONBody[ResyncOrder], dependencies: Dependencies
) -> dict[str, dict[str, int]]:
    """Queues everybody, whether or not anything has changed."""
    one = _one(dependencies, None, id)
    count = engagement.resync(
        dependencies.store, one, destination=data.destination, actor=dependencies.actor, clock=dependencies.clock
    )
    return {"data": {"queued": count}}


@post(
    "/spaces/{space_id:str}/audiences/previews",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Try an audience's definition",
)
@run_in_executor
def create_preview(
    space_id: FromPath[str], data: JSONBody[PreviewOrder], dependencies: Dependencies
) -> dict[str, dict[str, PreviewView]]:
    """How many people a definition would hold now, ten of them, and what in it may be a mistake."""
    return {"data": {"audiencePreview": _preview(dependencies, data.kind, data.definition, data.options)}}


@get("/spaces/{space_id:str}/computed-traits", summary="All computed traits")
@run_in_executor
def list_computed_traits(
    space_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, TraitPage]:
    """Every computed trait, by key."""
    shown, pagination = _page(dependencies, "computed_trait", count, cursor)
    return {"data": TraitPage(computed_traits=shown, pagination=pagination)}


@post("/spaces/{space_id:str}/computed-traits", status_code=200, summary="Create a computed trait")
@run_in_executor
def create_computed_trait(
    space_id: FromPath[str], data: JSONBody[NewComputation], dependencies: Dependencies
) -> dict[str, SavedTrait]:
    """A new computed trait; it is live within seconds."""
    return {"data": SavedTrait(*_create(dependencies, "computed_trait", data))}


@post(
    "/spaces/{space_id:str}/computed-traits/previews",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Try a computed trait's definition",
)
@run_in_executor
def create_trait_preview(
    space_id: FromPath[str], data: JSONBody[TraitPreviewOrder], dependencies: Dependencies
) -> dict[str, dict[str, PreviewView]]:
    """How many people would have a value now, ten of them, and what in the definition may be a mistake."""
    return {"data": {"computedTraitPreview": _preview(dependencies, "computed_trait", data.definition, data.options)}}


@get("/spaces/{space_id:str}/computed-traits/{id:str}", summary="One computed trait")
@run_in_executor
def get_computed_trait(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, ComputationView]]:
    """The computed trait with this id or key."""
    return {"data": {"computedTrait": _view_of(dependencies, _one(dependencies, "computed_trait", id))}}


@patch("/spaces/{space_id:str}/computed-traits/{id:str}", summary="Change a computed trait")
@run_in_executor
def update_computed_trait(
    space_id: FromPath[str], id: FromPath[str], data: JSONBody[ComputationUpdate], dependencies: Dependencies
) -> dict[str, SavedTrait]:
    """Anything but its key."""
    return {"data": SavedTrait(*_update(dependencies, "computed_trait", id, data))}


@delete("/spaces/{space_id:str}/computed-traits/{id:str}", status_code=200, summary="Delete a computed trait")
@run_in_executor
def delete_computed_trait(
    space_id: FromPath[str], id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Its last values stay on profiles as custom traits."""
    dependencies.edit(engagement.remove_computation(_one(dependencies, "computed_trait", id).computation.key))
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
    found = sorted(_standing(dependencies, kind), key=lambda one: one.computation.key)
    shown, pagination = page(found, key=lambda one: one.computation.key, count=count, cursor=cursor)
    authors = read_authorships(dependencies.store, shown)
    return [_view(one, authors[one.computation.key]) for one in shown], pagination


def _standing(dependencies: Dependencies, kind: Kind | None) -> list[ComputationStatus]:
    return engagement.list_computation_statuses(
        dependencies.store, dependencies.workspace(), kind=kind, rates=engagement.request_rates(dependencies.current())
    )


def _one(dependencies: Dependencies, kind: Kind | None, id: str) -> ComputationStatus:
    for one in _standing(dependencies, kind):
        if id in (one.id, one.computation.key):
            return one
    raise NotFoundError(f"there is no {engagement.KINDS.get(kind or '', 'computation')} {id}")


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
    warnings = dependencies.edit(engagement.add_computation(computation))
    return _view_of(dependencies, _one(dependencies, kind, computation.key)), list(warnings)


def _update(
    dependencies: Dependencies, kind: Kind, id: str, data: ComputationUpdate
) -> tuple[ComputationView, list[str]]:
    key = _one(dependencies, kind, id).computation.key
    definition = None if data.definition is None else _text(kind, data.definition)
    options = data.options or OptionsUpdate()

    def changed(one: Computation) -> Computation:
        _refuse_what_stays(one, data)
        given: dict[str, Any] = {
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
        return replace(one, **{name: value for name, value in given.items() if value is not None})

    warnings = dependencies.edit(engagement.change_computation(key, changed))
    return _view_of(dependencies, _one(dependencies, kind, key)), list(warnings)


def _refuse_what_stays(one: Computation, data: ComputationUpdate) -> None:
    if data.key is not None and data.key != one.key:
        raise unprocessable(f"the key of {one.key} stays what it is: profiles and destinations know it by that", "key")
    if data.compute_cadence is not None and data.compute_cadence.type != Cadence().type:
        raise unprocessable("everything is computed in real time; there is no other mode", "computeCadence.type")
    anonymous = None if data.options is None else data.options.include_anonymous_users
    if anonymous is not None and anonymous != one.include_anonymous:
        raise unprocessable(
            "whether anonymous people count cannot be changed; make another one that says so from the beginning",
            "options.includeAnonymousUsers",
        )


def _text(kind: Kind, definition: DefinitionOrder) -> str:
    return resolve_definition(kind, query=definition.query, model=definition.model)


def _preview(dependencies: Dependencies, kind: Kind, definition: DefinitionOrder, options: Options) -> PreviewView:
    text = _text(kind, definition)
    request = PreviewRequest(kind, text, options.include_anonymous_users)
    found = engagement.preview(dependencies.store, request, clock=dependencies.clock)
    if found.error:
        raise bad_request(found.error, "definition")
    return PreviewView(
        id="preview",
        status="COMPLETED",
        definition=_definition(kind, text),
        size=Size(found.count),
        people=found.people,
        results=[
            PreviewSample(
                external_ids=[{"type": type_, "id": value} for type_, value in sample.ids],
                value=msgspec.Raw(sample.value.encode()),
            )
            for sample in found.samples
        ],
        warnings=list(found.warnings),
        seconds=found.seconds,
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
                email=one.email,
                value=msgspec.Raw(one.value.encode()),
                state=one.state,
                reason=one.reason,
                detail=one.detail,
                at=None if one.at is None else to_iso(one.at),
            )
            for one in outcome.failed[:_FAILED_SHOWN]
        ],
    )


def _view_of(dependencies: Dependencies, one: ComputationStatus) -> ComputationView:
    one = engagement.add_sync_outcomes(dependencies.store, one)
    return _view(one, read_authorships(dependencies.store, [one])[one.computation.key])


def _view(one: ComputationStatus, authorship: Authorship) -> ComputationView:
    computation, state = one.computation, one.state
    return ComputationView(
        id=one.id,
        space_id=SPACE,
        name=computation.name,
        description=computation.description,
        key=computation.key,
        enabled=computation.enabled,
        definition=_definition(computation.kind, computation.definition),
        status=one.status,
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
                destination=waiting.destination,
                queued=waiting.queued,
                without_email=waiting.without_email,
                too_large=waiting.too_large,
                invalid=waiting.invalid,
                failed=waiting.failed,
                refused=waiting.refused,
                cut_lists=waiting.cut_lists,
                warnings=waiting.warnings,
                seconds=waiting.seconds,
                paused_since=None if waiting.paused_since is None else to_iso(waiting.paused_since),
                outcome=None if waiting.outcome is None else _outcome_view(waiting.outcome),
            )
            for waiting in one.pending_syncs
        ],
    )

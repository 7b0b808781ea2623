"""Transformations, in Segment's format.

Source: Segment's Public API, "Transformations". `destinationMetadataId` is the slug of a destination; `order` and the
preview are Punchcard's own.
"""

from dataclasses import replace
from typing import Any, Final

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.errors import unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.transformation_preview import AwardChange, TransformationPreview, preview_on_events
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import add_with_new_slug
from punchcard.workspace.model import FqlDefinedProperty, PropertyRename, PropertyValue, Transformation
from punchcard.workspace.transformation_editing import (
    add_transformation,
    change_transformation,
    find_transformation,
    new_slug,
    remove_transformation,
)
from punchcard.workspace.transformation_settings import in_order

Value = str | int | float | bool | None
_NO_HASHES: Final = "Hashing is not part of transformations here: use the controls of Privacy."


class Rename(msgspec.Struct, rename="camel"):
    """A property and its new name."""

    old_name: str
    new_name: str


class ValueTransformation(msgspec.Struct, rename="camel"):
    """At most 10 paths, such as `properties.currency`, and the value that they get."""

    property_paths: list[str]
    property_value: Value


class FqlProperty(msgspec.Struct, rename="camel"):
    """A property, and the FQL expression of its value."""

    fql: str
    property_name: str


class TransformationView(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A transformation. Members that do not apply are absent."""

    id: str
    name: str
    source_id: str
    destination_metadata_id: str | None = None
    enabled: bool
    if_: str = msgspec.field(name="if")
    order: int
    drop: bool = False
    new_event_name: str | None = None
    property_renames: list[Rename] = []
    property_value_transformations: list[ValueTransformation] = []
    fql_defined_properties: list[FqlProperty] = []
    property_drops: list[str] = []
    allow_properties: list[str] = []


class TransformationPage(msgspec.Struct):
    """A page of transformations, in the order in which they are applied."""

    transformations: list[TransformationView]
    pagination: bodies.Pagination


class NewTransformation(msgspec.Struct, rename="camel", kw_only=True):
    """A transformation to create."""

    name: str
    source_id: str
    enabled: bool
    if_: str = msgspec.field(name="if")
    destination_metadata_id: str | None = None
    order: int = 0
    drop: bool = False
    new_event_name: str | None = None
    property_renames: list[Rename] = []
    property_value_transformations: list[ValueTransformation] = []
    fql_defined_properties: list[FqlProperty] = []
    property_drops: list[str] = []
    allow_properties: list[str] = []
    hash_properties_configuration: dict[str, Any] | None = None


class TransformationUpdate(msgspec.Struct, rename="camel", kw_only=True):
    """Members to change; absent members stay. `destinationMetadataId` null makes it source-scoped."""

    name: str | None = None
    source_id: str | None = None
    enabled: bool | None = None
    if_: str | None = msgspec.field(name="if", default=None)
    destination_metadata_id: str | msgspec.UnsetType | None = msgspec.UNSET
    order: int | None = None
    drop: bool | None = None
    new_event_name: str | msgspec.UnsetType | None = msgspec.UNSET
    property_renames: list[Rename] | None = None
    property_value_transformations: list[ValueTransformation] | None = None
    property_drops: list[str] | None = None
    allow_properties: list[str] | None = None
    fql_defined_properties: list[FqlProperty] | None = None
    hash_properties_configuration: dict[str, Any] | None = None


class ChangedEventView(msgspec.Struct, rename="camel"):
    """An event before and after; `after` is null if it would be dropped."""

    message_id: str
    before: msgspec.Raw
    after: msgspec.Raw | None
    changes: list[str]


class AwardChangeView(msgspec.Struct, rename="camel"):
    """Awards of the changed events at a destination, before and after; quantities are decimal text."""

    destination_id: str
    awards_before: int
    awards_after: int
    quantity_before: str
    quantity_after: str


class PreviewView(msgspec.Struct):
    """What the transformation would make of the events of the last days."""

    days: int
    events: int
    changed: int
    dropped: int
    samples: list[ChangedEventView]
    awards: list[AwardChangeView]


@get("/transformations", summary="List transformations")
@run_in_executor
def list_transformations(
    dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, TransformationPage]:
    """List the transformations of all sources."""
    transformations, pagination = page(
        in_order(dependencies.workspace().transformations),
        key=lambda transformation: f"{transformation.order:010} {transformation.slug}",
        count=count,
        cursor=cursor,
    )
    views = [transformation_view(transformation) for transformation in transformations]
    return {"data": TransformationPage(transformations=views, pagination=pagination)}


@post("/transformations", status_code=200, summary="Create a transformation")
@run_in_executor
def create_transformation(
    data: JSONBody[NewTransformation], dependencies: Dependencies
) -> dict[str, dict[str, TransformationView]]:
    """Create a transformation. It is applied behind the existing ones of its source."""
    transformation = _new(data, "")
    slug, _ = add_with_new_slug(
        dependencies.edit,
        lambda workspace: new_slug(workspace, data.name),
        lambda slug: add_transformation(replace(transformation, slug=slug)),
    )
    return _response(dependencies, slug)


@post(
    "/transformations/preview",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Preview a transformation",
)
@run_in_executor
def preview_transformation_call(
    data: JSONBody[NewTransformation], dependencies: Dependencies
) -> dict[str, dict[str, PreviewView]]:
    """Apply a transformation to the events of the last 7 days, and plan what they earn. Nothing is saved or sent."""
    try:
        preview = preview_on_events(
            _new(data, "preview"), snapshot=dependencies.current(), lake=dependencies.lake, clock=dependencies.clock
        )
    except ConfigurationError as error:
        raise unprocessable(error.message) from error
    return {"data": {"preview": preview_view(preview)}}


@get("/transformations/{transformation_id:str}", summary="Get a transformation")
@run_in_executor
def get_transformation(
    transformation_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, TransformationView]]:
    """Get the transformation with this id."""
    return _response(dependencies, transformation_id)


@patch("/transformations/{transformation_id:str}", summary="Update a transformation")
@run_in_executor
def update_transformation(
    transformation_id: FromPath[str], data: JSONBody[TransformationUpdate], dependencies: Dependencies
) -> dict[str, dict[str, TransformationView]]:
    """Update the members in the request."""
    _refuse_unsupported(data)
    dependencies.edit(change_transformation(transformation_id, lambda transformation: _updated(transformation, data)))
    return _response(dependencies, transformation_id)


@delete("/transformations/{transformation_id:str}", status_code=200, summary="Delete a transformation")
@run_in_executor
def delete_transformation(transformation_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Delete a transformation. Events that it has changed stay as they are."""
    dependencies.edit(remove_transformation(transformation_id))
    return {"data": {"status": "SUCCESS"}}


def transformation_view(transformation: Transformation) -> TransformationView:
    """Return the body of a transformation."""
    return TransformationView(
        id=transformation.slug,
        name=transformation.name,
        source_id=transformation.source,
        destination_metadata_id=transformation.destination or None,
        enabled=transformation.enabled,
        if_=transformation.condition,
        order=transformation.order,
        drop=transformation.drop,
        new_event_name=transformation.new_event_name or None,
        property_renames=[
            Rename(old_name=rename.old_name, new_name=rename.new_name) for rename in transformation.property_renames
        ],
        property_value_transformations=[
            ValueTransformation(property_paths=list(value.property_paths), property_value=value.property_value)
            for value in transformation.property_value_transformations
        ],
        fql_defined_properties=[
            FqlProperty(fql=defined.fql, property_name=defined.property_name)
            for defined in transformation.fql_defined_properties
        ],
        property_drops=list(transformation.property_drops),
        allow_properties=list(transformation.allow_properties),
    )


def preview_view(preview: TransformationPreview) -> PreviewView:
    """Return the body of a preview."""
    return PreviewView(
        days=preview.days,
        events=preview.events,
        changed=preview.changed,
        dropped=preview.dropped,
        samples=[
            ChangedEventView(
                message_id=sample.message_id,
                before=msgspec.Raw(sample.before),
                after=None if sample.after is None else msgspec.Raw(sample.after),
                changes=list(sample.changes),
            )
            for sample in preview.samples
        ],
        awards=[award_change_view(change) for change in preview.awards],
    )


def award_change_view(change: AwardChange) -> AwardChangeView:
    """Return the body of the awards at one destination."""
    return AwardChangeView(
        destination_id=change.destination,
        awards_before=change.awards_before,
        awards_after=change.awards_after,
        quantity_before=f"{change.quantity_before:f}",
        quantity_after=f"{change.quantity_after:f}",
    )


def _new(data: NewTransformation, slug: str) -> Transformation:
    _refuse_unsupported(data)
    return Transformation(
        slug=slug,
        name=data.name,
        source=data.source_id,
        destination=data.destination_metadata_id or "",
        enabled=data.enabled,
        condition=data.if_,
        order=data.order,
        drop=data.drop,
        new_event_name=data.new_event_name or "",
        property_renames=_renames(data.property_renames),
        property_value_transformations=_values(data.property_value_transformations),
        fql_defined_properties=_fql_properties(data.fql_defined_properties),
        property_drops=tuple(data.property_drops),
        allow_properties=tuple(data.allow_properties),
    )


def _updated(transformation: Transformation, data: TransformationUpdate) -> Transformation:
    changes: dict[str, Any] = {
        "name": data.name,
        "source": data.source_id,
        "enabled": data.enabled,
        "condition": data.if_,
        "order": data.order,
        "drop": data.drop,
        "property_renames": None if data.property_renames is None else _renames(data.property_renames),
        "property_value_transformations": (
            None if data.property_value_transformations is None else _values(data.property_value_transformations)
        ),
        "fql_defined_properties": (
            None if data.fql_defined_properties is None else _fql_properties(data.fql_defined_properties)
        ),
        "property_drops": None if data.property_drops is None else tuple(data.property_drops),
        "allow_properties": None if data.allow_properties is None else tuple(data.allow_properties),
    }
    changes = {key: value for key, value in changes.items() if value is not None}
    if data.destination_metadata_id is not msgspec.UNSET:
        changes["destination"] = data.destination_metadata_id or ""
    if data.new_event_name is not msgspec.UNSET:
        changes["new_event_name"] = data.new_event_name or ""
    return replace(transformation, **changes)


def _refuse_unsupported(data: NewTransformation | TransformationUpdate) -> None:
    if data.hash_properties_configuration:
        raise unprocessable(_NO_HASHES, "hashPropertiesConfiguration")


def _renames(renames: list[Rename]) -> tuple[PropertyRename, ...]:
    return tuple(PropertyRename(old_name=rename.old_name, new_name=rename.new_name) for rename in renames)


def _values(values: list[ValueTransformation]) -> tuple[PropertyValue, ...]:
    return tuple(
        PropertyValue(property_paths=tuple(value.property_paths), property_value=value.property_value)
        for value in values
    )


def _fql_properties(properties: list[FqlProperty]) -> tuple[FqlDefinedProperty, ...]:
    return tuple(FqlDefinedProperty(property_name=defined.property_name, fql=defined.fql) for defined in properties)


def _response(dependencies: Dependencies, slug: str) -> dict[str, dict[str, TransformationView]]:
    return {"data": {"transformation": transformation_view(find_transformation(dependencies.workspace(), slug))}}


HANDLERS = (
    list_transformations,
    create_transformation,
    preview_transformation_call,
    get_transformation,
    update_transformation,
    delete_transformation,
)

"""Inventory of personal data, and controls of properties. Segment has neither in its API: paths are our own."""

from typing import Annotated, Any, Final, cast

import msgspec
from litestar import Request, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, ApiDependencies, Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.files import read_format
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.api.transformations import AwardChangeView, award_change_view
from punchcard.operations.control_preview import ControlPreview, preview_control
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.exports import export_inventory
from punchcard.operations.inventory import classify, item_body, read_classification, read_inventory
from punchcard.store.access.token_store import Role
from punchcard.workspace.control_editing import (
    PropertyControl,
    find_control,
    list_controls,
    remove_control,
    set_control,
)

_STATUSES: Final = ("NEW", "CLASSIFIED")


class InventoryPage(msgspec.Struct):
    """A page of properties and traits, by section and path."""

    properties: list[dict[str, Any]]
    pagination: bodies.Pagination


class ClassificationBody(msgspec.Struct, forbid_unknown_fields=True):
    """Properties, such as `properties.card`, and what they are: `RED`, `YELLOW` or `GREEN`; null makes them new."""

    properties: list[str]
    classification: str | None


class ControlView(msgspec.Struct):
    """A control: `action` is `drop`, `mask` or `hash`; `scope` is `source` or `destination`, and `id` its slug."""

    scope: str
    id: str
    path: str
    action: str


class ControlList(msgspec.Struct):
    """All controls: those of sources, then those of destinations."""

    controls: list[ControlView]


class ControlBody(msgspec.Struct, forbid_unknown_fields=True):
    """The control that a path gets: `drop`, `mask` or `hash`. A path is such as `properties.card`."""

    path: str
    action: str


class ControlSampleView(msgspec.Struct, rename="camel"):
    """A value before and after; `before` is masked, `after` is null if it would be dropped."""

    message_id: str
    event: str
    before: str
    after: str | None


class ControlPreviewView(msgspec.Struct):
    """What the control would make of the events of the last days."""

    days: int
    events: int
    changed: int
    samples: list[ControlSampleView]
    awards: list[AwardChangeView]


@get("/privacy/inventory", summary="List properties and traits")
@run_in_executor
def list_inventory(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    status: FromQuery[str | None] = None,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
    format_: Annotated[str | None, QueryParameter(name="format")] = None,
) -> dict[str, InventoryPage]:
    """List every property and trait that sources send, with what it looks like; `status` is `NEW` or `CLASSIFIED`.

    `format` returns the whole list as a file.
    """
    if status not in (None, *_STATUSES):
        raise bad_request(f"Use a status of {', '.join(_STATUSES)}.", "status")
    with dependencies.store.reading() as work:
        inventory = read_inventory(work)
    matches = [item for item in inventory if status is None or item.is_new is (status == "NEW")]
    if (format := read_format(request, format_)) is not None:
        return cast("dict[str, InventoryPage]", download(export_inventory(matches), format))
    by_name = sorted(matches, key=lambda item: item.name)
    shown, pagination = page(by_name, key=lambda item: item.name, count=count, cursor=cursor)
    return {"data": InventoryPage(properties=[item_body(item) for item in shown], pagination=pagination)}


@put("/privacy/inventory", status_code=200, summary="Classify properties and traits")
@run_in_executor
def classify_properties(data: JSONBody[ClassificationBody], dependencies: Dependencies) -> dict[str, dict[str, int]]:
    """Say how sensitive properties are; null makes them new again. Returns the number of changes."""
    classification = None if data.classification is None else read_classification(data.classification)
    with dependencies.store.unit_of_work() as work:
        changed = classify(
            work, data.properties, classification, actor=dependencies.actor, now=dependencies.clock.now()
        )
    return {"data": {"changed": changed}}


@get("/privacy/controls", summary="List controls of properties")
@run_in_executor
def list_property_controls(dependencies: Dependencies) -> dict[str, ControlList]:
    """List the properties that are dropped, masked or hashed, by source and destination."""
    return {
        "data": ControlList(controls=[control_view(control) for control in list_controls(dependencies.workspace())])
    }


@put(
    "/privacy/controls/{kind:str}/{part_id:str}",
    status_code=200,
    opt={REQUIRED_ROLE: Role.OWNER},
    summary="Set the control of a property",
)
@run_in_executor
def set_property_control(
    kind: FromPath[str], part_id: FromPath[str], data: JSONBody[ControlBody], dependencies: Dependencies
) -> dict[str, dict[str, ControlView]]:
    """Add a control, or give the path another one. It holds for the next event."""
    dependencies.edit(set_control(_control(kind, part_id, data)))
    return _response(dependencies, kind, part_id, data.path)


@post(
    "/privacy/controls/{kind:str}/{part_id:str}/preview",
    status_code=200,
    opt={REQUIRED_ROLE: Role.READ_ONLY},
    summary="Preview the control of a property",
)
@run_in_executor
def preview_property_control(
    kind: FromPath[str], part_id: FromPath[str], data: JSONBody[ControlBody], dependencies: Dependencies
) -> dict[str, dict[str, ControlPreviewView]]:
    """Apply a control to the events of the last 7 days, and plan what they earn. Nothing is saved or sent."""
    preview = preview_control(
        _control(kind, part_id, data),
        dependencies.workspace(),
        snapshot=dependencies.current(),
        lake=dependencies.lake,
        clock=dependencies.clock,
    )
    return {"data": {"preview": _preview_view(preview)}}


@delete(
    "/privacy/controls/{kind:str}/{part_id:str}",
    status_code=200,
    opt={REQUIRED_ROLE: Role.OWNER},
    summary="Remove the control of a property",
)
@run_in_executor
def remove_property_control(
    kind: FromPath[str], part_id: FromPath[str], dependencies: Dependencies, path: FromQuery[str] = ""
) -> dict[str, dict[str, str]]:
    """Allow the property from the next event on. Events that were stored stay as they are."""
    if not path:
        raise bad_request("Name the path of the control, such as ?path=properties.card.", "path")
    dependencies.edit(remove_control(kind, part_id, path))
    return {"data": {"status": "SUCCESS"}}


def control_view(control: PropertyControl) -> ControlView:
    """Return the body of a control."""
    return ControlView(scope=control.scope, id=control.slug, path=control.path, action=control.action)


def _control(scope: str, slug: str, data: ControlBody) -> PropertyControl:
    return PropertyControl(scope=scope, slug=slug, path=data.path, action=data.action)


def _preview_view(preview: ControlPreview) -> ControlPreviewView:
    return ControlPreviewView(
        days=preview.days,
        events=preview.events,
        changed=preview.changed,
        samples=[
            ControlSampleView(
                message_id=sample.message_id, event=sample.event, before=sample.before, after=sample.after
            )
            for sample in preview.samples
        ],
        awards=[award_change_view(change) for change in preview.awards],
    )


def _response(dependencies: ApiDependencies, scope: str, slug: str, path: str) -> dict[str, dict[str, ControlView]]:
    return {"data": {"control": control_view(find_control(dependencies.workspace(), scope, slug, path))}}


HANDLERS = (
    list_inventory,
    classify_properties,
    list_property_controls,
    set_property_control,
    preview_property_control,
    remove_property_control,
)

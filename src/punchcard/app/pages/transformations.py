"""Transformations: the list, and the editor with a preview on the events of the last days."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec
from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.transformation_preview import TransformationPreview, preview_on_events
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import add_with_new_slug
from punchcard.workspace.model import FqlDefinedProperty, PropertyRename, PropertyValue, Transformation
from punchcard.workspace.part_names import name_destinations
from punchcard.workspace.transformation_editing import (
    add_transformation,
    change_transformation,
    find_transformation,
    new_slug,
    remove_transformation,
)
from punchcard.workspace.transformation_settings import describe_changes, in_order

_LIST: Final = "/transformations"
_DIGITS_MAX: Final = 9
_FIELDS: Final = {
    "if": "condition",
    "newEventName": "new_event_name",
    "propertyRenames": "renames",
    "propertyValueTransformations": "values",
    "fqlDefinedProperties": "computed",
    "propertyDrops": "drops",
    "allowProperties": "allowed",
}


@get("/transformations")
@run_in_executor
def show_transformations(context: ContextDependency) -> Page:
    """Show all transformations in the order in which they are applied."""
    workspace = context.dependencies.workspace()
    names = {source.slug: source.name for source in workspace.sources}
    names |= name_destinations(workspace.destinations)
    return context.page(
        "transformations.html",
        transformations=in_order(workspace.transformations),
        describe=describe_changes,
        names=names,
    )


@get("/transformations/new", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_new_transformation(context: ContextDependency) -> Page:
    """Show the empty editor."""
    sources = context.dependencies.workspace().sources
    source = context.query("source") or (sources[0].slug if sources else "")
    condition = f"event = {_quoted(context.query('event'))}" if context.query("event") else ""
    return _editor(context, Transformation(slug="", name="", source=source, condition=condition), FormErrors())


@get("/transformations/{slug:str}")
@run_in_executor
def show_transformation(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the editor of a transformation."""
    return _editor(context, find_transformation(context.dependencies.workspace(), slug), FormErrors())


@post("/transformations/preview", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def preview_new_transformation(context: ContextDependency) -> Page:
    """Show what a new transformation would do, before it is saved."""
    return _preview(context, Transformation(slug="", name="", source="", condition=""))


@post("/transformations/{slug:str}/preview", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def preview_transformation(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show what a changed transformation would do, before it is saved."""
    return _preview(context, find_transformation(context.dependencies.workspace(), slug))


@post("/transformations/new", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def add(context: ContextDependency) -> Page:
    """Add a transformation."""
    empty = Transformation(slug="", name="", source="", condition="")
    typed, errors = _typed(context, empty)
    if errors:
        return _editor(context, typed, errors, status=422)
    try:
        add_with_new_slug(
            context.edit,
            lambda workspace: new_slug(workspace, typed.name),
            lambda slug: add_transformation(replace(typed, slug=slug)),
        )
    except ConfigurationError as error:
        return _editor(context, typed, form_errors_from(error, names=_FIELDS), status=422)
    return context.redirect(_LIST, notices=[f"{typed.name} was added."])


@post("/transformations/{slug:str}", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def save(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save a transformation."""
    typed, errors = _typed(context, find_transformation(context.dependencies.workspace(), slug))
    if errors:
        return _editor(context, typed, errors, status=422)
    try:
        context.edit(change_transformation(slug, lambda existing: _typed(context, existing)[0]))
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        return _editor(context, typed, form_errors_from(error, names=_FIELDS), status=422)
    return context.redirect(_LIST, notices=["Saved."])


@post("/transformations/{slug:str}/remove", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def remove(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Delete a transformation."""
    context.edit(remove_transformation(slug))
    return context.redirect(_LIST, notices=["The transformation was deleted."])


def _preview(context: RequestContext, existing: Transformation) -> Page:
    typed, errors = _typed(context, existing)
    preview = None
    if not errors:
        dependencies = context.dependencies
        try:
            preview = preview_on_events(
                typed, snapshot=dependencies.current(), lake=dependencies.lake, clock=dependencies.clock
            )
        except ConfigurationError as error:
            place = error.context.get("path")
            key = str(place[0]) if isinstance(place, tuple) and place else "if"
            errors = FormErrors(fields={_FIELDS.get(key, key): error.message})
    return _editor(context, typed, errors, preview=preview, status=422 if errors else 200)


def _editor(
    context: RequestContext,
    transformation: Transformation,
    errors: FormErrors,
    *,
    preview: TransformationPreview | None = None,
    status: int = 200,
) -> Page:
    workspace = context.dependencies.workspace()
    return context.page(
        "transformation.html",
        status=status,
        transformation=transformation,
        texts=_texts(context, transformation),
        sources={source.slug: source.name or source.slug for source in workspace.sources},
        destinations=name_destinations(workspace.destinations),
        errors=errors,
        preview=preview,
        pretty=_pretty,
        is_new=not transformation.slug,
    )


def _texts(context: RequestContext, transformation: Transformation) -> dict[str, str]:
    """The fields with several lines: as typed if the form was sent, else from the transformation."""
    texts = {
        "renames": [f"{rename.old_name} = {rename.new_name}" for rename in transformation.property_renames],
        "values": [
            f"{path} = {json.dumps(value.property_value, ensure_ascii=False)}"
            for value in transformation.property_value_transformations
            for path in value.property_paths
        ],
        "computed": [f"{defined.property_name} = {defined.fql}" for defined in transformation.fql_defined_properties],
        "drops": list(transformation.property_drops),
        "allowed": list(transformation.allow_properties),
    }
    return {
        name: context.field(name) if context.form.get("renames") is not None else "\n".join(lines)
        for name, lines in texts.items()
    }


def _typed(context: RequestContext, existing: Transformation) -> tuple[Transformation, FormErrors]:
    """The transformation as typed, and what of it cannot be read."""
    errors = FormErrors()
    renames = [
        PropertyRename(old_name=old, new_name=new) for old, new in _pairs(context.field("renames"), "renames", errors)
    ]
    values = [
        PropertyValue(property_paths=(path,), property_value=_value(text))
        for path, text in _pairs(context.field("values"), "values", errors)
    ]
    computed = [
        FqlDefinedProperty(property_name=name, fql=fql)
        for name, fql in _pairs(context.field("computed"), "computed", errors)
    ]
    order = context.field("order")
    if order and not order.isdecimal():
        errors.fields["order"] = "Enter a whole number."
    typed = replace(
        existing,
        name=context.field("name"),
        source=context.field("source") or existing.source,
        destination=context.field("destination"),
        condition=context.field("condition"),
        enabled=context.field("enabled") == "on",
        order=int(order) if order.isdecimal() and len(order) <= _DIGITS_MAX else existing.order,
        drop=context.field("drop") == "on",
        new_event_name=context.field("new_event_name"),
        property_renames=tuple(renames),
        property_value_transformations=tuple(values),
        fql_defined_properties=tuple(computed),
        property_drops=tuple(_lines(context.field("drops"))),
        allow_properties=tuple(_lines(context.field("allowed"))),
    )
    return typed, errors


def _pairs(text: str, field: str, errors: FormErrors) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_lines(text), start=1):
        left, equals, right = line.partition("=")
        if not equals or not left.strip() or not right.strip():
            errors.fields[field] = f"Line {number}: write a name, an equals sign and what it becomes."
            continue
        yield left.strip(), right.strip()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _value(text: str) -> str | int | float | bool | None:
    """A number, true, false, null or a text in quotes as in JSON; anything else as text."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if value is None or isinstance(value, str | int | float | bool) else text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _pretty(raw: bytes) -> str:
    """The JSON text of an event, indented; its numbers keep their digits."""
    return msgspec.json.format(raw, indent=2).decode(errors="replace")


HANDLERS = (
    show_transformations,
    show_new_transformation,
    preview_new_transformation,
    add,
    show_transformation,
    preview_transformation,
    save,
    remove,
)

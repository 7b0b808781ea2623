"""A destination's settings: a form derived from its definition."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, attach_to_fields, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.app.setting_forms import format_values, read_setting
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition, FieldType, SettingField
from punchcard.destinations.settings import with_defaults
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.partner_queries import check_connection
from punchcard.operations.queued_awards import count_queued
from punchcard.workspace.apply import restore_masked_secrets
from punchcard.workspace.document import mask_secrets
from punchcard.workspace.editing import change_destination, find_destination, merge_settings, remove_destination
from punchcard.workspace.model import Destination


@get("/destinations/{slug:str}/settings")
@run_in_executor
def show_settings(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the form."""
    destination = find_destination(context.dependencies.workspace(), slug)
    return _form(context, destination, _values(destination), FormErrors(), status=200)


@post("/destinations/{slug:str}/settings", status_code=200)
@run_in_executor
def save(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save the settings. Queued transactions are sent with the new settings."""
    destination = find_destination(context.dependencies.workspace(), slug)
    definition = _definition(destination)
    settings, options = read_form(context, definition)
    try:
        context.edit(
            change_destination(
                slug,
                lambda current: replace(
                    current,
                    name=context.field("name"),
                    enabled=context.field("enabled") == "on",
                    sources=tuple(context.fields("sources")),
                    consent=tuple(word for word in context.field("consent").split() if word),
                    settings=merge_settings(current.settings, settings),
                    options=_without_defaults({**current.options, **options}, definition),
                ),
            )
        )
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        errors = form_errors_from(error)
        errors.fields = {
            name.removeprefix("settings.").removeprefix("options."): field for name, field in errors.fields.items()
        }
        return _form(context, destination, {**settings, **options}, errors, status=422)
    return context.redirect(
        page_path("destinations", slug, "settings", saved="1"),
        notices=["The settings were saved and apply immediately."],
    )


@post("/destinations/{slug:str}/check", status_code=200)
async def check(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Check the settings in the form at the partner."""
    destination = find_destination(await asyncio.to_thread(context.dependencies.workspace), slug)
    partner = CATALOG[destination.type]
    settings, options = read_form(context, partner.definition)
    proposed = restore_masked_secrets(
        replace(
            destination,
            settings=merge_settings(destination.settings, settings),
            options=merge_settings(destination.options, options),
        ),
        destination,
    )
    try:
        typed = partner.read_settings(proposed.settings, proposed.options)
    except ConfigurationError as error:
        return context.fragment("findings.html", findings=(), errors=error.message.splitlines())
    network = (await asyncio.to_thread(context.dependencies.current)).network
    connection = await check_connection(partner, typed, subject=slug, network=network)
    return context.fragment("findings.html", findings=connection, errors=())


@post("/destinations/{slug:str}/remove", status_code=200)
@run_in_executor
def remove(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Delete a destination with an empty queue. Its ledger is kept."""
    name = context.destination_name(slug)
    context.edit(remove_destination(slug, queued=partial(count_queued, context.dependencies.store, slug)))
    return context.redirect("/destinations", notices=[f"{name} was deleted. Its ledger is kept."])


def _definition(destination: Destination) -> Definition:
    partner = CATALOG.get(destination.type)
    if partner is None:
        raise ConfigurationError(f"This version has no destination of type {destination.type}.")
    return partner.definition


def _setting_fields(definition: Definition) -> list[SettingField]:
    return [field for field in definition.settings if not field.is_event_map]


def _option_fields(definition: Definition) -> list[SettingField]:
    return [field for field in definition.options if field.type is not FieldType.TEXT_MAP]


def _values(destination: Destination) -> Mapping[str, object]:
    definition = _definition(destination)
    masked = mask_secrets(destination)
    return {
        **with_defaults(masked.settings, definition.settings),
        **with_defaults(masked.options, definition.options),
    }


def read_form(context: RequestContext, definition: Definition) -> tuple[dict[str, object], dict[str, object]]:
    """Return the settings and options in the form."""
    settings = {field.key: read_setting(context, field) for field in _setting_fields(definition)}
    options = {field.key: read_setting(context, field) for field in _option_fields(definition)}
    return settings, options


def _without_defaults(options: Mapping[str, object], definition: Definition) -> dict[str, object]:
    """Drop options equal to their default, so that a default changed by a later version applies."""
    defaults = {field.key: field.default for field in definition.options}
    return {
        key: value
        for key, value in options.items()
        if (tuple(value) if isinstance(value, list) else value) != defaults.get(key)
    }


def _form(
    context: RequestContext, destination: Destination, values: Mapping[str, object], errors: FormErrors, *, status: int
) -> Page:
    definition = _definition(destination)
    posted = bool(errors)
    return context.page(
        "destination_settings.html",
        status=status,
        destination=destination,
        definition=definition,
        settings=_setting_fields(definition),
        options=_option_fields(definition),
        values=format_values(values),
        errors=attach_to_fields(errors, [field.key for field in _setting_fields(definition)]),
        name=context.field("name") if posted else destination.name,
        enabled=context.field("enabled") == "on" if posted else destination.enabled,
        chosen=context.fields("sources") if posted else destination.sources,
        consent=context.field("consent") if posted else " ".join(destination.consent),
        sources=[
            source
            for source in context.dependencies.workspace().sources
            if not source.is_managed or source.slug in destination.sources
        ],
    )


HANDLERS = (show_settings, save, check, remove)

"""A destination's settings, by the fields of its definition."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import Wrong, within_fields, wrong_of
from punchcard.app.setting_forms import read_setting, shown_values
from punchcard.app.visit import Page, Visit, Visiting
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition, FieldType, SettingField
from punchcard.destinations.settings import with_defaults
from punchcard.errors import ConfigurationError
from punchcard.operations.asking import check_connection
from punchcard.operations.threads import in_thread
from punchcard.store import ledger
from punchcard.store.held import count_held_for
from punchcard.store.schema import EffectState
from punchcard.workspace.apply import with_stored_secrets
from punchcard.workspace.document import masked
from punchcard.workspace.editing import changing_destination, destination_of, merged, removing_destination
from punchcard.workspace.model import Destination

_QUEUED = tuple(state for state in EffectState if state.is_open or state is EffectState.PARKED)


@get("/destinations/{slug:str}/settings")
@in_thread
def show_settings(visit: Visiting, slug: FromPath[str]) -> Page:
    """The form."""
    destination = destination_of(visit.parts.workspace(), slug)
    return _form(visit, destination, _values(destination), Wrong(), status=200)


@post("/destinations/{slug:str}/settings", status_code=200)
@in_thread
def save(visit: Visiting, slug: FromPath[str]) -> Page:
    """Save it; what is queued is sent by the new settings."""
    standing = destination_of(visit.parts.workspace(), slug)
    definition = _definition(standing)
    settings, options = _read(visit, definition)
    try:
        visit.edit(
            changing_destination(
                slug,
                lambda one: replace(
                    one,
                    name=visit.field("name"),
                    enabled=visit.field("enabled") == "on",
                    sources=tuple(visit.fields("sources")),
                    consent=tuple(word for word in visit.field("consent").split() if word),
                    settings=merged(one.settings, settings),
                    options=_without_defaults({**one.options, **options}, definition),
                ),
            )
        )
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        wrong = wrong_of(error)
        wrong.fields = {
            name.removeprefix("settings.").removeprefix("options."): said for name, said in wrong.fields.items()
        }
        return _form(visit, standing, {**settings, **options}, wrong, status=422)
    return visit.redirect(f"/destinations/{slug}/settings", notices=["Saved. It is in force from now on."])


@post("/destinations/{slug:str}/check", status_code=200)
async def check(visit: Visiting, slug: FromPath[str]) -> Page:
    """Ask the partner about the settings as they stand in the form."""
    standing = destination_of(await asyncio.to_thread(visit.parts.workspace), slug)
    partner = CATALOG[standing.type]
    settings, options = _read(visit, partner.definition)
    wanted = with_stored_secrets(
        replace(standing, settings=merged(standing.settings, settings), options=merged(standing.options, options)),
        standing,
    )
    try:
        typed = partner.read_settings(wanted.settings, wanted.options)
    except ConfigurationError as error:
        return visit.part("findings.html", found=(), wrong=error.message.splitlines())
    network = (await asyncio.to_thread(visit.parts.current)).network
    found = await check_connection(partner, typed, subject=slug, network=network)
    return visit.part("findings.html", found=found, wrong=())


@post("/destinations/{slug:str}/remove", status_code=200)
@in_thread
def remove(visit: Visiting, slug: FromPath[str]) -> Page:
    """Only a destination with nothing in its queue; its ledger stays."""

    def queued() -> int:
        with visit.parts.store.reading() as work:
            waiting = ledger.count(work, ledger.LedgerQuestion(destination=slug, states=_QUEUED))
            return waiting + count_held_for(work, slug)

    visit.edit(removing_destination(slug, queued=queued))
    return visit.redirect("/destinations", notices=[f"{slug} was removed. Its ledger stays on record."])


def _definition(destination: Destination) -> Definition:
    partner = CATALOG.get(destination.type)
    if partner is None:
        raise ConfigurationError(f"this version has no destination of type {destination.type}")
    return partner.definition


def _setting_fields(definition: Definition) -> list[SettingField]:
    return [field for field in definition.settings if not field.is_event_map]


def _option_fields(definition: Definition) -> list[SettingField]:
    return [field for field in definition.options if field.type is not FieldType.TEXT_MAP]


def _values(destination: Destination) -> Mapping[str, object]:
    definition = _definition(destination)
    shown = masked(destination)
    return {
        **with_defaults(shown.settings, definition.settings),
        **with_defaults(shown.options, definition.options),
    }


def _read(visit: Visit, definition: Definition) -> tuple[dict[str, object], dict[str, object]]:
    settings = {field.key: read_setting(visit, field) for field in _setting_fields(definition)}
    options = {field.key: read_setting(visit, field) for field in _option_fields(definition)}
    return settings, options


def _without_defaults(options: Mapping[str, object], definition: Definition) -> dict[str, object]:
    """The options that say something: a default of a later version is taken by who never chose."""
    defaults = {field.key: field.default for field in definition.options}
    return {
        key: value
        for key, value in options.items()
        if (tuple(value) if isinstance(value, list) else value) != defaults.get(key)
    }


def _form(visit: Visit, destination: Destination, values: Mapping[str, object], wrong: Wrong, *, status: int) -> Page:
    definition = _definition(destination)
    posted = bool(wrong)
    return visit.page(
        "destination_settings.html",
        status=status,
        destination=destination,
        definition=definition,
        settings=_setting_fields(definition),
        options=_option_fields(definition),
        values=shown_values(values),
        wrong=within_fields(wrong, [field.key for field in _setting_fields(definition)]),
        name=visit.field("name") if posted else destination.name,
        enabled=visit.field("enabled") == "on" if posted else destination.enabled,
        chosen=visit.fields("sources") if posted else destination.sources,
        consent=visit.field("consent") if posted else " ".join(destination.consent),
        sources=[one for one in visit.parts.workspace().sources if not one.is_kept or one.slug in destination.sources],
    )


HANDLERS = (show_settings, save, check, remove)

"""The catalog of destinations, and the form that adds a destination."""

import asyncio
from collections.abc import Mapping

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, attach_to_fields, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.app.setting_forms import format_values, read_setting
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition, FieldType
from punchcard.destinations.port import Partner
from punchcard.errors import ConfigurationError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.partner_queries import check_connection
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError, add_destination, add_source, generate_write_key, unique_slug
from punchcard.workspace.model import Destination, Source, Workspace


@get("/catalog")
@run_in_executor
def show_catalog(context: ContextDependency) -> Page:
    """List the destinations that events can be sent to."""
    search = context.query("q")
    definitions = [partner.definition for partner in CATALOG.values() if _matches(partner.definition, search)]
    names = [partner.definition.name for partner in CATALOG.values()]
    return context.page("catalog.html", search=search, definitions=definitions, names=names, broken=CATALOG.problems)


@get("/catalog/{slug:str}")
@run_in_executor
def show_entry(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show one entry of the catalog."""
    definition = _partner(slug).definition
    matching_destinations = [
        destination for destination in context.dependencies.workspace().destinations if destination.type == slug
    ]
    return context.page("catalog_entry.html", definition=definition, destinations=matching_destinations)


@get("/catalog/{slug:str}/add", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_add(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the form for a new destination."""
    definition = _partner(slug).definition
    values = {field.key: field.default for field in (*definition.settings, *definition.options)}
    return _form(context, definition, values, FormErrors(), source=context.query("source"), status=200)


@post("/catalog/{slug:str}/add", status_code=200)
@run_in_executor
def add(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Add a destination and continue with its event map."""
    partner = _partner(slug)
    definition = partner.definition
    settings, options = _read(context, definition)
    source, errors = context.field("source"), FormErrors()
    new_slug: list[str] = []

    def change(workspace: Workspace) -> Workspace:
        chosen = source
        if chosen == "+":
            chosen = unique_slug("website", {source.slug for source in workspace.sources})
            new_source = Source(slug=chosen, name="Website", write_keys=(generate_write_key(),), type="javascript")
            workspace = add_source(new_source)(workspace)
        new_slug[:] = [unique_slug(definition.slug, {destination.slug for destination in workspace.destinations})]
        destination = Destination(
            slug=new_slug[0], type=definition.slug, sources=(chosen,), settings=settings, options=options
        )
        return add_destination(destination)(workspace)

    if not source:
        errors.fields["source"] = "Choose a source."
    try:
        partner.read_settings(settings, options)
        if not errors:
            context.edit(change)
    except ConfigurationError as error:
        form_errors = form_errors_from(error) if error.context.get("problems") else _by_line(error)
        errors.fields |= {
            name.removeprefix("settings.").removeprefix("options."): field for name, field in form_errors.fields.items()
        }
        errors.general += form_errors.general
    if errors:
        return _form(context, definition, {**settings, **options}, errors, source=source, status=422)
    if definition.event_map is None:
        return context.redirect(page_path("destinations", new_slug[0]), notices=[f"{definition.name} was added."])
    return context.redirect(
        page_path("destinations", new_slug[0], "map"),
        notices=[f"{definition.name} was added. Now choose which events earn points."],
    )


@post("/catalog/{slug:str}/check", status_code=200)
async def check(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Check settings at the partner before they are saved."""
    partner = _partner(slug)
    settings, options = _read(context, partner.definition)
    try:
        typed = partner.read_settings(settings, options)
    except ConfigurationError as error:
        return context.fragment("findings.html", findings=(), errors=error.message.splitlines())
    network = (await asyncio.to_thread(context.dependencies.current)).network
    connection = await check_connection(partner, typed, subject=partner.definition.name, network=network)
    event_map = partner.definition.event_map
    if event_map is not None:
        # The event map is edited after the destination was added.
        connection = [finding for finding in connection if finding.subject != event_map.key]
    return context.fragment("findings.html", findings=connection, errors=())


def _partner(slug: str) -> Partner:
    partner = CATALOG.get(slug)
    if partner is None:
        raise NotFoundError(f"There is no destination {slug} in the catalog.")
    return partner


def _matches(definition: Definition, search: str) -> bool:
    words = " ".join((definition.name, definition.description, *definition.categories)).lower()
    return all(word in words for word in search.lower().split())


def _read(context: RequestContext, definition: Definition) -> tuple[dict[str, object], dict[str, object]]:
    settings = {
        field.key: field.default if field.is_event_map else read_setting(context, field)
        for field in definition.settings
    }
    options: dict[str, object] = {}
    for field in definition.options:
        if field.key in context.form and field.type is not FieldType.TEXT_MAP:
            value = read_setting(context, field)
            if value != field.default:
                options[field.key] = value
    return settings, options


def _by_line(error: ConfigurationError) -> FormErrors:
    """Return the problems of a partner's settings: one per line, each beginning with its key path."""
    errors = FormErrors()
    for line in error.message.splitlines():
        path, colon, message = line.partition(": ")
        if colon and path.startswith(("settings.", "options.")):
            errors.fields[path] = message
        else:
            errors.general.append(line)
    return errors


def _form(
    context: RequestContext,
    definition: Definition,
    values: Mapping[str, object],
    errors: FormErrors,
    *,
    source: str,
    status: int,
) -> Page:
    sources = [source for source in context.dependencies.workspace().sources if not source.is_managed]
    return context.page(
        "catalog_add.html",
        status=status,
        definition=definition,
        fields=[field for field in definition.settings if not field.is_event_map],
        options=[field for field in definition.options if field.is_filled],
        values=format_values(values),
        errors=attach_to_fields(errors, [field.key for field in (*definition.settings, *definition.options)]),
        sources=sources,
        source=source or (sources[0].slug if len(sources) == 1 else "" if sources else "+"),
    )


HANDLERS = (show_catalog, show_entry, show_add, add, check)

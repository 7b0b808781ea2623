"""The catalog of sources and destinations, in Segment's format.

Source: Segment's Public API, "Catalog".
"""

from typing import Any

import msgspec
from litestar import get
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from punchcard.api import bodies
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition, SettingField
from punchcard.events.model import EventType
from punchcard.workspace.source_types import SOURCE_TYPES, SourceType


class Logos(msgspec.Struct):
    """Logos of an entry; Punchcard has none."""

    default: str = ""


class IntegrationOption(msgspec.Struct, rename="camel", omit_defaults=True):
    """One setting of an entry."""

    name: str
    type: str
    required: bool
    description: str
    label: str
    default_value: Any = msgspec.UNSET


class SourceMetadata(msgspec.Struct, rename="camel"):
    """A source in the catalog."""

    id: str
    name: str
    slug: str
    description: str
    logos: Logos
    options: list[IntegrationOption]
    categories: list[str]
    is_cloud_event_source: bool = False
    status: str = "PUBLIC"
    partner_owned: bool = False


class Component(msgspec.Struct):
    """A component of an integration."""

    type: str
    code: str
    owner: str


class DestinationMetadata(msgspec.Struct, rename="camel"):
    """A destination in the catalog."""

    id: str
    name: str
    description: str
    slug: str
    logos: Logos
    options: list[IntegrationOption]
    status: str
    previous_names: list[str]
    categories: list[str]
    website: str
    components: list[Component]
    supported_features: dict[str, Any]
    supported_methods: dict[str, bool]
    supported_platforms: dict[str, bool]
    actions: list[Any]
    presets: list[Any]
    contacts: list[Any]
    partner_owned: bool
    supported_regions: list[str]
    region_endpoints: list[str]


class SourceCatalogPage(msgspec.Struct, rename="camel"):
    """A page of the catalog of sources."""

    sources_catalog: list[SourceMetadata]
    pagination: bodies.Pagination


class DestinationCatalogPage(msgspec.Struct, rename="camel"):
    """A page of the catalog of destinations."""

    destinations_catalog: list[DestinationMetadata]
    pagination: bodies.Pagination


def source_metadata(type_: str) -> SourceMetadata:
    """Return the catalog entry of a source type."""
    entry = SOURCE_TYPES.get(type_) or SourceType(slug=type_, name=type_, description="", category="")
    return SourceMetadata(
        id=entry.slug,
        name=entry.name,
        slug=entry.slug,
        description=entry.description,
        logos=Logos(),
        options=[],
        categories=[entry.category],
    )


def destination_metadata(definition: Definition) -> DestinationMetadata:
    """Return the catalog entry of a destination definition."""
    supported = definition.supported
    return DestinationMetadata(
        id=definition.id,
        name=definition.name,
        description=definition.description,
        slug=definition.slug,
        logos=Logos(),
        options=[_option(field) for field in definition.settings],
        status="PUBLIC",
        previous_names=[],
        categories=list(definition.categories),
        website=definition.website,
        components=[Component(type="SERVER", code="", owner="PARTNER")],
        supported_features={
            "cloudModeInstances": "MULTIPLE",
            "deviceModeInstances": "NONE",
            "replay": False,
            "browserUnbundling": False,
            "browserUnbundlingPublic": False,
        },
        supported_methods={
            "pageview": EventType.PAGE in supported,
            "identify": EventType.IDENTIFY in supported,
            "alias": EventType.ALIAS in supported,
            "track": EventType.TRACK in supported,
            "group": EventType.GROUP in supported,
        },
        supported_platforms={"browser": True, "server": True, "mobile": True},
        actions=[],
        presets=[],
        contacts=[],
        partner_owned=True,
        supported_regions=[],
        region_endpoints=[],
    )


def find_definition(id_or_slug: str) -> Definition | None:
    """Return the definition with an id or slug, None if there is none."""
    for partner in CATALOG.values():
        if id_or_slug in (partner.definition.id, partner.definition.slug):
            return partner.definition
    return None


@get("/catalog/destinations", sync_to_thread=False, summary="List the catalog of destinations")
def list_destination_catalog(count: Count = COUNT_DEFAULT, cursor: Cursor = None) -> dict[str, DestinationCatalogPage]:
    """List the destinations that Punchcard can deliver to."""
    entries = sorted((partner.definition for partner in CATALOG.values()), key=lambda entry: entry.slug)
    page_entries, pagination = page(entries, key=lambda entry: entry.slug, count=count, cursor=cursor)
    return {
        "data": DestinationCatalogPage(
            destinations_catalog=[destination_metadata(entry) for entry in page_entries], pagination=pagination
        )
    }


@get("/catalog/destinations/{metadata_id:str}", sync_to_thread=False, summary="Get a destination of the catalog")
def get_destination_catalog(metadata_id: FromPath[str]) -> dict[str, dict[str, DestinationMetadata]]:
    """Get an entry by its id or slug, with its settings."""
    definition = find_definition(metadata_id)
    if definition is None:
        raise HTTPException(f"There is no destination {metadata_id} in the catalog.", status_code=404)
    return {"data": {"destinationMetadata": destination_metadata(definition)}}


@get("/catalog/sources", sync_to_thread=False, summary="List the catalog of sources")
def list_source_catalog(count: Count = COUNT_DEFAULT, cursor: Cursor = None) -> dict[str, SourceCatalogPage]:
    """List the types of sources."""
    slugs, pagination = page(sorted(SOURCE_TYPES), key=str, count=count, cursor=cursor)
    return {"data": SourceCatalogPage(sources_catalog=[source_metadata(slug) for slug in slugs], pagination=pagination)}


@get("/catalog/sources/{metadata_id:str}", sync_to_thread=False, summary="Get a source of the catalog")
def get_source_catalog(metadata_id: FromPath[str]) -> dict[str, dict[str, SourceMetadata]]:
    """Get an entry by its id."""
    if metadata_id not in SOURCE_TYPES:
        raise HTTPException(f"There is no source {metadata_id} in the catalog.", status_code=404)
    return {"data": {"sourceMetadata": source_metadata(metadata_id)}}


def _option(field: SettingField) -> IntegrationOption:
    return IntegrationOption(
        name=field.key,
        type="password" if field.secret else field.type.value,
        required=field.required,
        description=field.description,
        label=field.label,
        default_value=msgspec.UNSET if field.default is None else field.default,
    )

"""Sources and their write keys.

Source: Segment's Public API, "Sources".
"""

from dataclasses import replace
from typing import Any

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.catalog import SourceMetadata, source_metadata
from punchcard.api.destination_views import ConnectedPage, destination_view
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.labels import LabelView, label_view
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.api.workspaces import WORKSPACE_ID
from punchcard.clock import to_iso
from punchcard.operations.executor import run_in_executor
from punchcard.store.ingest.rejected_requests import read_rejected_requests
from punchcard.workspace.editing import (
    add_source,
    change_source,
    find_source,
    generate_write_key,
    remove_source,
    remove_write_key,
)
from punchcard.workspace.model import Source
from punchcard.workspace.source_types import SOURCE_TYPES


class SourceView(msgspec.Struct, rename="camel"):
    """A source."""

    id: str
    slug: str
    name: str
    metadata: SourceMetadata
    workspace_id: str
    enabled: bool
    write_keys: list[str]
    settings: dict[str, Any]
    labels: list[LabelView]


class NewSource(msgspec.Struct, rename="camel"):
    """A source to create. `metadataId` is an id of the catalog of sources."""

    slug: str
    enabled: bool
    metadata_id: str
    settings: dict[str, Any] = {}


class SourceUpdate(msgspec.Struct, rename="camel"):
    """Members to change; absent members stay. The slug never changes: it is part of effect keys."""

    name: str | None = None
    enabled: bool | None = None
    slug: str | None = None
    settings: dict[str, Any] | None = None


class SourcePage(msgspec.Struct):
    """A page of sources."""

    sources: list[SourceView]
    pagination: bodies.Pagination


@get("/sources", summary="List sources")
@run_in_executor
def list_sources(
    dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, SourcePage]:
    """List sources by slug."""
    sources, pagination = page(
        dependencies.workspace().sources, key=lambda source: source.slug, count=count, cursor=cursor
    )
    return {"data": SourcePage(sources=[source_view(source) for source in sources], pagination=pagination)}


@post("/sources", status_code=200, summary="Create a source")
@run_in_executor
def create_source(data: JSONBody[NewSource], dependencies: Dependencies) -> dict[str, dict[str, SourceView]]:
    """Create a source with a new write key."""
    if data.metadata_id not in SOURCE_TYPES:
        known = ", ".join(sorted(SOURCE_TYPES))
        raise bad_request(f"There is no source {data.metadata_id} in the catalog. Use one of {known}.", "metadataId")
    source = Source(
        slug=data.slug, name=data.slug, write_keys=(generate_write_key(),), type=data.metadata_id, enabled=data.enabled
    )
    dependencies.edit(add_source(source))
    return _response(dependencies, data.slug)


@get("/sources/{source_id:str}", summary="Get a source")
@run_in_executor
def get_source(source_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, SourceView]]:
    """Get the source with this slug."""
    return _response(dependencies, source_id)


@patch("/sources/{source_id:str}", summary="Update a source")
@run_in_executor
def update_source(
    source_id: FromPath[str], data: JSONBody[SourceUpdate], dependencies: Dependencies
) -> dict[str, dict[str, SourceView]]:
    """Update name and status."""
    if data.slug not in (None, source_id):
        message = "The slug cannot be changed: the same orders would be awarded again under the new one."
        raise unprocessable(message, "slug")

    def changed(source: Source) -> Source:
        return replace(
            source,
            name=source.name if data.name is None else data.name,
            enabled=source.enabled if data.enabled is None else data.enabled,
        )

    dependencies.edit(change_source(source_id, changed))
    return _response(dependencies, source_id)


@delete("/sources/{source_id:str}", status_code=200, summary="Delete a source")
@run_in_executor
def delete_source(source_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Delete a source without connected destinations: deleting must not stop awards as a side effect."""
    dependencies.edit(remove_source(source_id))
    return {"data": {"status": "SUCCESS"}}


@get("/sources/{source_id:str}/connected-destinations", summary="List connected destinations")
@run_in_executor
def list_connected_destinations(
    source_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, ConnectedPage]:
    """List the destinations that the source is connected to."""
    workspace = dependencies.workspace()
    find_source(workspace, source_id)
    connected = [destination for destination in workspace.destinations if source_id in destination.sources]
    destinations, pagination = page(connected, key=lambda destination: destination.slug, count=count, cursor=cursor)
    return {
        "data": ConnectedPage(
            destinations=[destination_view(destination) for destination in destinations], pagination=pagination
        )
    }


class RejectedRequestView(msgspec.Struct, rename="camel"):
    """A request to the Tracking API that was rejected with 4xx; none of its events was accepted.

    `bodyStart` is the start of its body, with masked keys, emails and tokens.
    """

    received_at: str
    path: str
    status: int
    reason: str
    message: str
    network: str
    user_agent: str
    library: str
    body_bytes: int
    body_start: str


class RejectedRequestList(msgspec.Struct, rename="camel"):
    """The newest rejected requests, newest first."""

    rejected_requests: list[RejectedRequestView]


@get("/sources/{source_id:str}/rejected-requests", summary="List rejected requests of a source")
@run_in_executor
def list_rejected_requests(source_id: FromPath[str], dependencies: Dependencies) -> dict[str, RejectedRequestList]:
    """List the newest rejected requests with a write key of the source, at most 50."""
    find_source(dependencies.workspace(), source_id)
    return {"data": _rejected_requests(dependencies, source_id)}


@get("/rejected-requests", summary="List rejected requests without a source")
@run_in_executor
def list_rejected_requests_without_source(dependencies: Dependencies) -> dict[str, RejectedRequestList]:
    """List the newest rejected requests without a known write key: at most 10 per network and 50 in total."""
    return {"data": _rejected_requests(dependencies, "")}


def _rejected_requests(dependencies: Dependencies, source: str) -> RejectedRequestList:
    with dependencies.store.reading() as work:
        requests = read_rejected_requests(work, source)
    return RejectedRequestList(
        rejected_requests=[
            RejectedRequestView(
                received_at=to_iso(request.received_at),
                path=request.path,
                status=request.status,
                reason=request.reason,
                message=request.message,
                network=request.network,
                user_agent=request.user_agent,
                library=request.library,
                body_bytes=request.body_bytes,
                body_start=request.body_start,
            )
            for request in requests
        ]
    )


@post("/sources/{source_id:str}/writekey", status_code=200, summary="Add a write key")
@run_in_executor
def create_write_key(source_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, SourceView]]:
    """Add a write key, for example to replace one: both work until the old one is removed."""
    key = generate_write_key()
    dependencies.edit(change_source(source_id, lambda source: replace(source, write_keys=(*source.write_keys, key))))
    return _response(dependencies, source_id)


@delete(
    "/sources/{source_id:str}/writekey/{write_key:str}",
    status_code=200,
    summary="Revoke a write key",
)
@run_in_executor
def delete_write_key(
    source_id: FromPath[str], write_key: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Revoke a write key; later events with it end as `unknown_source`. The last key cannot be revoked."""
    dependencies.edit(change_source(source_id, remove_write_key(write_key)))
    return {"data": {"status": "SUCCESS"}}


def source_view(source: Source) -> SourceView:
    """Return the body of a source."""
    return SourceView(
        id=source.slug,
        slug=source.slug,
        name=source.name,
        metadata=source_metadata(source.type),
        workspace_id=WORKSPACE_ID,
        enabled=source.enabled,
        write_keys=list(source.write_keys),
        settings={},
        labels=[label_view(label) for label in source.labels],
    )


def _response(dependencies: Dependencies, slug: str) -> dict[str, dict[str, SourceView]]:
    return {"data": {"source": source_view(find_source(dependencies.workspace(), slug))}}

"""Versions of the configuration: list, compare, restore. Punchcard's own."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.exceptions import PermissionDeniedException
from litestar.params import FromPath, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor
from punchcard.clock import to_iso
from punchcard.operations.configuration_versions import DescribedVersion
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.token_store import Role
from punchcard.workspace.change_texts import PartChange
from punchcard.workspace.persistence import PartKey
from punchcard.workspace.restoring import Restore
from punchcard.workspace.versions import channel_of

_Text = str | None


class PartChangeView(msgspec.Struct, rename="camel"):
    """The change of one part: `add`, `change` or `remove`, and what has changed in words, with masked secrets."""

    type: str
    resource_type: str
    resource_id: str
    resource_name: str
    sentences: list[str]


class VersionView(msgspec.Struct, rename="camel"):
    """One version: who has made the change, when and how (`App`, `API`, `config file`, `command line` …), and what.

    `actor` is empty for what was there before versions were kept. `problem` says why the changes cannot be read.
    """

    number: int
    timestamp: str
    actor: str
    channel: str
    restored_from: int | None
    changes: list[PartChangeView]
    problem: str | None


class VersionPage(msgspec.Struct):
    """A page of versions, newest first."""

    versions: list[VersionView]
    pagination: bodies.Pagination


class RestoreRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to restore: without `resourceType` and `resourceId` the whole configuration.

    API keys, write keys and URLs of alert channels stay as they are unless `withSecrets` is true. With
    `skipManagedByFile`, what the config file manages stays as it is. With `dryRun` nothing is changed.
    """

    resource_type: str | None = None
    resource_id: str | None = None
    with_secrets: bool = False
    skip_managed_by_file: bool = False
    dry_run: bool = False


class PartView(msgspec.Struct, rename="camel"):
    """A part of the configuration."""

    resource_type: str
    resource_id: str


class RestoreView(msgspec.Struct, rename="camel"):
    """What a restore has changed, or would change.

    `version` is the number of the new version; null if nothing differed, or with `dryRun`. `managedByFile` are parts
    that differ and that the config file manages: they prevent the restore, or were skipped.
    """

    version: int | None
    changes: list[PartChangeView]
    managed_by_file: list[PartView]


@get("/configuration-versions", summary="List versions of the configuration")
@run_in_executor
def list_configuration_versions(
    dependencies: Dependencies,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
    resource_type: Annotated[_Text, QueryParameter(name="resourceType")] = None,
    resource_id: Annotated[_Text, QueryParameter(name="resourceId")] = None,
) -> dict[str, VersionPage]:
    """List versions, newest first; with `resourceType` and `resourceId` those that have changed this part."""
    if cursor is not None and not is_row_id(cursor):
        raise bad_request("The cursor is invalid. Use the cursor of a page of this list.", "pagination[cursor]")
    part = _part(resource_type, resource_id)
    versions = dependencies.configuration.versions
    listed = versions.page(count=count + 1, before=int(cursor) if cursor else None, part=part)
    shown = listed[:count]
    following = str(shown[-1].version.number) if len(listed) > count else None
    pagination = bodies.Pagination(current=cursor or "", total_entries=versions.count(part=part), next=following)
    return {"data": VersionPage(versions=[version_view(version) for version in shown], pagination=pagination)}


@get("/configuration-versions/{number:str}", summary="Get a version of the configuration")
@run_in_executor
def get_configuration_version(number: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, VersionView]]:
    """Get one version and what it has changed."""
    versions = dependencies.configuration.versions
    return {"data": {"version": version_view(versions.get(versions.number_of(number)))}}


@get("/configuration-versions/{number:str}/diff", summary="Compare versions of the configuration")
@run_in_executor
def compare_configuration_versions(
    number: FromPath[str],
    dependencies: Dependencies,
    to: Annotated[_Text, QueryParameter(name="to")] = None,
    resource_type: Annotated[_Text, QueryParameter(name="resourceType")] = None,
    resource_id: Annotated[_Text, QueryParameter(name="resourceId")] = None,
) -> dict[str, dict[str, list[PartChangeView]]]:
    """Compare a version with another one, or without `to` with the current configuration."""
    versions = dependencies.configuration.versions
    other = None if to is None else versions.number_of(to)
    changes = versions.diff(versions.number_of(number), other, part=_part(resource_type, resource_id))
    return {"data": {"changes": _change_views(changes)}}


@post("/configuration-versions/{number:str}/restore", status_code=200, summary="Restore a version of the configuration")
@run_in_executor
def restore_configuration_version(
    number: FromPath[str], data: JSONBody[RestoreRequest], dependencies: Dependencies
) -> dict[str, dict[str, RestoreView]]:
    """Restore a version, whole or one part of it. This makes a new version."""
    versions = dependencies.configuration.versions
    part = _part(data.resource_type, data.resource_id)
    restore = Restore(number=versions.number_of(number), part=part, with_secrets=data.with_secrets)
    planned = versions.plan(restore, skip_managed=data.skip_managed_by_file)
    if planned.needs_owner and not dependencies.token.role.may(Role.OWNER):
        raise PermissionDeniedException("Restoring alert channels needs a token with the role owner.")
    new = None if data.dry_run else versions.restore(planned, actor=dependencies.actor)
    managed = [PartView(resource_type=kind, resource_id=slug) for kind, slug in (*planned.managed, *planned.left)]
    view = RestoreView(version=new, changes=_change_views(planned.changes), managed_by_file=managed)
    return {"data": {"restore": view}}


def _part(resource_type: str | None, resource_id: str | None) -> PartKey | None:
    if resource_type == "workspace":
        return resource_type, ""
    if (resource_type is None) != (resource_id is None):
        raise bad_request(
            "Send resourceType and resourceId together.", "resourceId" if resource_type else "resourceType"
        )
    return None if resource_type is None or resource_id is None else (resource_type, resource_id)


def version_view(described: DescribedVersion) -> VersionView:
    """Return the body of a version."""
    version = described.version
    return VersionView(
        number=version.number,
        timestamp=to_iso(version.at),
        actor=version.actor,
        channel=channel_of(version.actor),
        restored_from=version.restored_from,
        changes=_change_views(described.changes),
        problem=described.problem,
    )


def _change_views(changes: Sequence[PartChange]) -> list[PartChangeView]:
    return [
        PartChangeView(
            type=change.kind,
            resource_type=change.part,
            resource_id=change.slug,
            resource_name=change.name,
            sentences=list(change.sentences),
        )
        for change in changes
    ]


HANDLERS = (
    list_configuration_versions,
    get_configuration_version,
    compare_configuration_versions,
    restore_configuration_version,
)

"""Versions of the configuration: list, compare with now, restore, undo."""

from collections.abc import Sequence
from itertools import pairwise

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext, local_path
from punchcard.errors import ConfigurationError
from punchcard.operations.configuration_versions import RestorePlan
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.part_names import describe_part
from punchcard.workspace.persistence import PartKey, parts_by_key
from punchcard.workspace.plan import ChangeKind
from punchcard.workspace.restoring import Restore
from punchcard.workspace.versions import channel_of

_ROWS = 50


@get("/settings/versions")
@run_in_executor
def show_versions(context: ContextDependency) -> Page:
    """List versions, newest first; of one part with the query parameter `part`."""
    before, part = context.query("before"), _read_part(context.query("part"))
    rows = context.dependencies.configuration.versions.page(
        count=_ROWS + 1, before=int(before) if is_row_id(before) else None, part=part
    )
    shown = rows[:_ROWS]
    numbers = [described.version.number for described in shown]
    destinations = context.dependencies.current().destinations
    return context.page(
        "versions.html",
        rows=shown,
        channel_of=channel_of,
        part=context.query("part") if part else "",
        part_name="" if part is None else _name(context, part),
        has_gaps=part is None and any(newer - older > 1 for newer, older in pairwise(numbers)),
        following=str(shown[-1].version.number) if len(rows) > _ROWS else "",
        offers=[slug for slug in context.query("offer").split(",") if slug in destinations],
    )


@get("/settings/versions/{number:str}")
@run_in_executor
def show_version(context: ContextDependency, number: FromPath[str]) -> Page:
    """Show what a version has changed, and what restoring it would change."""
    versions = context.dependencies.configuration.versions
    version = versions.number_of(number)
    described = versions.get(version)
    planned, problem = None, ""
    try:
        planned = versions.plan(Restore(number=version))
    except ConfigurationError as error:
        problem = error.message
    differences: Sequence[object] = ()
    if described.problem is None:
        differences = versions.diff(version)
    return context.page(
        "version.html",
        described=described,
        channel_of=channel_of,
        differences=differences,
        planned=planned,
        problem=problem,
        managed=() if planned is None else planned.managed,
        removed=ChangeKind.REMOVE,
        added=ChangeKind.ADD,
    )


@post("/settings/versions/{number:str}/restore", status_code=200)
@run_in_executor
def restore_version(context: ContextDependency, number: FromPath[str]) -> Page:
    """Restore a version, whole or one part of it."""
    versions = context.dependencies.configuration.versions
    part = _read_part(context.field("part"))
    restore = Restore(number=versions.number_of(number), part=part, with_secrets=context.field("with_secrets") == "on")
    planned = versions.plan(restore, skip_managed=context.field("skip_managed") == "on")
    if planned.needs_owner:
        context.require_role(Role.OWNER)
    new = versions.restore(planned, actor=context.actor)
    if new is None:
        return context.redirect(page_path("settings", "versions"), notices=["There was nothing to change."])
    subject = "The configuration" if part is None else _name(context, part)
    notice = f"{subject[:1].upper()}{subject[1:]} is as in version {number} again. This is version {new}."
    return context.redirect(_after(context, planned), notices=[notice])


@post("/settings/versions/{number:str}/undo", status_code=200)
@run_in_executor
def undo(context: ContextDependency, number: FromPath[str]) -> Page:
    """Take back what a version has changed."""
    versions = context.dependencies.configuration.versions
    described = versions.get(versions.number_of(number))
    if any(change.part == "alert_channel" for change in described.changes):
        context.require_role(Role.OWNER)
    versions.undo(versions.number_of(number), actor=context.actor)
    was_added = any(change.kind is ChangeKind.ADD for change in described.changes)
    back = "/" if was_added else local_path(context.field("back") or "/")
    return context.redirect(back, notices=["The change was undone."])


def _after(context: RequestContext, planned: RestorePlan) -> str:
    """Return the path of the page that offers to replay what the restored configuration would earn."""
    destinations = context.dependencies.current().destinations
    slugs = [change.slug for change in planned.changes if change.part == "destination" and change.slug in destinations]
    return page_path("settings", "versions", offer=",".join(slugs))


def _name(context: RequestContext, part: PartKey) -> str:
    return describe_part(part, parts_by_key(context.dependencies.workspace()))


def _read_part(text: str) -> PartKey | None:
    if not text:
        return None
    kind, slash, slug = text.partition("/")
    if not slash:
        raise NotFoundError(f"There is no part {text}.")
    return kind, slug


HANDLERS = (show_versions, show_version, restore_version, undo)

"""The workspace itself.

Source: Segment's Public API, "Workspaces".
"""

import re

import msgspec
from litestar import get

from punchcard.api.parts import Parts
from punchcard.operations.threads import in_thread


class WorkspaceView(msgspec.Struct):
    """The workspace; there is one."""

    id: str
    slug: str
    name: str


@get("/", summary="The workspace")
@in_thread
def get_workspace(parts: Parts) -> dict[str, dict[str, WorkspaceView]]:
    """Whose workspace this is."""
    name = parts.workspace().name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "workspace"
    return {"data": {"workspace": WorkspaceView(id=WORKSPACE_ID, slug=slug, name=name)}}


WORKSPACE_ID = "workspace"

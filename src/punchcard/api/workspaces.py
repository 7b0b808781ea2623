"""The workspace itself.

Source: Segment's Public API, "Workspaces".
"""

import re

import msgspec
from litestar import get

from punchcard.api.api_dependencies import Dependencies
from punchcard.operations.executor import run_in_executor


class WorkspaceView(msgspec.Struct):
    """The workspace."""

    id: str
    slug: str
    name: str


@get("/", summary="Get the workspace")
@run_in_executor
def get_workspace(dependencies: Dependencies) -> dict[str, dict[str, WorkspaceView]]:
    """Get the only workspace."""
    name = dependencies.workspace().name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "workspace"
    return {"data": {"workspace": WorkspaceView(id=WORKSPACE_ID, slug=slug, name=name)}}


WORKSPACE_ID = "workspace"

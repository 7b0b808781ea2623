"""The workspace itself, and its settings.

Source: Segment's Public API, "Workspaces". Its settings have no equal there; their names are those of the config file.
"""

import re

import msgspec
from litestar import get, patch
from litestar.params import JSONBody

from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.operations.executor import run_in_executor
from punchcard.store.access.token_store import Role
from punchcard.workspace.editing import change_workspace
from punchcard.workspace.model import Workspace


class WorkspaceView(msgspec.Struct):
    """The workspace."""

    id: str
    slug: str
    name: str


class SettingsView(msgspec.Struct, rename="camel"):
    """The settings of the workspace.

    Attributes:
        timezone: IANA name of the time zone of days.
        point_cost: What a point costs, as decimal text; "" if points are not shown as money.
        currency: ISO 4217 code of the currency of `pointCost`.
        webhook_allowed_networks: Private networks that webhooks may be sent to, such as `10.0.0.0/8`.
    """

    name: str
    timezone: str
    point_cost: str
    currency: str
    webhook_allowed_networks: list[str]


class SettingsChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Settings to change. The others keep their values."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    timezone: str | msgspec.UnsetType = msgspec.UNSET
    point_cost: str | msgspec.UnsetType = msgspec.UNSET
    currency: str | msgspec.UnsetType = msgspec.UNSET
    webhook_allowed_networks: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


@get("/", summary="Get the workspace")
@run_in_executor
def get_workspace(dependencies: Dependencies) -> dict[str, dict[str, WorkspaceView]]:
    """Get the only workspace."""
    name = dependencies.workspace().name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "workspace"
    return {"data": {"workspace": WorkspaceView(id=WORKSPACE_ID, slug=slug, name=name)}}


@get("/workspace/settings", summary="Get the settings of the workspace")
@run_in_executor
def get_settings(dependencies: Dependencies) -> dict[str, dict[str, SettingsView]]:
    """Get the settings of the workspace."""
    return _settings_data(dependencies.workspace())


@patch("/workspace/settings", summary="Change settings of the workspace", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def change_settings(data: JSONBody[SettingsChange], dependencies: Dependencies) -> dict[str, dict[str, SettingsView]]:
    """Change the settings that the body names."""
    values = {name: value for name in data.__struct_fields__ if (value := getattr(data, name)) is not msgspec.UNSET}
    dependencies.edit(change_workspace(**values))
    return _settings_data(dependencies.workspace())


def _settings_data(workspace: Workspace) -> dict[str, dict[str, SettingsView]]:
    settings = SettingsView(
        name=workspace.name,
        timezone=workspace.timezone,
        point_cost=workspace.point_cost,
        currency=workspace.currency,
        webhook_allowed_networks=list(workspace.webhook_allowed_networks),
    )
    return {"data": {"settings": settings}}


WORKSPACE_ID = "workspace"

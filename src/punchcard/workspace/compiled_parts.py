"""Parts of the configuration that are compiled by themselves, for the snapshot."""

from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy, read_networks
from punchcard.errors import ConfigurationError
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, check_filter
from punchcard.workspace.model import DestinationFilter, Workspace
from punchcard.workspace.persistence import PartKey
from punchcard.workspace.problems import format_error


def read_zone(workspace: Workspace, unreadable: Mapping[PartKey, str]) -> tuple[ZoneInfo, str | None]:
    """Return the workspace's time zone, or UTC and a problem: awards must not be based on the wrong days."""
    problem = unreadable.get(("workspace", ""))
    try:
        return workspace.zone(), problem
    except Exception as error:  # noqa: BLE001  # the stored name may be anything, and the zone files may be missing
        return ZoneInfo("UTC"), problem or f"The workspace's time zone cannot be used: {format_error(error)}."


def read_network(workspace: Workspace) -> NetworkPolicy:
    """Return the addresses that webhooks may be sent to; public ones only if the stored networks are invalid."""
    try:
        return NetworkPolicy(allowed=read_networks(workspace.webhook_allowed_networks))
    except (TypeError, ValueError, AttributeError):
        return PUBLIC_ONLY


def compile_filters(filters: Iterable[DestinationFilter]) -> DestinationFilters:
    """Compile the enabled filters.

    Raises:
        ConfigurationError: A filter cannot be compiled; the message names it.
    """
    definitions = [
        FilterDefinition(
            title=destination_filter.title, condition=destination_filter.condition, actions=destination_filter.actions
        )
        for destination_filter in filters
        if destination_filter.enabled
    ]
    try:
        return DestinationFilters(definitions)
    except Exception:
        for definition in definitions:
            try:
                check_filter(definition)
            except ConfigurationError as error:
                raise ConfigurationError(f'filter "{definition.title}": {error.message}', code=error.code) from error
        raise

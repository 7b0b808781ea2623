"""Parts of the configuration that are compiled by themselves, for the snapshot."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from zoneinfo import ZoneInfo

from punchcard.destinations.catalog import DestinationCatalog
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy, read_networks
from punchcard.errors import ConfigurationError
from punchcard.filters.destination_filters import DestinationFilters, FilterDefinition, check_filter
from punchcard.workspace.controlled_properties import NO_HASH_KEY, ControlledProperties
from punchcard.workspace.document import Catalog
from punchcard.workspace.model import AlertChannel, DestinationFilter, PropertyControls, Workspace
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


def compile_controls(controls: PropertyControls, hash_key: bytes | None) -> ControlledProperties | None:
    """Return compiled controls, None if there are none.

    Raises:
        ConfigurationError: Properties are hashed, and the key cannot be read: unhashed, they must not pass.
    """
    if controls == PropertyControls():
        return None
    if controls.hash and hash_key is None:
        raise ConfigurationError(NO_HASH_KEY, code="no_hash_key")
    return ControlledProperties(controls, hash_key=hash_key or b"")


def readable_channels(workspace: Workspace, unreadable: Mapping[PartKey, str]) -> Mapping[str, AlertChannel]:
    """Return the alert channels that can be read completely, by slug."""
    channels = (channel for channel in workspace.alert_channels if ("alert_channel", channel.slug) not in unreadable)
    return MappingProxyType({channel.slug: channel for channel in channels})


def built_in_names(catalog: Catalog) -> frozenset[str]:
    """Return the names of the loaded destinations. Packages that no destination uses are not loaded for this."""
    partners = catalog.loaded() if isinstance(catalog, DestinationCatalog) else catalog.values()
    return frozenset(partner.definition.name for partner in partners)

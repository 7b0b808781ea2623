"""A configuration with a scripted partner."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings
from punchcard.workspace.model import Destination, Source
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SourceRoute


def scripted_snapshot(
    partner: ScriptedPartner, settings: ScriptedSettings, *, slug: str, write_keys: Mapping[str, str]
) -> Snapshot:
    """Return a configuration with a scripted partner as the destination of several sources.

    Args:
        slug: Of the destination.
        write_keys: By the slug of each source.
    """
    routed = RoutedDestination(
        slug=slug,
        name=partner.definition.name,
        partner=partner,
        settings=settings,
        supported=partner.definition.supported,
        fingerprint=settings.token,
        destination=Destination(slug=slug, type="scripted", sources=tuple(write_keys)),
    )
    routes = {
        key: SourceRoute(source=Source(slug=source, name=source, write_keys=(key,)), destinations=(routed,))
        for source, key in write_keys.items()
    }
    return Snapshot(
        revision=1,
        zone=ZoneInfo("UTC"),
        by_write_key=routes,
        routes=routes,
        destinations={slug: routed},
        known_names=frozenset({routed.name}),
    )

"""Warnings about saved settings that the partner does not accept: a wrong token, an account it does not know."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError, CredentialsError, DeliveryError, RejectedError
from punchcard.operations.partner_queries import open_client
from punchcard.operations.sentences import as_sentence
from punchcard.workspace.compiled_parts import read_network
from punchcard.workspace.model import Destination, Workspace
from punchcard.workspace.part_names import name_destinations

_VERIFY_SECONDS: Final = 3.0  # somebody waits for the response to what they saved


def changed_destinations(before: Workspace, after: Workspace) -> Sequence[str]:
    """Return the slugs of destinations with changed settings or options; an event map names no account."""
    former = {destination.slug: _partner_settings(destination) for destination in before.destinations}
    return [
        destination.slug
        for destination in after.destinations
        if former.get(destination.slug) != _partner_settings(destination)
    ]


def warn_of_refused_settings(workspace: Workspace, slugs: Iterable[str]) -> Sequence[str]:
    """Ask the partners of these destinations whether they accept the settings; return a warning for each that does not.

    A partner that cannot be asked at the moment gives none. Disabled destinations are left out.

    Args:
        workspace: The configuration with secrets in plain text.
    """
    chosen = set(slugs)
    checked = [
        destination for destination in workspace.destinations if destination.slug in chosen and destination.enabled
    ]
    if not checked:
        return []
    names = name_destinations(workspace.destinations)
    return [
        f"{names[destination.slug]} does not accept the saved settings: {as_sentence(refusal)}"
        for destination, refusal in zip(checked, asyncio.run(_ask_all(checked, workspace)), strict=True)
        if refusal
    ]


def _partner_settings(destination: Destination) -> tuple[object, ...]:
    partner = CATALOG.get(destination.type)
    event_map = None if partner is None else partner.definition.event_map
    settings = {key: value for key, value in destination.settings.items() if event_map is None or key != event_map.key}
    return destination.enabled, settings, dict(destination.options)


async def _ask_all(destinations: Iterable[Destination], workspace: Workspace) -> Sequence[str]:
    """Ask all partners at once, so that a file with hundreds of destinations waits no longer than a form with one."""
    return await asyncio.gather(*(_ask(destination, workspace) for destination in destinations))


async def _ask(destination: Destination, workspace: Workspace) -> str:
    """Return why the partner refuses the settings, "" if it does not or cannot be asked."""
    partner = CATALOG.get(destination.type)
    if partner is None:
        return ""
    try:
        settings = partner.read_settings(destination.settings, destination.options)
        async with (
            asyncio.timeout(_VERIFY_SECONDS),
            open_client(partner, settings, network=read_network(workspace)) as client,
        ):
            await client.verify()
    except (CredentialsError, RejectedError) as error:
        return error.message
    except (ConfigurationError, DeliveryError, TimeoutError):
        return ""
    return ""

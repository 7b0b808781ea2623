"""Webhooks behind the port of all destinations: its entry in the catalog.

What makes requests is imported at first use: every process reads the catalog, and few need an HTTP client.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import DeliveryOptions, Effect, Intent, PartnerClient
from punchcard.destinations.webhooks import mapping
from punchcard.destinations.webhooks.definition import WEBHOOKS
from punchcard.destinations.webhooks.settings import WebhooksSettings, read_settings
from punchcard.errors import InvariantError
from punchcard.events.model import Event, EventType


class WebhooksPartner:
    """The code of Webhooks behind the port. Its typed settings are `WebhooksSettings`."""

    definition = WEBHOOKS

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> WebhooksSettings:
        """Return the typed settings of a configured destination.

        Raises:
            ConfigurationError: all that is wrong, one line each, beginning with its key path.
        """
        return read_settings(settings, options)

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """Return the call that the event makes. Pure.

        Raises:
            RefusedError: the event cannot be made into a body.
        """
        return mapping.plan(event, _own(settings), source=source)

    def plan_deletion(self, user_id: str, *, source: str, message_id: str, requested_at: datetime) -> Intent:
        """Return Segment's `delete` message as a call. Pure."""
        return mapping.plan_deletion(user_id, source=source, message_id=message_id, requested_at=requested_at)

    def supported_calls(self, settings: object) -> frozenset[EventType]:
        """Return the calls of the setting `triggers`."""
        return _own(settings).calls

    def delivery_options(self, settings: object) -> DeliveryOptions:
        """Return how these settings want their calls delivered."""
        return _own(settings).delivery

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        """Return the request that `perform` would make, for people to look at: no headers, as they may be secret."""
        from punchcard.destinations.webhooks.client import request_body

        own = _own(settings)
        body = request_body([mapping.read_call(effect.payload)], own)
        note = f"signed with the shared secret ({'webhook-signature' if own.is_standard else 'X-Signature'})"
        return {
            "method": "POST",
            "url": own.url,
            "body": msgspec.json.decode(body),
            **({"note": note} if own.shared_secret else {}),
        }

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        """Return a client for these settings."""
        from punchcard.destinations.webhooks.client import WebhooksClient

        return WebhooksClient(_own(settings), network=network)


def _own(settings: object) -> WebhooksSettings:
    if not isinstance(settings, WebhooksSettings):
        raise InvariantError(f"{type(settings).__name__} are not the settings of Webhooks")
    return settings


PARTNER: Final = WebhooksPartner()

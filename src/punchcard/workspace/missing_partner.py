"""Placeholder for a destination type that this version does not have."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from punchcard.destinations.definition import Definition
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import DeliveryOptions, Effect, Intent, PartnerClient
from punchcard.errors import ConfigurationError
from punchcard.events.model import Event, EventType


class MissingPartner:
    """Partner of a destination type that is missing in the catalog. It raises when used, and affects no other one."""

    def __init__(self, type_: str, problem: str | None = None) -> None:
        self._reason = f'There is no destination of type "{type_}" in this version.'
        if problem is not None:
            self._reason = f'The package of destination type "{type_}" could not be loaded ({problem}).'
        self.definition = Definition(
            id="",
            slug=type_,
            name=type_,
            description=self._reason,
            website="",
            categories=(),
            supported=frozenset(EventType),
            settings=(),
            options=(),
        )

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> object:
        """Raise a ConfigurationError: the type is missing."""
        raise ConfigurationError(self._reason)

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """Raise a ConfigurationError: the type is missing."""
        raise ConfigurationError(self._reason)

    def supported_calls(self, settings: object) -> frozenset[EventType]:
        """Raise a ConfigurationError: the type is missing."""
        raise ConfigurationError(self._reason)

    def delivery_options(self, settings: object) -> DeliveryOptions:
        """Raise a ConfigurationError: the type is missing."""
        raise ConfigurationError(self._reason)

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        """Raise a ConfigurationError: the type is missing."""
        raise ConfigurationError(self._reason)

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        """Raise a ConfigurationError: the type is missing."""
        raise ConfigurationError(self._reason)

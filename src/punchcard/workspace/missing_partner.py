"""What stands for a type of destination that this version does not have."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from punchcard.destinations.definition import Definition
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import DeliveryOptions, Effect, Intent, PartnerClient
from punchcard.errors import ConfigurationError
from punchcard.events.model import Event, EventType


class MissingPartner:
    """Stands for a type that the catalog no longer has, so that one such destination does not stop the others."""

    def __init__(self, type_: str, problem: str | None = None) -> None:
        self._reason = f'there is no destination of type "{type_}" in this version'
        if problem is not None:
            self._reason = f'the package of destination type "{type_}" could not be loaded ({problem})'
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
        """Raise that the type is missing."""
        raise ConfigurationError(self._reason)

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """Raise that the type is missing."""
        raise ConfigurationError(self._reason)

    def supported_calls(self, settings: object) -> frozenset[EventType]:
        """Raise that the type is missing."""
        raise ConfigurationError(self._reason)

    def delivery_options(self, settings: object) -> DeliveryOptions:
        """Raise that the type is missing."""
        raise ConfigurationError(self._reason)

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        """Raise that the type is missing."""
        raise ConfigurationError(self._reason)

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        """Raise that the type is missing."""
        raise ConfigurationError(self._reason)

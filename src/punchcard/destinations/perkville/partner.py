"""Perkville as routing and delivery know it: the partner's entry in the catalog.

What makes requests is imported at first use: every process reads the catalog, and few need an HTTP client.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from punchcard.destinations.correcting import CorrectionStep, EffectContent
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.perkville import mapping
from punchcard.destinations.perkville.corrections import decide_correction, plan_correction
from punchcard.destinations.perkville.definition import PERKVILLE
from punchcard.destinations.perkville.keys import read_key_content
from punchcard.destinations.perkville.preview import preview
from punchcard.destinations.perkville.refunds import decide_refund
from punchcard.destinations.perkville.settings import PerkvilleSettings, read_settings, with_event_settings
from punchcard.destinations.port import DeliveryOptions, Effect, Intent, PartnerClient
from punchcard.destinations.preparation import LedgerRow, NotReady, Ready
from punchcard.destinations.reconciling import KeyContent
from punchcard.errors import InvariantError
from punchcard.events.model import Event, EventType


class PerkvillePartner:
    """The code of Perkville behind the port of all partners. Its typed settings are `PerkvilleSettings`."""

    definition = PERKVILLE

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> PerkvilleSettings:
        """The typed settings of a configured destination.

        Raises:
            ConfigurationError: all that is wrong, one line each, beginning with its key path.
        """
        return read_settings(settings, options)

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """The effect that the event earns. Pure.

        Raises:
            RefusedError: the event earns nothing; code and message say why.
        """
        return mapping.plan(event, _own(settings), source=source, destination=destination, timezone=timezone)

    def supported_calls(self, settings: object) -> frozenset[EventType]:
        """All that the definition supports."""
        return self.definition.supported

    def account(self, settings: object, event_settings: Mapping[str, object] | None) -> str:
        """The business, and where its API is."""
        own = with_event_settings(_own(settings), event_settings)
        return f"business {own.business_id} at {own.api_base_url}"

    def remap(self, event_name: str, settings: object) -> str | None:
        """The perk that the settings map the event name to now, None if none."""
        return mapping.remap(event_name, _own(settings))

    def prepare(
        self,
        effect: LedgerRow,
        others: Sequence[LedgerRow],
        *,
        refusal: str | None,
        settings: object,
        now: datetime,
    ) -> Ready | NotReady:
        """Decide what a refund takes back."""
        return decide_refund(effect, others, refusal=refusal, rules=_own(settings).refunds, now=now)

    def plan_correction(
        self, first: LedgerRow, content: EffectContent, *, destination: str, settings: object
    ) -> Sequence[CorrectionStep]:
        """Plan the transactions that give an award another content.

        Raises:
            RefusedError: it cannot be corrected; the message says why and what to do.
        """
        return plan_correction(first, content, destination=destination)

    def prepare_correction(
        self, correction: LedgerRow, first: LedgerRow, others: Sequence[LedgerRow], *, settings: object, now: datetime
    ) -> Ready | NotReady:
        """Decide what a step of a correction sends."""
        return decide_correction(correction, first, others, rules=_own(settings).refunds, now=now)

    def delivery_options(self, settings: object) -> DeliveryOptions:
        """Return how these settings want their effects delivered."""
        return _own(settings).delivery

    def preview(self, effect: Effect, settings: object) -> Mapping[str, object]:
        """The request that `perform` would make, for people to look at: `{"method", "url", "body"}`, no secrets."""
        return preview(effect, _own(settings))

    def read_key(self, effect_key: str, settings: object) -> KeyContent:
        """What a `trans_source_id` says of its effect."""
        return read_key_content(effect_key, event_names=list(_own(settings).event_to_perk_map))

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        """A client for these settings. It connects to the option `apiBaseUrl`, which may be a sandbox at home."""
        from punchcard.destinations.perkville.client import PerkvilleClient

        return PerkvilleClient(_own(settings))


def _own(settings: object) -> PerkvilleSettings:
    if not isinstance(settings, PerkvilleSettings):
        raise InvariantError(f"{type(settings).__name__} are no settings of Perkville")
    return settings


PARTNER: Final = PerkvillePartner()

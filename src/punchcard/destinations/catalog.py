"""The partners that Punchcard delivers to, by the slug of their definition. A new partner is one line here."""

from collections.abc import Mapping
from types import MappingProxyType

from punchcard.destinations.perkville.partner import PerkvillePartner
from punchcard.destinations.port import Partner
from punchcard.destinations.webhooks.partner import WebhooksPartner

_PARTNERS: tuple[Partner, ...] = (PerkvillePartner(), WebhooksPartner())

CATALOG: Mapping[str, Partner] = MappingProxyType({partner.definition.slug: partner for partner in _PARTNERS})

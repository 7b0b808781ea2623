"""A destination as delivery sees it at one moment."""

from dataclasses import dataclass

from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import DeliveryOptions, Partner


@dataclass(frozen=True, kw_only=True)
class DeliveryTarget:
    """A destination as delivery sees it at one moment.

    Attributes:
        fingerprint: Changes whenever the settings do.
        enabled: False leaves its outbox alone.
        network: To which addresses its client may connect.
    """

    slug: str
    partner: Partner
    settings: object
    options: DeliveryOptions
    fingerprint: str
    enabled: bool = True
    network: NetworkPolicy = PUBLIC_ONLY

"""Settings sent with an event are for the destination of the called endpoint, and for no other."""

from punchcard.destinations.perkville.partner import PerkvillePartner
from punchcard.destinations.port import Partner
from punchcard.destinations.webhooks.partner import WebhooksPartner
from punchcard.routing.planning import with_settings
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import RoutedDestination

GIVEN = b'{"businessId": "42", "locationId": "7", "eventToPerkMap": {"Checked In": "1"}}'


def routed(partner: Partner, settings: dict[str, object]) -> RoutedDestination:
    return RoutedDestination(
        slug="mine",
        name=partner.definition.name,
        partner=partner,
        settings=partner.read_settings(settings, {}),
        supported=partner.definition.supported,
        fingerprint="",
        destination=Destination(slug="mine", type=partner.definition.slug, sources=("website",), settings=settings),
    )


def test_webhooks_of_the_same_source_keep_their_own() -> None:
    destination = routed(WebhooksPartner(), {"url": "https://example.com"})
    assert with_settings(destination, GIVEN) is destination


def test_perkville_takes_them() -> None:
    destination = routed(PerkvillePartner(), {"apiKey": "key", "businessId": "41", "locationId": "7"})
    changed = with_settings(destination, GIVEN)
    assert changed.invalid_for_event is None
    assert changed.event_settings == {"businessId": "42", "locationId": "7"}

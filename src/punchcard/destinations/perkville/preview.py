"""The request that an effect would become, for people to look at before anything is sent."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from punchcard.destinations.perkville.definition import USER_PROPERTY
from punchcard.destinations.perkville.settings import PerkvilleSettings, RefundMethod, with_event_settings
from punchcard.destinations.perkville.wire import patch_connection, post_transaction
from punchcard.destinations.port import Effect
from punchcard.errors import InvariantError


def preview(effect: Effect, settings: PerkvilleSettings) -> Mapping[str, object]:
    """Method, address and body of the request, and a note where only Perkville can say the last word.

    ::

        {"method": "POST", "url": "https://api.perkville.com/v2/transactions/", "body": {"quantity": "9.99", …}}
    """
    note = None
    settings = with_event_settings(settings, effect.event_settings)
    if effect.kind == USER_PROPERTY:
        request = patch_connection(settings.wire, "connection", effect.attributes or {})
        note = "`connection` stands for the id of the customer's connection, which is looked up first"
    else:
        quantity, note = _assumed_quantity(effect, settings)
        request = post_transaction(
            settings.wire,
            effect,
            quantity,
            business_id=settings.business_id,
            location_id=settings.location_id,
            send_email=settings.send_email,
        )
    shown: dict[str, object] = {
        "method": request.method,
        "url": settings.api_base_url + request.path,
        "body": msgspec.json.decode(request.body or b"null"),
    }
    if note is not None:
        shown["note"] = note
    return shown


def _assumed_quantity(effect: Effect, settings: PerkvilleSettings) -> tuple[Decimal, str | None]:
    if effect.quantity is None:
        raise InvariantError(f"transaction {effect.effect_key} has no quantity")
    if effect.quantity > 0:
        return effect.quantity, None
    if settings.refund_method is RefundMethod.REDEEM:
        return -effect.quantity, "points are removed by a positive quantity, so the perk must be one that redeems"
    if settings.refund_method is RefundMethod.NEGATIVE:
        return effect.quantity, "points are removed by a negative quantity, so the perk must be one that earns"
    return effect.quantity, "assumes that the perk earns; the quantity of a perk that redeems is sent without the minus"

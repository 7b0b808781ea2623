"""What one event earns at Perkville: the points rules, as pure functions of an event and the settings.

Source: Segment's page of the Perkville destination ("Required Values", "Quantity Calculation", "Engage"), made total
as the README beside this file says.
"""

import re
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from punchcard.destinations.perkville import keys
from punchcard.destinations.perkville.readings import (
    OrderMembers,
    Place,
    context_members,
    find_email,
    json_value,
    order_members,
    personas,
    read_amount,
    read_email,
    read_id,
    shown,
    trait_email,
    traits,
)
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.port import EffectKind, Intent, OnRepeat
from punchcard.errors import RefusedError
from punchcard.events.model import Event, EventType

IDENTIFY_NAME = "identify"
ONE = Decimal(1)
_AUDIENCE_CLASSES = frozenset({"audience", "journey_step"})
_NOT_IN_WORD = re.compile(r"[\W_]+")
_WORD_BORDERS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def plan(event: Event, settings: PerkvilleSettings, *, source: str, timezone: ZoneInfo) -> Intent:
    """The effect that an event earns.

    Args:
        source: Slug of the event's source, a part of the effect key.
        timezone: Whose midnight counts for perks awarded once a day.

    Returns:
        A transaction for a track call, a user property for an identify call of Engage.

    Raises:
        RefusedError: the event earns nothing. `not_allowlisted`, `missing_email`, `invalid_email`, `missing_amount`,
            `invalid_amount`, `zero_amount`, `invalid_order_id`, `invalid_refund_id`, `no_computed_trait`,
            `invalid_trait`, `invalid_timestamp`, `unreadable_value` or `unsupported_event_type`.
    """
    if event.type is EventType.TRACK:
        return _plan_track(event, settings, source=source, timezone=timezone)
    if event.type is EventType.IDENTIFY:
        return _plan_identify(event, source=source)
    raise RefusedError(
        f"Perkville takes track and identify calls, no {event.type} calls", code="unsupported_event_type"
    )


def remap(event_name: str, settings: PerkvilleSettings) -> str | None:
    """The perk that the settings map the event name to now, None if none."""
    return settings.event_to_perk_map.get(event_name)


def is_refund_name(event_name: str) -> bool:
    """Whether points are removed if such an event comes with an order id."""
    return "refund" in event_name.casefold()


def snake_case(name: str) -> str:
    """The name as a user property's key: `Order Completed Last 30days` → `order_completed_last_30days`."""
    return _NOT_IN_WORD.sub("_", _WORD_BORDERS.sub("_", name).lower()).strip("_")


def _plan_track(event: Event, settings: PerkvilleSettings, *, source: str, timezone: ZoneInfo) -> Intent:
    name = event.wire.event
    perk = None if name is None else settings.event_to_perk_map.get(name)
    if name is None or perk is None:
        raise _not_allowlisted(name, settings)
    properties = order_members(event)
    email = _track_email(event, properties)
    order_id = read_id(Place("properties.order_id", properties.order_id))
    if order_id is not None and is_refund_name(name):
        return _refund(event, properties, source=source, name=name, perk=perk, email=email, order_id=order_id)
    intent = Intent(
        kind=EffectKind.TRANSACTION,
        effect_key=(
            keys.event_key(source, message_id=event.message_id)
            if order_id is None
            else keys.order_key(source, order_id=order_id, event_name=name)
        ),
        customer=email.lower(),
        email=email,
        event_name=name,
        perk=perk,
        quantity=ONE if order_id is None else _spent(properties, order_id),
        order_id=order_id,
    )
    if name in settings.once_per_day:
        return _once_a_day(event, intent, perk=perk, source=source, timezone=timezone)
    return intent


def _refund(
    event: Event, properties: OrderMembers, *, source: str, name: str, perk: str, email: str, order_id: str
) -> Intent:
    refund_id = read_id(Place("properties.refund_id", properties.refund_id)) or event.message_id
    amount = read_amount(_amount_places(properties))
    return Intent(
        kind=EffectKind.TRANSACTION,
        effect_key=keys.refund_key(source, order_id=order_id, refund_id=refund_id),
        customer=email.lower(),
        email=email,
        event_name=name,
        perk=perk,
        # Without an amount the ledger decides: it knows what was awarded for the order.
        quantity=None if amount is None else -amount,
        order_id=order_id,
        is_refund=True,
    )


def _spent(properties: OrderMembers, order_id: str) -> Decimal:
    amount = read_amount(_amount_places(properties))
    if amount is None:
        raise RefusedError(
            f"order {shown(order_id)} has no amount: send properties.revenue, value or total", code="missing_amount"
        )
    return amount


def _once_a_day(event: Event, intent: Intent, *, perk: str, source: str, timezone: ZoneInfo) -> Intent:
    try:
        day = event.timestamp.astimezone(timezone).date()
    except (OverflowError, ValueError) as exc:
        raise RefusedError(
            f"the event's timestamp {event.timestamp.isoformat()} is on no calendar day", code="invalid_timestamp"
        ) from exc
    return replace(
        intent,
        effect_key=keys.day_key(source, perk=perk, customer=intent.customer, day=day),
        on_repeat=OnRepeat.DUPLICATE,
        repeat_reason="once_per_day",
    )


def _plan_identify(event: Event, *, source: str) -> Intent:
    context = context_members(event)
    computed = personas(context)
    key = _text(Place("context.personas.computation_key", computed.computation_key))
    if not key:
        raise RefusedError(
            "this identify call carries no computed trait or audience; Perkville takes only those of Engage",
            code="no_computed_trait",
        )
    value = traits(event).get(key)
    if value is None:
        raise RefusedError(
            f"context.personas names the computed trait {shown(key)}, but the event's traits do not have it",
            code="no_computed_trait",
        )
    property_name = snake_case(key)
    if not property_name:
        raise RefusedError(f"{shown(key)} has no letter or digit to name a user property by", code="invalid_trait")
    is_audience = _text(Place("context.personas.computation_class", computed.computation_class)) in _AUDIENCE_CLASSES
    email = read_email(
        (
            Place("event.email", event.wire.email),
            trait_email(event.wire.traits, "traits"),
            trait_email(context.traits, "context.traits"),
        )
    )
    return Intent(
        kind=EffectKind.USER_PROPERTY,
        effect_key=keys.event_key(source, message_id=event.message_id),
        customer=email.lower(),
        email=email,
        event_name=IDENTIFY_NAME,
        attributes={property_name: _trait_value(Place(f"traits.{key}", value), is_audience=is_audience)},
    )


def _trait_value(place: Place, *, is_audience: bool) -> object:
    value = json_value(place)
    if is_audience and not isinstance(value, bool):
        raise RefusedError(f"{shown(place.name)} must be true or false: it is an audience", code="invalid_trait")
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise RefusedError(
            f"{shown(place.name)} must be text, a number, true, false or a list of such: a user property holds no more",
            code="invalid_trait",
        )
    return value


def _track_email(event: Event, properties: OrderMembers) -> str:
    first = (Place("event.email", event.wire.email), Place("properties.email", properties.email))
    # The context is large and seldom needed: it is read only if no place before it has an address.
    email = find_email(first)
    if email is not None:
        return email
    return read_email((*first, trait_email(context_members(event).traits, "context.traits")))


def _amount_places(properties: OrderMembers) -> tuple[Place, ...]:
    return (
        Place("properties.revenue", properties.revenue),
        Place("properties.value", properties.value),
        Place("properties.total", properties.total),
    )


def _text(place: Place) -> str | None:
    value = json_value(place) if place.raw else None
    return value if isinstance(value, str) else None


def _not_allowlisted(name: str | None, settings: PerkvilleSettings) -> RefusedError:
    if name is None:
        return RefusedError("the track call has no event name, so no perk is mapped to it", code="not_allowlisted")
    alike = settings.names_by_folded.get(name.strip().casefold())
    hint = f"; {shown(alike)} is, and names must be the same to the letter" if alike is not None else ""
    return RefusedError(
        f"{shown(name)} is not in the Event to Perk Map of this destination{hint}: to award it, add it there with the "
        "id of a perk",
        code="not_allowlisted",
    )

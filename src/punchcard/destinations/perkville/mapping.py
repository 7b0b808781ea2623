"""What one event earns at Perkville: the points rules, as pure functions of an event and the settings.

Source: Segment's page of the Perkville destination ("Required Values", "Quantity Calculation", "Engage"), made total
as the README beside this file says.
"""

import re
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

from punchcard.destinations.event_names import folded_event_name, is_refund_name
from punchcard.destinations.perkville import keys
from punchcard.destinations.perkville.definition import TRANSACTION, USER_PROPERTY
from punchcard.destinations.perkville.fields import (
    FieldRef,
    OrderMembers,
    context_members,
    countable,
    email_beside,
    find_email,
    id_note,
    json_value,
    order_members,
    personas,
    product_sum,
    read_amount,
    read_email,
    read_id,
    shown,
    trait_email,
    traits,
)
from punchcard.destinations.perkville.property_values import property_value
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.port import LOOKS_LIKE_ORDER, Intent, KeyScope, OnRepeat
from punchcard.errors import RefusedError
from punchcard.events.commerce import id_variants
from punchcard.events.model import Event, EventType
from punchcard.events.order_hints import find_order_hint

IDENTIFY_NAME = "identify"
ONE = Decimal(1)
_AUDIENCE_CLASSES = frozenset({"audience", "journey_step"})
_NOT_IN_WORD = re.compile(r"[\W_]+")
_WORD_BORDERS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def plan(event: Event, settings: PerkvilleSettings, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
    """The effect that an event earns.

    Args:
        source: Slug of the event's source, the scope of its effect key unless it is about an order.
        destination: Slug of the destination, the scope of the effect keys of orders.
        timezone: Its midnight counts for perks awarded once a day.

    Returns:
        A transaction for a track call, a user property for an identify call of Engage.

    Raises:
        RefusedError: the event earns nothing. `not_allowlisted`, `missing_email`, `invalid_email`, `missing_amount`,
            `invalid_amount`, `zero_amount`, `invalid_order_id`, `invalid_refund_id`, `no_computed_trait`,
            `invalid_trait`, `invalid_timestamp`, `unreadable_value` or `unsupported_event_type`. Of an award for an
            order, `context["order_id"]` is that order.
    """
    if event.type is EventType.TRACK:
        return _plan_track(event, settings, source=source, destination=destination, timezone=timezone)
    if event.type is EventType.IDENTIFY:
        return _plan_identify(event, source=source)
    raise RefusedError(
        f"Perkville takes track and identify calls, no {event.type} calls", code="unsupported_event_type"
    )


def remap(event_name: str, settings: PerkvilleSettings) -> str | None:
    """The perk that the settings map the event name to now, None if none."""
    return settings.event_to_perk_map.get(event_name)


def snake_case(name: str) -> str:
    """The name as a user property's key: `Order Completed Last 30days` → `order_completed_last_30days`."""
    return _NOT_IN_WORD.sub("_", _WORD_BORDERS.sub("_", name).lower()).strip("_")


def _plan_track(
    event: Event, settings: PerkvilleSettings, *, source: str, destination: str, timezone: ZoneInfo
) -> Intent:
    name = event.wire.event
    perk = None if name is None else settings.event_to_perk_map.get(name)
    if name is None or perk is None:
        raise _not_allowlisted(name, settings)
    key_scope = settings.delivery.order_scope
    scope = destination if key_scope is KeyScope.DESTINATION else source
    properties = order_members(event)
    order_place = FieldRef("properties.order_id", properties.order_id)
    order_id = read_id(order_place)
    if order_id is None:
        intent = _other(event, properties, source=source, name=name, perk=perk)
    elif is_refund_name(name):
        intent = _refund(event, properties, order_id, scope=scope, key_scope=key_scope, name=name, perk=perk)
    else:
        order_key = keys.OrderKey(order_id, name)
        intent = _order(event, properties, order_key, scope=scope, key_scope=key_scope, perk=perk)
    if (note := id_note(order_place, order_id)) is not None:
        intent = replace(intent, note=note if intent.note is None else f"{note} {intent.note}")
    if name in settings.once_per_day and not intent.is_refund:
        return _once_a_day(event, intent, scope=scope, key_scope=key_scope, perk=perk, timezone=timezone)
    return intent


def _order(
    event: Event, properties: OrderMembers, key: keys.OrderKey, *, scope: str, key_scope: KeyScope, perk: str
) -> Intent:
    try:
        email = _track_email(event, properties)
        quantity = _spent(properties, key.order_id)
    except RefusedError as refusal:
        refusal.context["order_id"] = key.order_id
        raise
    return Intent(
        kind=TRANSACTION,
        effect_key=key.within(scope),
        scoped_key=key,
        scope=key_scope,
        other_keys=tuple(keys.OrderKey(id_variant, key.event_name) for id_variant in id_variants(key.order_id)[1:]),
        customer=email.lower(),
        email=email,
        event_name=key.event_name,
        item=perk,
        quantity=quantity,
        order_id=key.order_id,
    )


def _refund(
    event: Event,
    properties: OrderMembers,
    order_id: str,
    *,
    scope: str,
    key_scope: KeyScope,
    name: str,
    perk: str,
) -> Intent:
    email = _track_email(event, properties)
    amount = _refunded(properties)
    place = FieldRef("properties.refund_id", properties.refund_id)
    refund_id = read_id(place)
    key = keys.RefundKey(order_id, refund_id or event.message_id)
    # A tool does not rewrite a message id as a number: only the sender's own id has other texts.
    refund_ids = (event.message_id,) if refund_id is None else id_variants(refund_id)
    same = (keys.RefundKey(order, refund) for order in id_variants(order_id) for refund in refund_ids)
    return Intent(
        kind=TRANSACTION,
        effect_key=key.within(scope),
        scoped_key=key,
        scope=key_scope,
        other_keys=tuple(other_key for other_key in same if other_key != key),
        customer=email.lower(),
        email=email,
        event_name=name,
        item=perk,
        # Without an amount the ledger decides: it knows what was awarded for the order.
        quantity=None if amount is None else -amount,
        order_id=order_id,
        is_refund=True,
        refund_id=refund_id,
        note=id_note(place, refund_id),
    )


def _other(event: Event, properties: OrderMembers, *, source: str, name: str, perk: str) -> Intent:
    email = _track_email(event, properties)
    hint = find_order_hint(event)
    return Intent(
        kind=TRANSACTION,
        effect_key=keys.event_key(source, message_id=event.message_id),
        customer=email.lower(),
        email=email,
        event_name=name,
        item=perk,
        quantity=ONE,
        note=None if hint is None else _order_note(name, hint),
        note_code=None if hint is None else LOOKS_LIKE_ORDER,
    )


def _order_note(name: str, hint: str) -> str:
    counts = "takes nothing away and awards 1" if is_refund_name(name) else "awards 1 and not its amount"
    return (
        f"It looks like an order, as it has {shown(hint)}, but has no properties.order_id, so it {counts}: "
        "send the order's id as properties.order_id."
    )


def _refunded(properties: OrderMembers) -> Decimal | None:
    """The amount that a refund asks to take back, None if that is left to the ledger."""
    amount = read_amount(_amount_places(properties), may_be_negative=True)
    if amount is not None:
        return amount
    products = FieldRef("properties.products", properties.products)
    total = product_sum(products)
    return None if total is None else countable(f"the sum of {products.name}", total.copy_abs())


def _spent(properties: OrderMembers, order_id: str) -> Decimal:
    amount = read_amount(_amount_places(properties))
    if amount is None:
        raise RefusedError(
            f"order {shown(order_id)} has no amount: send properties.revenue, value or total", code="missing_amount"
        )
    return amount


def _once_a_day(
    event: Event, intent: Intent, *, scope: str, key_scope: KeyScope, perk: str, timezone: ZoneInfo
) -> Intent:
    try:
        day = event.timestamp.astimezone(timezone).date()
    except (OverflowError, ValueError) as exc:
        raise RefusedError(
            f"the event's timestamp {event.timestamp.isoformat()} is on no calendar day",
            code="invalid_timestamp",
            order_id=intent.order_id,
        ) from exc
    key = keys.DayKey(perk, intent.customer, day)
    return replace(
        intent,
        effect_key=key.within(scope),
        scoped_key=key,
        scope=key_scope,
        other_keys=(),
        on_repeat=OnRepeat.DUPLICATE,
        repeat_reason="once_per_day",
    )


def _plan_identify(event: Event, *, source: str) -> Intent:
    context = context_members(event)
    computed = personas(context)
    key = _text(FieldRef("context.personas.computation_key", computed.computation_key))
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
    is_audience = _text(FieldRef("context.personas.computation_class", computed.computation_class)) in _AUDIENCE_CLASSES
    email = read_email(
        (
            FieldRef("event.email", event.wire.email),
            trait_email(event.wire.traits, "traits"),
            trait_email(context.traits, "context.traits"),
        )
    )
    return Intent(
        kind=USER_PROPERTY,
        effect_key=keys.event_key(source, message_id=event.message_id),
        customer=email.lower(),
        email=email,
        event_name=IDENTIFY_NAME,
        attributes={property_name: _trait_value(FieldRef(f"traits.{key}", value), is_audience=is_audience)},
    )


def _trait_value(place: FieldRef, *, is_audience: bool) -> object:
    value = json_value(place)
    if is_audience and not isinstance(value, bool):
        raise RefusedError(f"{shown(place.name)} must be true or false: it is an audience", code="invalid_trait")
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) for item in items):
        raise RefusedError(
            f"{shown(place.name)} must be text, a number, true, false or a list of such: a user property holds no more",
            code="invalid_trait",
        )
    return property_value(value)


def _track_email(event: Event, properties: OrderMembers) -> str:
    first = (FieldRef("event.email", event.wire.email), FieldRef("properties.email", properties.email))
    # The context is large and seldom needed: it is read only if no place before it has an address.
    email = find_email(first)
    if email is not None:
        return email
    last = trait_email(context_members(event).traits, "context.traits")
    return find_email((last, email_beside(event))) or read_email((*first, last))


def _amount_places(properties: OrderMembers) -> tuple[FieldRef, ...]:
    return (
        FieldRef("properties.revenue", properties.revenue),
        FieldRef("properties.value", properties.value),
        FieldRef("properties.total", properties.total),
    )


def _text(place: FieldRef) -> str | None:
    value = json_value(place) if place.raw else None
    return value if isinstance(value, str) else None


def _not_allowlisted(name: str | None, settings: PerkvilleSettings) -> RefusedError:
    if name is None:
        return RefusedError("the track call has no event name, so no perk is mapped to it", code="not_allowlisted")
    alike = settings.names_by_folded.get(folded_event_name(name))
    hint = f"; {shown(alike)} is mapped, and names must be the same to the letter" if alike is not None else ""
    return RefusedError(
        f"{shown(name)} is not in the Event to Perk Map of this destination{hint}: to award it, add it there with the "
        "id of a perk",
        code="not_allowlisted",
    )

"""Perkville's catalog entry, its five settings and our options, as data."""

from typing import Final

from punchcard.destinations.definition import (
    Capability,
    Definition,
    FieldType,
    KindDefinition,
    LedgerColumn,
    ReopenedReasons,
    SettingField,
    SummaryColumn,
)
from punchcard.destinations.delivery_options import delivery_fields
from punchcard.destinations.perkville.reasons import (
    ORDER_EARNED_NOTHING,
    ORDER_NOT_DELIVERED,
    REASONS,
    REFUND_NOTHING_LEFT,
    REFUND_OTHER_CUSTOMER,
    REFUND_UNKNOWN_ORDER,
)
from punchcard.events.model import EventType

TRANSACTION: Final = "transaction"
"""The kind of effect that gives or takes points."""

USER_PROPERTY: Final = "user_property"
"""The kind of effect that sets a computed trait or audience membership at the customer."""

SETTINGS = (
    SettingField(
        key="apiKey",
        label="API Key",
        description=(
            "The token that Perkville shows to an admin under Settings > Apps: Generate Token, Accept, Show token "
            "under the Segment app."
        ),
        type=FieldType.STRING,
        required=True,
        secret=True,
    ),
    SettingField(
        key="businessId",
        label="Business ID",
        description="Your Perkville business id. Ask support@perkville.com for it.",
        type=FieldType.STRING,
        required=True,
    ),
    SettingField(
        key="locationId",
        label="Location ID",
        description="The Perkville location of every transaction. Ask support@perkville.com for it.",
        type=FieldType.STRING,
        required=True,
    ),
    SettingField(
        key="sendEmail",
        label="Send email",
        description="Whether Perkville sends the customer an email for each transaction.",
        type=FieldType.BOOLEAN,
        required=True,
        default=False,
    ),
    SettingField(
        key="eventToPerkMap",
        label="Event to Perk Map",
        description=(
            "Event names and the perk that each of them awards, such as Checked In: 123456. An event that is not "
            "listed here earns nothing."
        ),
        type=FieldType.TEXT_MAP,
        required=True,
        default={},
        is_event_map=True,
        value_label="perk",
    ),
)

OPTIONS = (
    SettingField(
        key="apiBaseUrl",
        label="API address",
        description="The address of Perkville's API; change it for the sandbox or a proxy.",
        type=FieldType.STRING,
        required=True,
        default="https://api.perkville.com",
        is_filled=True,
    ),
    *delivery_fields(
        requests_per_second=2,
        concurrency=32,
        request="transaction",
        effect="transaction",
        person="customer",
        read_back=(
            "After that, Perkville is asked whether the transaction exists; only if it does not is it sent again."
        ),
    ),
    SettingField(
        key="refundMethod",
        label="How points are removed",
        description=(
            "redeem: a positive quantity on a perk that redeems. negative: a negative quantity on a perk that earns. "
            "auto: the one that fits the perk mapped to the refund event."
        ),
        type=FieldType.SELECT,
        default="auto",
        choices=("auto", "negative", "redeem"),
    ),
    SettingField(
        key="orderIdScope",
        label="An order id is unique within",
        description=(
            "destination: the same order id from any source of this destination is the same order, awarded once. "
            "source: each source numbers its own orders, like registers that all start at 1."
        ),
        type=FieldType.SELECT,
        default="destination",
        choices=("destination", "source"),
    ),
    SettingField(
        key="refundWaitHours",
        label="Wait for a refund's order",
        description=(
            "A refund that arrives before its order waits this many hours for it. After that it is parked for an "
            "operator; 0 does not wait."
        ),
        type=FieldType.NUMBER,
        default=24,
        minimum=0,
        maximum=2160,
    ),
    SettingField(
        key="refundFollows",
        label="A refund follows",
        description=(
            "order: points are taken only from the customer of the order; a refund for another customer or for an "
            "unknown order is parked. event: points are taken from the customer named in the refund event, also for an "
            "unknown order if the event has an amount."
        ),
        type=FieldType.SELECT,
        default="order",
        choices=("order", "event"),
    ),
    SettingField(
        key="oncePerDay",
        label="Once a day",
        description="Event names that are awarded at most once per customer and local day.",
        type=FieldType.ARRAY,
        default=(),
    ),
    SettingField(
        key="wire",
        label="Wire names",
        description=(
            "Names of parts of Perkville's API that differ from the assumed ones; wire.py lists the names that can be "
            "replaced."
        ),
        type=FieldType.TEXT_MAP,
        default={},
    ),
)

PERKVILLE = Definition(
    id="60de4ee01f55f299594f38ed",
    slug="perkville",
    name="Perkville",
    description="Customer rewards and referrals: points for check-ins, purchases and any other event you track.",
    website="https://www.perkville.com/",
    categories=("Referrals",),
    supported=frozenset({EventType.TRACK, EventType.IDENTIFY}),
    settings=SETTINGS,
    options=OPTIONS,
    kinds=(
        KindDefinition(name=TRANSACTION, label="Transaction", has_item=True),
        KindDefinition(name=USER_PROPERTY, label="User property"),
    ),
    summary_columns=(
        SummaryColumn(column=LedgerColumn.QUANTITY, member="quantity", label="Quantity"),
        SummaryColumn(column=LedgerColumn.ITEM, member="perk", label="Perk"),
        SummaryColumn(column=LedgerColumn.PARTNER_ID, member="perkvilleId", label="Perkville id"),
    ),
    reopened=ReopenedReasons(
        on_any_end=frozenset({ORDER_NOT_DELIVERED, REFUND_UNKNOWN_ORDER}),
        on_delivery=frozenset({ORDER_EARNED_NOTHING}),
        on_correction=frozenset({REFUND_NOTHING_LEFT, REFUND_OTHER_CUSTOMER}),
    ),
    # Without the type, as stored effect keys have it.
    managed_prefix="partner",
    capabilities=frozenset(Capability) - {Capability.DELETION},
    deletion=(
        "Perkville's API cannot delete a customer. Delete the customer in Perkville under Customers, or ask "
        "Perkville's support to do it."
    ),
    reasons=REASONS,
    delivery_note=(
        "Each award is delivered exactly once: after a lost response, Perkville is asked before anything is sent again."
    ),
    more_options="Another address of the API, for a sandbox",
    add_steps=(
        "Log in to Perkville as an admin and open Settings > Apps.",
        "Under Connect Segment, click Generate Token.",
        "Click Accept.",
        "Back under the Segment app, click Show token.",
        "Copy the token.",
        "Paste it into the field API Key here.",
    ),
)

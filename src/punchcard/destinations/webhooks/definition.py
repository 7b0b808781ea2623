"""The catalog entry of Webhooks, its settings and our options, as data."""

from punchcard.destinations.definition import Capability, Definition, FieldType, KindDefinition, SettingField
from punchcard.destinations.delivery_options import delivery_fields
from punchcard.destinations.webhooks.reasons import REASONS
from punchcard.events.model import EventType

WEBHOOK_CALL = "webhook_call"
BATCH_SIZE_MAX = 1000
ALL_CALLS = tuple(sorted(call.value for call in EventType))

SETTINGS = (
    SettingField(
        key="url",
        label="Webhook URL",
        description="Events are sent to this address by POST, such as https://example.com/segment.",
        type=FieldType.STRING,
        required=True,
    ),
    SettingField(
        key="headers",
        label="Headers",
        description="HTTP headers sent with every request, ASCII only. They are encrypted at rest and masked.",
        type=FieldType.TEXT_MAP,
        default={},
        secret=True,
    ),
    SettingField(
        key="sharedSecret",
        label="Shared secret",
        description=(
            "If set, each request is signed: X-Signature is the hexadecimal HMAC-SHA1 of the request body, or the "
            "headers of Standard Webhooks are sent instead (option signature)."
        ),
        type=FieldType.STRING,
        default="",
        secret=True,
    ),
    SettingField(
        key="batchSize",
        label="Batch size",
        description=(
            "1 sends each event as a JSON object. With more, each request is a JSON array of up to this many events; a "
            "batch does not wait until it is full."
        ),
        type=FieldType.NUMBER,
        default=1,
        minimum=1,
        maximum=BATCH_SIZE_MAX,
        whole=True,
    ),
    SettingField(
        key="triggers",
        label="Triggers",
        description=(
            "The calls to send: track, identify, page, screen, group, alias. Add a filter to send only some events of "
            "a call."
        ),
        type=FieldType.ARRAY,
        default=ALL_CALLS,
    ),
)

OPTIONS = (
    SettingField(
        key="template",
        label="Body template",
        description=(
            "JSON template of the body; empty sends the whole event. "
            '{"@path": "$.properties.email"} is the value of a member, {"@template": "Hello {{traits.name}}"} a text, '
            'and {"@literal": …} is copied unchanged. A member with a missing path is left out.'
        ),
        type=FieldType.STRING,
        default="",
        is_code=True,
        is_filled=True,
    ),
    SettingField(
        key="signature",
        label="Signature",
        description=(
            "segment: X-Signature, the hexadecimal HMAC-SHA1 of the body. standard-webhooks: webhook-id, "
            "webhook-timestamp and webhook-signature, which also protect against replayed requests."
        ),
        type=FieldType.SELECT,
        default="segment",
        choices=("segment", "standard-webhooks"),
        is_filled=True,
    ),
    SettingField(
        key="unknownOutcome",
        label="After a lost response",
        description=(
            "resend: the event is sent again, so the receiver may get it more than once and must drop repeats by "
            "messageId. park: it is parked until an operator decides."
        ),
        type=FieldType.SELECT,
        default="resend",
        choices=("resend", "park"),
    ),
    *delivery_fields(requests_per_second=0, concurrency=16),
)

WEBHOOKS = Definition(
    id="614a3c7d791c91c41bae7599",
    slug="webhooks",
    name="Webhooks",
    description="Sends events to any URL as JSON, signed, one at a time or in batches.",
    website="https://segment.com/docs/connections/destinations/catalog/webhooks/",
    categories=("Raw Data",),
    supported=frozenset(EventType),
    settings=SETTINGS,
    options=OPTIONS,
    kinds=(KindDefinition(name=WEBHOOK_CALL, label="Webhook call"),),
    reasons=REASONS,
    capabilities=frozenset({Capability.DELETION}),
    deletion="Requests to delete a user are sent as Segment's `delete` message, to every enabled webhook.",
    delivery_note=(
        "At least once: a receiver cannot be asked whether it received an event, so after a lost response the event is "
        "sent again. Drop duplicates by messageId, which is the same in every attempt."
    ),
)

"""The catalog entry of Webhooks, its settings and our options, as data."""

from punchcard.destinations.definition import Definition, FieldType, KindDefinition, SettingField
from punchcard.destinations.webhooks.reasons import REASONS
from punchcard.events.model import EventType

WEBHOOK_CALL = "webhook_call"
BATCH_SIZE_MAX = 1000
ALL_CALLS = tuple(sorted(call.value for call in EventType))

SETTINGS = (
    SettingField(
        key="url",
        label="Webhook URL",
        description="Where events are sent by POST, such as https://example.com/segment.",
        type=FieldType.STRING,
        required=True,
    ),
    SettingField(
        key="headers",
        label="Headers",
        description="HTTP headers that are sent with every request, ASCII only. They are encrypted at rest and masked.",
        type=FieldType.TEXT_MAP,
        default={},
        secret=True,
    ),
    SettingField(
        key="sharedSecret",
        label="Shared secret",
        description=(
            "If set, each request is signed with it: X-Signature is the hexadecimal HMAC-SHA1 of the request body, "
            "or the headers of Standard Webhooks are sent instead (option signature)."
        ),
        type=FieldType.STRING,
        default="",
        secret=True,
    ),
    SettingField(
        key="batchSize",
        label="Batch size",
        description=(
            "1 sends each event as a JSON object. With more, each request is a JSON array of up to so many events; "
            "nothing waits for a batch to fill."
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
            "The calls that are sent: track, identify, page, screen, group, alias. Add a filter to send only some "
            "events of a call."
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
            "JSON that makes the body of an event; empty sends the whole event. "
            '{"@path": "$.properties.email"} is the value of a member, {"@template": "Hello {{traits.name}}"} a text, '
            'and {"@literal": …} stands as it is. A member whose path is missing is left out.'
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
    SettingField(
        key="requestsPerSecond",
        label="Requests per second",
        description="At most this many requests are sent each second; 0 means no limit.",
        type=FieldType.NUMBER,
        default=0,
        minimum=0,
        maximum=100_000,
    ),
    SettingField(
        key="concurrency",
        label="Requests at once",
        description="At most this many requests are in flight at one time, never two with events of one user.",
        type=FieldType.NUMBER,
        default=16,
        minimum=1,
        maximum=1000,
        whole=True,
    ),
    SettingField(
        key="requestTimeoutSeconds",
        label="Time-out",
        description="After this many seconds without a response a request is given up.",
        type=FieldType.NUMBER,
        default=10,
        minimum=0.1,
        maximum=300,
    ),
    SettingField(
        key="retryBaseSeconds",
        label="First wait before a retry",
        description="Seconds before the first retry; the waits after it grow exponentially.",
        type=FieldType.NUMBER,
        default=30,
        minimum=0.01,
        maximum=3600,
    ),
    SettingField(
        key="retryAttemptsMax",
        label="Tries",
        description="After this many tries an event is parked for an operator; it is never dropped.",
        type=FieldType.NUMBER,
        default=10,
        minimum=1,
        maximum=100,
        whole=True,
    ),
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
    deletion="Requests to delete a user are not forwarded: tell the receiver of them yourself.",
    delivery_note=(
        "At least once: a receiver cannot be asked whether it got an event, so after a lost response the event is "
        "sent again. Drop repeats by messageId, which is the same in every try."
    ),
)

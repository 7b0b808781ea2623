"""The options that mean the same for every destination: how its effects are delivered."""

from dataclasses import replace

from punchcard.destinations.definition import FieldType, SettingField
from punchcard.destinations.port import DeliveryOptions
from punchcard.destinations.settings import Values


def delivery_fields(
    *,
    requests_per_second: float,
    concurrency: int,
    request: str = "request",
    effect: str = "event",
    person: str = "user",
    read_back: str = "",
) -> tuple[SettingField, ...]:
    """Return the fields of these options, for `options` of a definition. `read_delivery` reads them.

    Args:
        requests_per_second: Default of `requestsPerSecond`; 0 means no limit.
        concurrency: Default of `concurrency`.
        request: What the destination calls a request, such as `transaction`.
        effect: What the destination calls an effect.
        person: The owner of effects that are delivered one after another, such as `customer`.
        read_back: For a destination that can be asked for unknown outcomes: a sentence on what follows the wait.
    """
    return (
        SettingField(
            key="requestsPerSecond",
            label=f"{request.capitalize()}s per second",
            description=f"Maximum number of {request}s sent per second; 0 means no limit.",
            type=FieldType.NUMBER,
            default=requests_per_second,
            minimum=0,
            maximum=100_000,
        ),
        SettingField(
            key="concurrency",
            label=f"Concurrent {request}s",
            description=f"Maximum number of {request}s in flight, never two of one {person}.",
            type=FieldType.NUMBER,
            default=concurrency,
            minimum=1,
            maximum=1000,
            whole=True,
        ),
        *_timeout_fields(read_back),
        *_retry_fields(effect),
    )


def _timeout_fields(read_back: str) -> tuple[SettingField, ...]:
    timeout = SettingField(
        key="requestTimeoutSeconds",
        label="Timeout",
        description="Seconds to wait for a response."
        + (" After that, the outcome of the request is read back." if read_back else ""),
        type=FieldType.NUMBER,
        default=10,
        minimum=0.1,
        maximum=300,
    )
    if not read_back:
        return (timeout,)
    unknown_wait = SettingField(
        key="unknownWaitSeconds",
        label="Wait before reading back",
        description=f"Seconds after a lost response in which the request may still be performed. {read_back}",
        type=FieldType.NUMBER,
        default=10,
        minimum=0,
        maximum=3600,
    )
    return timeout, unknown_wait


def _retry_fields(effect: str) -> tuple[SettingField, ...]:
    return (
        SettingField(
            key="retryBaseSeconds",
            label="First wait before a retry",
            description="Seconds before the first retry; later waits grow exponentially.",
            type=FieldType.NUMBER,
            default=30,
            minimum=0.01,
            maximum=3600,
        ),
        SettingField(
            key="retryAttemptsMax",
            label="Attempts",
            description=f"After this many attempts the {effect} is parked for an operator; it is never dropped.",
            type=FieldType.NUMBER,
            default=10,
            minimum=1,
            maximum=100,
            whole=True,
        ),
    )


def read_delivery(options: Values) -> DeliveryOptions:
    """Return how effects are delivered. What the destination has no field for is as `DeliveryOptions` has it."""
    default = DeliveryOptions()
    return replace(
        default,
        requests_per_second=options.number_or("requestsPerSecond", default.requests_per_second),
        concurrency=int(options.number_or("concurrency", default.concurrency)),
        retry_base_seconds=options.number_or("retryBaseSeconds", default.retry_base_seconds),
        tries_max=int(options.number_or("retryAttemptsMax", default.tries_max)),
        unknown_wait_seconds=options.number_or("unknownWaitSeconds", default.unknown_wait_seconds),
        request_timeout_seconds=options.number_or("requestTimeoutSeconds", default.request_timeout_seconds),
    )

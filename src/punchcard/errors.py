"""The error tree: the class says what happens next, the code says why, the message says it to a person.

::

    PunchcardError
    ├── IngestError            the event ends as "failed on ingest"; answered as Segment does
    ├── RefusedError           a destination will not take this event: an end, with its reason
    ├── ConfigurationError     an operator must act; refused when saved, not when used
    ├── DeliveryError          how one delivery attempt ended
    │   ├── RetryableError       surely not performed: try again later
    │   ├── RejectedError        surely not performed, and never will be
    │   ├── CredentialsError     surely not performed; pause the destination, tell the operator
    │   └── OutcomeUnknownError  perhaps performed: reconcile by effect key, never blindly retry
    ├── StorageError           nothing can be made durable now (disk full, locked, away): answered 503
    │   └── LakeError          the data lake cannot be read or written: awards go on without it
    ├── UnreadableRecordError  one log record can never be read: it is quarantined, the others go on
    └── InvariantError         our bug: stop this worker, keep the event
"""


class PunchcardError(Exception):
    """Something went wrong in Punchcard.

    Args:
        message: One sentence for a person, with the values that matter; the class's first docstring line if left out.
        code: Stable snake_case word, usable as a metric label and as the `reason` of a result.
        context: Further values a caller may want without parsing the message.
    """

    code = "punchcard_error"

    def __init__(self, message: str | None = None, *, code: str | None = None, **context: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or type(self).code
        self.context = context
        super().__init__(self.message)


class IngestError(PunchcardError):
    """The event cannot be taken in."""

    code = "invalid_request"


class RefusedError(PunchcardError):
    """The destination does not take this event."""

    code = "refused"


class ConfigurationError(PunchcardError):
    """The configuration is not valid."""

    code = "invalid_configuration"


class DeliveryError(PunchcardError):
    """A delivery attempt did not succeed.

    Args:
        message: The partner's message or ours.
        status: The HTTP status answered, None if no answer came.
        request_id: The partner's own id of the request, if it gave one.
    """

    code = "delivery_failed"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        **context: object,
    ) -> None:
        self.status = status
        self.request_id = request_id
        super().__init__(message, code=code, **context)


class RetryableError(DeliveryError):
    """The partner surely did not perform the request; it may be sent again later.

    Args:
        retry_after_seconds: How long the partner asked to wait, None if it did not say.
    """

    code = "partner_unavailable"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
        **context: object,
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message, code=code, status=status, request_id=request_id, **context)


class RejectedError(DeliveryError):
    """The partner refused the request for good."""

    code = "rejected"


class CredentialsError(DeliveryError):
    """The partner does not accept the credentials."""

    code = "credentials_refused"


class OutcomeUnknownError(DeliveryError):
    """The request was sent and its outcome is not known."""

    code = "outcome_unknown"


class StorageError(PunchcardError):
    """Nothing can be made durable at the moment."""

    code = "storage_unavailable"


class LakeError(StorageError):
    """The data lake cannot be read."""

    code = "lake_unavailable"


class UnreadableRecordError(PunchcardError):
    """The log record cannot be read."""

    code = "unreadable_record"


class InvariantError(PunchcardError):
    """An invariant does not hold: a defect of Punchcard."""

    code = "invariant"

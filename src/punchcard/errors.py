"""The error tree: the class says what happens next, the code is the reason, the message is for people.

::

    PunchcardError
    ├── IngestError            the event ends as "failed on ingest"; the response is Segment's
    ├── RefusedError           a destination does not accept this event: a final result with a reason
    ├── ConfigurationError     an operator must act; refused on save, not on use
    ├── DeliveryError          the outcome of one delivery attempt
    │   ├── RetryableError       certainly not performed: try again later
    │   ├── RejectedError        certainly not performed, and never will be
    │   ├── CredentialsError     certainly not performed; pause the destination, alert the operator
    │   └── OutcomeUnknownError  possibly performed: reconcile by effect key, never blindly retry
    ├── StorageError           nothing can be made durable now (disk full, locked, not available): 503 response
    │   ├── StorageSettingsError  a setting of the storage is wrong: a process that starts ends, one that runs waits
    │   └── LakeError          the data lake cannot be read or written: awards go on without it
    ├── UnreadableRecordError  one log record can never be read: it is quarantined, the others go on
    └── InvariantError         a defect of Punchcard: stop this worker, keep the event
"""

import re
from typing import Final

_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")


class PunchcardError(Exception):
    """Something went wrong in Punchcard.

    Args:
        message: One sentence for people, with the relevant values; the first line of the class docstring if left out.
        code: Stable snake_case word, usable as a metric label and as the `reason` of a result.
        context: Further values for callers, so that they need not parse the message.
    """

    code = "punchcard_error"

    def __init__(self, message: str | None = None, *, code: str | None = None, **context: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.code = code or type(self).code
        self.context = context
        super().__init__(self.message)


class IngestError(PunchcardError):
    """The event cannot be accepted."""

    code = "invalid_request"


class RefusedError(PunchcardError):
    """The destination does not accept this event."""

    code = "refused"


class ConfigurationError(PunchcardError):
    """The configuration is invalid."""

    code = "invalid_configuration"


class DeliveryError(PunchcardError):
    """A delivery attempt did not succeed.

    Args:
        message: The partner's error message or ours.
        status: The HTTP status of the response, None if there was none.
        request_id: The partner's id of the request, if it sent one.
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
    """The partner certainly did not perform the request; it may be sent again later.

    Args:
        retry_after_seconds: How long the partner requested to wait, None if it did not.
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
    """The partner has finally refused the request."""

    code = "rejected"


class CredentialsError(DeliveryError):
    """The partner does not accept the credentials."""

    code = "credentials_refused"


class OutcomeUnknownError(DeliveryError):
    """The request was sent and its outcome is unknown.

    Args:
        partner_id: The partner's id of what it may have made of the request, None if it named none.
    """

    code = "outcome_unknown"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        partner_id: str | None = None,
        **context: object,
    ) -> None:
        self.partner_id = partner_id
        super().__init__(message, code=code, status=status, request_id=request_id, **context)


class StorageError(PunchcardError):
    """Nothing can be made durable at the moment."""

    code = "storage_unavailable"


class StorageSettingsError(StorageError):
    """The storage refuses the settings with which it is used. Waiting does not help."""

    code = "storage_settings_refused"


class LakeError(StorageError):
    """The data lake cannot be read."""

    code = "lake_unavailable"

    def __init__(self, message: str | None = None, *, code: str | None = None, **context: object) -> None:
        # Causes of deltalake are drawn for a terminal: in color, each on a line of its own behind an arrow.
        if message is not None:
            message = " ".join(_COLOR.sub("", message).split()).replace(" ↳ ", ": ")
            message = f"{message.removesuffix(' .')}." if message.endswith(" .") else message
        super().__init__(message, code=code, **context)


class UnreadableRecordError(PunchcardError):
    """The log record cannot be read."""

    code = "unreadable_record"


class InvariantError(PunchcardError):
    """An invariant is violated, which is a defect of Punchcard."""

    code = "invariant"

"""What must be done before anything is sent, and the results of attempts that may not be sent."""

from collections.abc import Callable, Sequence

from punchcard.delivery.outcomes import NOT_SENT
from punchcard.delivery.stages import CompletedAttempt
from punchcard.errors import PunchcardError, RetryableError
from punchcard.store.delivery.effects import Attempt


class SendingPermission:
    """Calls what must be done before anything is sent. For one thread.

    Attributes:
        is_refused: Whether the last call has failed. As long as it is, nothing should be claimed: each effect would get
            an attempt a second that is none.

    Args:
        before_sending: Raises if nothing may be sent now.
    """

    def __init__(self, before_sending: Callable[[], None]) -> None:
        self.is_refused = False
        self._before_sending = before_sending

    def refusal(self) -> Exception | None:
        """Return why nothing may be sent now, None if something may."""
        try:
            self._before_sending()
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing may leave now
            self.is_refused = True
            return error
        self.is_refused = False
        return None


def message_of(refusal: Exception) -> str:
    """Return why nothing may be sent, for logs and attempts."""
    return refusal.message if isinstance(refusal, PunchcardError) else repr(refusal)


def unsent(attempts: Sequence[Attempt], refusal: Exception, *, fingerprint: str) -> list[CompletedAttempt]:
    """Return the results of attempts that were not made.

    Args:
        fingerprint: Of the settings with which they would have been made.
    """
    not_sent = RetryableError(f"nothing was sent: {message_of(refusal)}", code=NOT_SENT)
    return [
        CompletedAttempt(attempt=attempt, result=not_sent, seconds=0.0, fingerprint=fingerprint) for attempt in attempts
    ]

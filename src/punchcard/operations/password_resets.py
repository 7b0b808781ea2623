"""Lost passwords: a link by mail, and the new password, recorded in the audit log.

Whether an email belongs to an operator shows neither in a response nor in how long it takes: the request only queues
the email, and all else happens afterwards, in a thread.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.operations.alert_channels import ChannelError
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.invitations import InvalidLinkError
from punchcard.operations.mail import find_mail_channel, send_mail
from punchcard.operations.telemetry import AccountTelemetry
from punchcard.store.access.audit import ChangedValue, record_operator_change
from punchcard.store.access.operators import (
    Operator,
    change_operator,
    count_failures,
    find_operator,
    forget_failures_of,
    note_failure,
    operator_by_email,
)
from punchcard.store.access.password_resets import add_password_reset, operator_of_reset, use_password_reset

_MAILS_BY_EMAIL_MAX: Final = 3
_PENDING_MAX: Final = 50


class PasswordResetMailer:
    """Sends links for a new password, one after the other.

    Args:
        dependencies: Store, clock and configuration.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._telemetry = AccountTelemetry()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="password-resets")
        self._pending = threading.BoundedSemaphore(_PENDING_MAX)

    def request(self, email: str, *, base_url: str) -> None:
        """Send a link to the operator with this email, if there is one; return at once.

        Args:
            base_url: Where people reach the App.
        """
        if not self._pending.acquire(blocking=False):
            self._telemetry.password_reset_dropped()
            return
        self._executor.submit(self._send_logged, email, base_url)

    def _send_logged(self, email: str, base_url: str) -> None:
        try:
            self._send(email, base_url)
        except (ChannelError, StorageError) as error:
            self._telemetry.password_reset_failed(error=error.message)
        except Exception as error:  # noqa: BLE001  # the thread's outer loop: other people need their links
            self._telemetry.password_reset_failed(error=f"{type(error).__name__}: {error}")
        finally:
            self._pending.release()

    def _send(self, email: str, base_url: str) -> None:
        store, clock = self._dependencies.store, self._dependencies.clock
        channel = find_mail_channel(self._dependencies.current())
        if channel is None:
            raise ChannelError("No alert channel sends mail.")
        subject = f"password reset {email.lower()}"
        with store.unit_of_work() as work:
            operator = operator_by_email(work, email)
            if operator is None or count_failures(work, subject, clock=clock) >= _MAILS_BY_EMAIL_MAX:
                return
            note_failure(work, [subject], clock=clock)
            secret = add_password_reset(work, operator.id, clock=clock)
            change = ChangedValue("password_reset")
            record_operator_change(work, operator.id, change, actor="lost password page", at=clock.now())
        workspace = self._dependencies.workspace().name
        text = (
            f"Somebody, probably you, has asked for a new password for Punchcard of {workspace}.\n\n"
            f"Choose it here:\n\n{base_url.rstrip('/')}/new-password/{secret}\n\n"
            "The link works once, for one hour. If it was not you, ignore this mail: your password stays as it is.\n"
        )
        send_mail(channel, to=operator.email, subject="Choose a new password", text=text)
        self._telemetry.password_reset_sent(operator_id=operator.id)


def find_reset_operator(work: Connection, secret: str, *, clock: Clock) -> Operator | None:
    """Return the operator of a link, None if the link was used or has expired."""
    id_ = operator_of_reset(work, secret, clock=clock)
    return None if id_ is None else find_operator(work, id_)


def choose_password(work: Connection, secret: str, password: str, *, clock: Clock) -> Operator:
    """Give the operator of a link a new password: the link and all sessions end, and waiting after failures, too.

    Args:
        password: The hash.

    Raises:
        InvalidLinkError: The link was used, or it has expired.
    """
    operator = find_reset_operator(work, secret, clock=clock)
    if operator is None or not use_password_reset(work, secret):
        raise InvalidLinkError("This link was used, or it has expired.")
    change_operator(work, operator.id, password=password)
    forget_failures_of(work, operator.email)
    actor = f"operator {operator.email}"
    record_operator_change(work, operator.id, ChangedValue("password"), actor=actor, at=clock.now())
    return operator

"""A mail server on a socket of its own: it keeps every mail, and refuses as a test says."""

import asyncio
import email
import email.message
import email.policy
import threading
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class _AnyPort(Controller):
    """Listens on any free port, and says which."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class MailServer:
    """A running server; as a context manager it is stopped at the end.

    Attributes:
        refusals: How many of the next mails are refused.
    """

    def __init__(self) -> None:
        self.refusals = 0
        self._mails: list[email.message.EmailMessage] = []
        self._lock = threading.Lock()
        self._controller = _AnyPort(self, hostname="127.0.0.1", port=0, ready_timeout=60)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    @property
    def url(self) -> str:
        """The URL of an alert channel that sends here."""
        return f"mailto://127.0.0.1:{self._controller.port}?from=punchcard@example.com&to=ops@example.com"

    @property
    def mails(self) -> list[email.message.EmailMessage]:
        """The mails that were taken, in order."""
        with self._lock:
            return list(self._mails)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # aiosmtpd's
        """Take a mail, or refuse it."""
        content: Any = envelope.content
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                return "554 no mail today"
            message = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(message, email.message.EmailMessage)
            self._mails.append(message)
        return "250 OK"

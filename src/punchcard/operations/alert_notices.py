"""Sends the notices that wait, each channel by itself: one that hangs or refuses keeps no other from its notices."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.operations.alert_channels import ChannelError, Notice, SendingContext, send_notice
from punchcard.operations.alert_evaluation import NoticeBody
from punchcard.operations.telemetry import AlertTelemetry
from punchcard.store.engine import Store
from punchcard.store.operations.alert_notices import (
    NoticeState,
    StoredNotice,
    cancel_notices,
    due_notices,
    pending_channels,
    postpone_notice,
    settle_notice,
)
from punchcard.workspace.model import AlertChannel
from punchcard.workspace.snapshot import Snapshot

_NOTICES_PER_ROUND: Final = 20
_RETRY_SECONDS: Final = 30.0
_RETRY_SECONDS_MAX: Final = 3_600.0
_GIVEN_UP_AFTER: Final = timedelta(days=3)

Send = Callable[[AlertChannel, Notice, SendingContext], None]


class NoticeDispatcher:
    """Sends what waits in the store.

    Args:
        send: Sends one notice, and raises `ChannelError` if the channel does not take it.
    """

    def __init__(
        self, store: Store, *, clock: Clock, current: Callable[[], Snapshot], send: Send = send_notice
    ) -> None:
        self._store = store
        self._clock = clock
        self._current = current
        self._send = send
        self._telemetry = AlertTelemetry()
        self._busy: dict[str, threading.Thread] = {}

    def start_due(self) -> None:
        """Begin to send what is due, each channel in a thread of its own, unless it is at it still.

        Raises:
            StorageError: the store is away.
        """
        snapshot = self._current()
        with self._store.reading() as work:
            slugs = pending_channels(work)
        self._busy = {slug: thread for slug, thread in self._busy.items() if thread.is_alive()}
        for slug in slugs:
            if slug not in self._busy:
                # Stopping the process does not wait for a mail server: what was not settled is sent again.
                thread = threading.Thread(
                    target=self._send_logged, args=(slug, snapshot), name=f"alert-channel-{slug}", daemon=True
                )
                self._busy[slug] = thread
                thread.start()

    def send_due(self, slug: str, snapshot: Snapshot) -> int:
        """Send what is due to one channel; returns how many notices it has taken.

        Raises:
            StorageError: the store is away.
        """
        channel = snapshot.alert_channels.get(slug)
        if channel is None or not channel.enabled:
            if ("alert_channel", slug) not in snapshot.unreadable:
                with self._store.unit_of_work() as work:
                    cancel_notices(work, slug, now=self._clock.now())
            return 0
        with self._store.reading() as work:
            notices = due_notices(work, channel=slug, now=self._clock.now(), limit=_NOTICES_PER_ROUND)
        context = SendingContext(network=snapshot.network, zone=snapshot.zone, clock=self._clock)
        sent = 0
        for stored in notices:
            if not self._send_one(channel, stored, context):
                break  # the others would most likely fail alike, and each may wait for a time-out
            sent += 1
        return sent

    def _send_one(self, channel: AlertChannel, stored: StoredNotice, context: SendingContext) -> bool:
        try:
            notice = Notice(
                id=f"alert_{stored.id}",
                type=stored.type,
                body=msgspec.json.decode(stored.body, type=NoticeBody),
                timestamp=stored.created_at,
            )
            self._send(channel, notice, context)
        except ChannelError as error:
            self._retry_later(stored, error.message)
            return False
        except Exception as error:  # noqa: BLE001  # a plugin of Apprise may raise anything; the notice is tried again
            self._retry_later(stored, f"{type(error).__name__}: {error}")
            return False
        with self._store.unit_of_work() as work:
            settle_notice(work, stored.id, NoticeState.SENT, now=self._clock.now(), error=None)
        self._telemetry.notice_sent(channel=stored.channel, type=stored.type, notice_id=stored.id)
        return True

    def _retry_later(self, stored: StoredNotice, error: str) -> None:
        now = self._clock.now()
        labels = {"channel": stored.channel, "type": stored.type, "error": error}
        if now - stored.created_at >= _GIVEN_UP_AFTER:
            with self._store.unit_of_work() as work:
                settle_notice(work, stored.id, NoticeState.FAILED, now=now, error=error)
            self._telemetry.notice_given_up(notice_id=stored.id, **labels)
            return
        seconds = min(_RETRY_SECONDS * 2 ** min(stored.attempts, 20), _RETRY_SECONDS_MAX)
        with self._store.unit_of_work() as work:
            postpone_notice(work, stored.id, due_at=now + timedelta(seconds=seconds), error=error)
        self._telemetry.notice_failed(notice_id=stored.id, **labels)

    def _send_logged(self, slug: str, snapshot: Snapshot) -> None:
        try:
            self.send_due(slug, snapshot)
        except StorageError as error:
            self._telemetry.storage_failed(error=error.message)
        except Exception as error:  # noqa: BLE001  # the thread's outer loop: the next round tries again
            self._telemetry.loop_failed(error=error)

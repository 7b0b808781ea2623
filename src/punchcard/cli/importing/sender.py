"""Sends rows in batches, in order, one batch at a time: waits and tries again, and finds the event that is refused."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from punchcard.cli.importing.rows import BadRow
from punchcard.cli.tracking_client import TrackingClient, TrackingResponse, UnreachableError
from punchcard.errors import PunchcardError

BATCH_EVENTS_MAX = 100
BATCH_BYTES_MAX = 450_000  # the Tracking API takes 500 KB
_FIRST_WAIT_SECONDS = 0.2
_WAIT_SECONDS_MAX = 5.0
_RETRY_AFTER_SECONDS_MAX = 60.0
# A server is given this long to come back once it has answered; one that never did is rather a wrong address.
_GIVE_UP_SECONDS = 600.0
_GIVE_UP_AT_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReadyRow:
    """A row as it goes out.

    Attributes:
        event: Its JSON, message id included.
    """

    number: int
    event: bytes
    message_id: str


class Sender:
    """Sends rows to one Tracking API.

    Args:
        client: Where to.
        on_waiting: Told why and how many seconds it waits before trying again.
    """

    def __init__(self, client: TrackingClient, *, on_waiting: Callable[[str, float], None]) -> None:
        self._client = client
        self._on_waiting = on_waiting
        self._has_answered = False

    def instance(self) -> str | None:
        """What the server calls its storage, None if it does not say.

        Raises:
            PunchcardError: it did not answer, however long we waited.
        """
        deadline = self._deadline()
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                instance = self._client.instance()
            except UnreachableError as error:
                wait = self._wait(error.message, wait, asked=None, deadline=deadline)
                continue
            self._has_answered = True
            return instance

    def send(self, rows: Sequence[ReadyRow]) -> list[BadRow]:
        """Send the rows as one batch; returns those that the server refuses, and why. All others are durable then.

        Raises:
            PunchcardError: the server does not know the write key, is no Tracking API, or did not come back.
        """
        response = self._post(b'{"batch":[' + b",".join(row.event for row in rows) + b"]}")
        if response.is_accepted:
            return []
        if response.status not in (400, 413):
            raise PunchcardError(f"{self._client.url}: {_refusal(response)}", code="not_accepted")
        # One bad event makes the server refuse its whole batch. If it does not say which one that is, halving the batch
        # finds it. Rows stay in order, and one that was taken all the same counts once, by its message id.
        index = 0 if len(rows) == 1 else response.index
        if index is None or not 0 <= index < len(rows):
            middle = len(rows) // 2
            return self.send(rows[:middle]) + self.send(rows[middle:])
        bad = BadRow(rows[index].number, response.message or f"HTTP {response.status}")
        before = self.send(rows[:index]) if index else []
        after = self.send(rows[index + 1 :]) if index + 1 < len(rows) else []
        return [*before, bad, *after]

    def _post(self, body: bytes) -> TrackingResponse:
        deadline = self._deadline()
        wait = _FIRST_WAIT_SECONDS
        while True:
            asked = None
            try:
                response = self._client.post("batch", body)
            except UnreachableError as error:
                problem = error.message
            else:
                self._has_answered = True
                if not response.is_retryable_later:
                    return response
                problem = f"{self._client.url}: HTTP {response.status} {response.message}".rstrip()
                asked = response.retry_after_seconds
            wait = self._wait(problem, wait, asked=asked, deadline=deadline)

    def _deadline(self) -> float:
        return time.monotonic() + (_GIVE_UP_SECONDS if self._has_answered else _GIVE_UP_AT_START_SECONDS)

    def _wait(self, problem: str, wait: float, *, asked: float | None, deadline: float) -> float:
        if time.monotonic() >= deadline:
            raise PunchcardError(f"{problem}; given up: run the same command again when the server is back")
        seconds = wait * (0.5 + random.random() / 2) if asked is None else min(asked, _RETRY_AFTER_SECONDS_MAX)
        self._on_waiting(problem, seconds)
        time.sleep(seconds)
        return min(_WAIT_SECONDS_MAX, wait * 2)


def _refusal(response: TrackingResponse) -> str:
    match response.status:
        case 401 | 403:
            return f"the write key is not known there: {response.message}; see [[sources]] in the config file"
        case 404 | 405:
            return "there is no Tracking API at this address"
        case _:
            return f"HTTP {response.status}: {response.message}"

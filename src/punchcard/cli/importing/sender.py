"""Sends rows in order, one batch at a time, with retries, and finds the event that makes a batch fail."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from punchcard.cli.importing.rows import BadRow
from punchcard.cli.tracking_client import TrackingClient, TrackingResponse, UnreachableError
from punchcard.errors import PunchcardError

BATCH_EVENTS_MAX = 100
BATCH_BYTES_MAX = 450_000  # the Tracking API accepts 500 KB
_FIRST_WAIT_SECONDS = 0.2
_WAIT_SECONDS_MAX = 5.0
_RETRY_AFTER_SECONDS_MAX = 60.0
# A server that has responded before gets more time to come back: one that never did is probably a wrong URL.
_GIVE_UP_SECONDS = 600.0
_GIVE_UP_AT_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReadyRow:
    """A row ready to be sent.

    Attributes:
        event: JSON of the event, including its message id.
    """

    number: int
    event: bytes
    message_id: str


class Sender:
    """Sends rows to one Tracking API.

    Args:
        client: Client of the Tracking API.
        on_waiting: Called with the problem and the seconds until the next try.
    """

    def __init__(self, client: TrackingClient, *, on_waiting: Callable[[str, float], None]) -> None:
        self._client = client
        self._on_waiting = on_waiting
        self._has_answered = False

    def instance(self) -> str | None:
        """Return the id of the server's storage, None if the server does not send it.

        Raises:
            PunchcardError: The server did not respond in time.
        """
        deadline = self._deadline()
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                instance = self._client.instance()
            except UnreachableError as error:
                wait = self._wait(error.message, wait, retry_after=None, deadline=deadline)
                continue
            self._has_answered = True
            return instance

    def send(self, rows: Sequence[ReadyRow]) -> list[BadRow]:
        """Send the rows as one batch; return those that the server refuses. All others are then durable.

        Raises:
            PunchcardError: The server does not know the write key, is not a Tracking API, or did not respond in time.
        """
        response = self._post(b'{"batch":[' + b",".join(row.event for row in rows) + b"]}")
        if response.is_accepted:
            return []
        if response.status not in (400, 413):
            raise PunchcardError(f"{self._client.url}: {_refusal(response)}", code="not_accepted")
        # One invalid event makes the server refuse the whole batch. If the response has no index, halving the batch
        # finds it. Rows stay in order, and a row that was accepted anyway counts once, because of its message id.
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
            retry_after = None
            try:
                response = self._client.post("batch", body)
            except UnreachableError as error:
                problem = error.message
            else:
                self._has_answered = True
                if not response.is_retryable:
                    return response
                problem = f"{self._client.url}: HTTP {response.status} {response.message}".rstrip(" .") + "."
                retry_after = response.retry_after_seconds
            wait = self._wait(problem, wait, retry_after=retry_after, deadline=deadline)

    def _deadline(self) -> float:
        return time.monotonic() + (_GIVE_UP_SECONDS if self._has_answered else _GIVE_UP_AT_START_SECONDS)

    def _wait(self, problem: str, wait: float, *, retry_after: float | None, deadline: float) -> float:
        if time.monotonic() >= deadline:
            raise PunchcardError(f"{problem} Run the same command again when the server is available.")
        seconds = (
            wait * (0.5 + random.random() / 2) if retry_after is None else min(retry_after, _RETRY_AFTER_SECONDS_MAX)
        )
        self._on_waiting(problem, seconds)
        time.sleep(seconds)
        return min(_WAIT_SECONDS_MAX, wait * 2)


def _refusal(response: TrackingResponse) -> str:
    match response.status:
        case 401 | 403:
            return f"The server does not know the write key: {response.message}. See [[sources]] in the config file."
        case 404 | 405:
            return "There is no Tracking API at this URL."
        case _:
            return f"HTTP {response.status}: {response.message}"

"""Read request bodies: of limited size, in limited time, and only complete ones."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]  # ASGI's own

_CHECKS_PER_TIMEOUT = 4  # how often late bodies are searched for within the time that a body may take


class ClientGoneError(Exception):
    """The client has disconnected before its body was complete: there is no response, and nothing is stored."""


class BodyReader:
    """Reads the bodies of one event loop.

    Nearly every body has already arrived completely when it is read. So there is no timer per body: each read stores
    its deadline, and one timer regularly searches for late ones.

    Args:
        seconds_max: How long a client may take to send its body.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._due: dict[asyncio.Task[Any], float] = {}  # in the order of time
        self._late: set[asyncio.Task[Any]] = set()
        self._is_watching = False

    async def read(self, receive: Receive, *, bytes_max: int) -> bytes | None:
        """Read the complete body; None if it is too large.

        Raises:
            TimeoutError: The client is too slow.
            ClientGoneError: The client has disconnected.
        """
        task = asyncio.current_task()
        assert task is not None
        self._due[task] = monotonic() + self._seconds_max
        if not self._is_watching:
            self._watch()
        try:
            return await _read(receive, bytes_max)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise TimeoutError from None
        finally:
            del self._due[task]
            self._late.discard(task)

    def _watch(self) -> None:
        self._is_watching = True
        asyncio.get_running_loop().call_later(self._seconds_max / _CHECKS_PER_TIMEOUT, self._cancel_late)

    def _cancel_late(self) -> None:
        now = monotonic()
        for task, due in self._due.items():
            if due > now:
                break
            if task not in self._late:
                self._late.add(task)
                task.cancel()
        self._is_watching = False
        if self._due:
            self._watch()


async def _read(receive: Receive, bytes_max: int) -> bytes | None:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= bytes_max else None
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            return None
    return b"".join(parts)

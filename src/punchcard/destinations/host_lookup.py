"""The addresses of a host, looked up where no other destination waits for a name server that does not answer."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

AddressInfo = tuple[Any, ...]
Resolve = Callable[[str, int], Awaitable[Sequence[AddressInfo]]]
"""Returns the addresses of a host name and a port, as `socket.getaddrinfo` does."""


async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
    """Return the addresses of a host.

    In a thread of its own: the few of the event loop would all wait for one silent name server, and with them the
    connections of every other destination. It ends with the process, which never waits for it.

    Raises:
        OSError: there are none.
        ValueError: the name cannot be one.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()

    def look_up() -> None:
        addresses: Sequence[AddressInfo] | BaseException
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to who waits for the addresses
            addresses = error
        with suppress(RuntimeError):  # the event loop has ended
            loop.call_soon_threadsafe(_settle, result, addresses)

    threading.Thread(target=look_up, name=f"look-up-{host[:40]}", daemon=True).start()
    return await result


def _settle(result: "asyncio.Future[Sequence[AddressInfo]]", addresses: Sequence[AddressInfo] | BaseException) -> None:
    if result.done():
        return
    if isinstance(addresses, BaseException):
        result.set_exception(addresses)
    else:
        result.set_result(addresses)


class HostLookup:
    """The look-up of one host, shared by all connections that need it at the same time.

    Nothing is remembered: a name that moves is followed with the next connection.
    """

    def __init__(self, host: str, port: int, resolve: Resolve) -> None:
        self._host = host
        self._port = port
        self._resolve = resolve
        self._pending: asyncio.Task[Sequence[AddressInfo]] | None = None

    async def addresses(self) -> Sequence[AddressInfo]:
        """Return the addresses.

        Raises:
            OSError: there are none.
            ValueError: the name cannot be one.
        """
        if self._pending is None or self._pending.done():
            self._pending = asyncio.create_task(self._look_up())
            self._pending.add_done_callback(_note_error)
        pending = self._pending
        await asyncio.wait([pending])  # who gives up leaves it to the others
        if pending.cancelled():
            raise ConnectionAbortedError("the client was closed")
        return pending.result()

    def close(self) -> None:
        """End the look-up that is under way."""
        if self._pending is not None:
            self._pending.cancel()

    async def _look_up(self) -> Sequence[AddressInfo]:
        return await self._resolve(self._host, self._port)


def _note_error(pending: "asyncio.Task[Sequence[AddressInfo]]") -> None:
    """Take the error of a look-up that everybody has given up: asyncio complains about those that nobody takes."""
    if not pending.cancelled():
        pending.exception()

"""Bodies of requests as pieces for a worker thread, so that a file is read while it arrives and never held whole."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, TypeVar

from punchcard.errors import ConfigurationError

FILE_BYTES_MAX: Final = 256 << 20
"""Size of an uploaded file."""

_FILES_AT_ONCE: Final = 2  # each holds a worker thread of the process for as long as its sender takes
_END: Final = b""
T = TypeVar("T")


class FileReader:
    """Reads the bodies of requests in worker threads, few at a time."""

    def __init__(self) -> None:
        self._reading = 0

    async def read(self, stream: AsyncIterator[bytes], consume: Callable[[Iterator[bytes]], T]) -> T:
        """Return what a function returns for the pieces of a body; the function runs in a worker thread.

        Raises:
            ConfigurationError: Other files are being read.
        """
        loop = asyncio.get_running_loop()
        return await self.run(lambda: consume(_pieces(stream, loop)))

    async def run(self, read: Callable[[], T]) -> T:
        """Return what a function returns that reads a file in a worker thread.

        Raises:
            ConfigurationError: Other files are being read.
        """
        if self._reading >= _FILES_AT_ONCE:
            raise ConfigurationError("Other files are being uploaded. Try again when they are finished.", code="busy")
        self._reading += 1
        try:
            return await asyncio.to_thread(read)
        finally:
            self._reading -= 1


def _pieces(stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Yield the pieces of a stream of an event loop, in another thread than the loop's."""

    async def next_piece() -> bytes | None:
        return await anext(stream, None)

    while (piece := asyncio.run_coroutine_threadsafe(next_piece(), loop).result()) is not None:
        if piece != _END:
            yield piece

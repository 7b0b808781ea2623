"""The sandbox's bare twin: answers every POST with 201 and a constant object. Run as a process of its own.

It answers each line on its standard input with the number of POSTs that have come, and when the last did.
"""

import asyncio
import sys
import time

import uvloop

# Serves as the answer to a transaction and as the perk that the client reads first.
_BODY = b'{"transaction_id": 1, "perk_id": 123456, "classification": "EARN", "status": "ACTIVE"}'
ANSWER = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
) + _BODY


class PostCount:
    """The POSTs that have come over all connections.

    Attributes:
        last: When the last came, on the clock of `time.perf_counter`, which all processes share.
    """

    def __init__(self) -> None:
        self.number = 0
        self.last = 0.0

    def add(self) -> None:
        """Count one that comes now."""
        self.last = time.perf_counter()
        self.number += 1


class NullPartner(asyncio.Protocol):
    """Counts requests by their bodies' ends; reads nothing of them."""

    def __init__(self, posts: PostCount) -> None:
        self._posts = posts

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._pending) < end + 4 + length:
                return
            self._pending = self._pending[end + 4 + length :]
            if head.startswith(b"post "):
                self._posts.add()
            self._transport.write(ANSWER)


def _report(posts: PostCount) -> None:
    """Answer each line until the process that started this one is gone: it holds the other end."""
    for _ in sys.stdin:
        print(posts.number, posts.last, flush=True)


async def _serve() -> None:
    posts = PostCount()
    server = await asyncio.get_running_loop().create_server(lambda: NullPartner(posts), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(_report, posts)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())

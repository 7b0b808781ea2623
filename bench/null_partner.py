"""The sandbox's bare twin: answers every POST with 201 and a constant object. Run as a process of its own."""

import asyncio
import sys

import uvloop

# Serves as the answer to a transaction and as the perk that the client reads first.
_BODY = b'{"transaction_id": 1, "perk_id": 123456, "classification": "EARN", "status": "ACTIVE"}'
ANSWER = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(_BODY)).encode()
    + b"\r\n\r\n"
) + _BODY


class NullPartner(asyncio.Protocol):
    """Counts requests by their bodies' ends; reads nothing of them."""

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
            self._transport.write(ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(NullPartner, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The process that started it holds the other end of standard input: stop when it is gone.
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())

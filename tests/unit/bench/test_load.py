"""The sender of the benches of ingest."""

import asyncio

import pytest

from bench import ingest

_REQUEST = b"POST /v1/batch HTTP/1.1\r\n\r\n"
_RESPONSE = b"HTTP/1.1 200 OK\r\n\r\n" + ingest._ANSWER_END


class _Server(asyncio.Protocol):
    """Responds to each request a little later."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(0.05, self._transport.write, _RESPONSE)


async def _measure() -> ingest.Round:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await ingest.load(f"http://127.0.0.1:{port}", [_REQUEST])


def test_a_server_that_is_slower_than_the_time_of_a_tiny_bench_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_WARM_UP_SECONDS", "_SECONDS"):
        monkeypatch.setattr(ingest, name, 0.0)
    rate, seconds = asyncio.run(_measure())
    assert rate > 0
    assert min(seconds) >= 0.05

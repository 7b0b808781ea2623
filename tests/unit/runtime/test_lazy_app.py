"""An app is built by its first request, once, while the event loop goes on."""

import asyncio
import gc
import threading
from typing import Any

import pytest

from punchcard.errors import StorageError
from punchcard.runtime.lazy_app import AsgiApp, LazyApp
from punchcard.testing.waiting import PATIENCE_SECONDS


async def request(app: LazyApp, sent: list[object]) -> None:
    async def send(message: object) -> None:
        sent.append(message)

    await app({"type": "http"}, None, send)


async def respond(scope: Any, receive: Any, send: Any) -> None:
    await send(scope["type"])


def test_an_app_is_built_once_for_requests_that_come_together_and_the_loop_goes_on() -> None:
    may_build = threading.Event()
    built: list[int] = []

    def build() -> AsgiApp:
        assert may_build.wait(PATIENCE_SECONDS)
        built.append(threading.get_ident())
        return respond

    async def run() -> list[object]:
        app, sent = LazyApp(build), list[object]()
        requests = [asyncio.create_task(request(app, sent)) for _ in range(3)]
        await asyncio.sleep(0)  # the requests wait for the app, and this loop does not
        assert sent == []
        may_build.set()
        await asyncio.gather(*requests)
        await request(app, sent)
        return sent

    assert asyncio.run(run()) == ["http"] * 4
    assert len(built) == 1
    assert built[0] != threading.get_ident()


def test_the_next_request_tries_again_after_an_error() -> None:
    outcomes: list[Exception | None] = [StorageError("The store is away."), None]

    def build() -> AsgiApp:
        if (error := outcomes.pop(0)) is not None:
            raise error
        return respond

    app, sent = LazyApp(build), list[object]()
    with pytest.raises(StorageError, match="away"):
        asyncio.run(request(app, sent))
    asyncio.run(request(app, sent))
    assert sent == ["http"]


def test_cycles_are_searched_rarely_while_an_app_is_built() -> None:
    thresholds: list[int] = []

    def build() -> AsgiApp:
        thresholds.append(gc.get_threshold()[0])
        return respond

    before = gc.get_threshold()
    try:
        LazyApp(build).load()
        thresholds.append(gc.get_threshold()[0])
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
    assert thresholds == [50_000, 700]

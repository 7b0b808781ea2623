"""The end of a process that was asked to stop, in time whatever its requests and threads wait for."""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog

_MARGIN_SECONDS: Final = 1.0  # for children that are killed when the time for finishing work is over
_BODY: Final = (
    b'{"errors":[{"type":"unavailable","message":"Punchcard stops. Send the request again in a moment.",'
    b'"field":null,"status":503}]}'
)
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"retry-after", b"1"),
]
App = Callable[[Any, Any, Any], Awaitable[None]]


def end_in_time(shutdown_seconds: float, *, process: str, status: int = 0) -> None:
    """End this process soon after `shutdown_seconds`, if it has not ended by itself until then.

    A request of an operator may wait in a thread, which cannot be stopped, for a partner or an object store, and Python
    waits for its threads. All that was acknowledged is durable by then: the next start goes on as after a crash.

    Args:
        process: Its name in the log.
        status: Its exit status.
    """
    timer = threading.Timer(shutdown_seconds + _MARGIN_SECONDS, _end, [process, status])
    timer.daemon = True
    timer.start()


def _end(process: str, status: int) -> None:
    waiting = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
    structlog.get_logger(f"punchcard.{process}").warning("stop_not_finished", threads=waiting)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def refuse_cancelled(app: App) -> App:
    """Return the app with a response to requests that are cancelled, as they take longer than the process may."""

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            with suppress(RuntimeError):  # a response that has begun ends incomplete
                await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
                await send({"type": "http.response.body", "body": _BODY})

    return refusing

"""Runs handlers that wait for storage outside the event loop.

Litestar's own `sync_to_thread` is not used: it wraps a handler again for each handler of another method on the same
path, and then returns a coroutine as the response.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def run_in_executor(handler: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return a coroutine function that runs the handler in a worker thread."""

    @functools.wraps(handler)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(handler, *args, **kwargs)

    return wrapper

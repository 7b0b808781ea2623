"""Runs handlers that wait for storage outside the event loop.

Not by `sync_to_thread` of the framework: that wraps a handler once more for each handler of another method on its path,
and then answers with a coroutine.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def run_in_executor(handler: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """The handler as one that the event loop can go on beside."""

    @functools.wraps(handler)
    async def beside(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(handler, *args, **kwargs)

    return beside

"""An ASGI app that is imported and built when its first request comes."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from punchcard.runtime.garbage_collection import loading

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class LazyApp:
    """Passes requests to an app that is built once. The event loop goes on meanwhile.

    Args:
        build: Imports and builds the app. If it raises, the next request tries again.
    """

    def __init__(self, build: Callable[[], AsgiApp]) -> None:
        self._build = build
        self._built: AsgiApp | None = None
        self._lock = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Respond to one request."""
        app = self._built
        if app is None:
            app = await asyncio.to_thread(self.load)
        await app(scope, receive, send)

    def load(self) -> AsgiApp:
        """Return the app, which is built if it is not yet. For any thread."""
        with self._lock:
            if self._built is None:
                with loading():
                    self._built = self._build()
            return self._built

"""A receiver of webhooks on its own socket that records every request, and responds as scripted by a test."""

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_STOP_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """A received request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the body, one or several."""
        content = json.loads(self.body)
        return content if isinstance(content, list) else [content]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The response to a request.

    Attributes:
        resets: True to close the connection without a response, after recording the request.
        delay_seconds: Delay of the response.
    """

    status: int = 200
    headers: Mapping[str, str] | None = None
    body: bytes = b"ok"
    resets: bool = False
    delay_seconds: float = 0


class WebhookReceiver:
    """A running receiver; as a context manager it is stopped at the end.

    Attributes:
        replies: The responses to the next requests, in order; afterwards `decide` is used.
        decide: Returns the response to a request.
    """

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.decide: Callable[[ReceivedRequest], Reply] = lambda _: Reply()
        self._requests: list[ReceivedRequest] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._handle(self)

            def do_HEAD(self) -> None:
                receiver._handle(self)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook-receiver")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the receiver."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The received requests, in order."""
        with self._lock:
            return list(self._requests)

    def message_ids(self) -> Counter[str]:
        """Return how often each event was received, by its message id."""
        posts = [request for request in self.requests if request.method == "POST"]
        return Counter(event["messageId"] for request in posts for event in request.events)

    def wait_for(self, is_reached: Callable[[], bool], *, seconds: float = 60) -> None:
        """Return as soon as a state is reached.

        Raises:
            TimeoutError: The state was not reached in time.
        """
        deadline = time.monotonic() + seconds
        while not is_reached():
            if time.monotonic() > deadline:
                raise TimeoutError(f"The receiver has {len(self.requests)} requests: {self.message_ids()}")
            time.sleep(0.02)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = ReceivedRequest(method=handler.command, path=handler.path, headers=headers, body=body)
        with self._lock:
            self._requests.append(request)
            reply = self.replies.popleft() if self.replies else None
        reply = reply or self.decide(request)
        if reply.delay_seconds:
            time.sleep(reply.delay_seconds)
        if reply.resets:
            handler.close_connection = True
            return
        try:
            handler.send_response(reply.status)
            for name, value in (reply.headers or {}).items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            if handler.command != "HEAD":
                handler.wfile.write(reply.body)
        except OSError:
            handler.close_connection = True  # the sender has disconnected

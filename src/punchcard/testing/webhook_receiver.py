"""A receiver of webhooks on a socket of its own: it keeps every request, and answers as a test says."""

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
    """One request as it arrived; the names of headers are lower-cased."""

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
    """How a request is answered.

    Attributes:
        resets: True to close the connection without a response, after the request was kept.
        delay_seconds: How long the response waits.
    """

    status: int = 200
    headers: Mapping[str, str] | None = None
    body: bytes = b"ok"
    resets: bool = False
    delay_seconds: float = 0


class WebhookReceiver:
    """A running receiver; as a context manager it is stopped at the end.

    Attributes:
        replies: How the next requests are answered, in order; then `decide` answers.
        decide: How a request is answered by what it holds.
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
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests that have arrived, in order."""
        with self._lock:
            return list(self._requests)

    def message_ids(self) -> Counter[str]:
        """How often each event has arrived, by its message id."""
        posts = [request for request in self.requests if request.method == "POST"]
        return Counter(event["messageId"] for request in posts for event in request.events)

    def wait_for(self, is_reached: Callable[[], bool], *, seconds: float = 60) -> None:
        """Return as soon as a state is reached.

        Raises:
            TimeoutError: it was not reached in time.
        """
        deadline = time.monotonic() + seconds
        while not is_reached():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the receiver has {len(self.requests)} requests: {self.message_ids()}")
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
            handler.close_connection = True  # the sender has gone

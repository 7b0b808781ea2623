"""A Tracking API that remembers what it took and fails when a test tells it to, for tests of senders."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

BREAK = 0
"""A trouble: the connection is cut without an answer, and the body is not taken."""
LOSE_ANSWER = -1
"""A trouble: the body is taken, and the connection is cut without an answer."""


@dataclass(frozen=True)
class TakenRequest:
    """One request answered with 200: `headers` by lower-case name, `body` as it came."""

    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class RecordingTrackingApi:
    """A running server; as a context manager it is stopped at the end.

    Attributes:
        instance: What it calls its storage, None if it says nothing of it.
        requests: What it took.
        connections: Ports of the clients that posted.
        refuses: Says why an event is refused (strict mode), None if it is not.
        tells_index: True if it says which event of a batch it refuses.
        troubles: What happens to the next requests, one each: an HTTP status, BREAK or LOSE_ANSWER.
    """

    instance: str | None = None
    requests: list[TakenRequest] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    refuses: Callable[[dict[str, Any]], str | None] = lambda _event: None
    tells_index: bool = True
    troubles: list[int] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def events(self) -> list[dict[str, Any]]:
        """Every event taken, in order, repeated ones too."""
        bodies = [json.loads(request.body) for request in self.requests]
        return [event for body in bodies for event in body.get("batch", [body])]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: RecordingTrackingApi

    def do_GET(self) -> None:  # the standard library's name
        instance = {"instance": self.api.instance} if self.api.instance else {}
        self._answer(200, {"status": "ready", **instance})

    def do_POST(self) -> None:
        self.api.connections.add(self.client_address[1])
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        trouble = self.api.troubles.pop(0) if self.api.troubles else 200
        if trouble > 0 and trouble != 200:
            self._answer(trouble, {"success": False, "message": "in trouble"})
            return
        if trouble == BREAK:
            self.close_connection = True
            return
        content = json.loads(body)
        for index, reason in enumerate(map(self.api.refuses, content.get("batch", [content]))):
            if reason is not None:
                told = {"index": index} if self.api.tells_index else {}
                self._answer(400, {"success": False, "message": reason, "code": "invalid_request", **told})
                return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.api.requests.append(TakenRequest(path=self.path, headers=headers, body=body))
        if trouble == LOSE_ANSWER:
            self.close_connection = True
            return
        self._answer(200, {"success": True})

    def _answer(self, status: int, body: Mapping[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 503:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *_: object) -> None:
        """Say nothing."""

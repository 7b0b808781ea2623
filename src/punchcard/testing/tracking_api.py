"""A Tracking API that records accepted requests and fails as scripted by a test, for tests of senders."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

BREAK = 0
"""A failure: the connection is closed without a response, and the body is not recorded."""
LOSE_RESPONSE = -1
"""A failure: the body is recorded, and the connection is closed without a response."""


@dataclass(frozen=True)
class AcceptedRequest:
    """One request with a 200 response: `headers` by lower-case name, `body` unchanged."""

    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class RecordingTrackingApi:
    """A running server; as a context manager it is stopped at the end.

    Attributes:
        instance: The name of its storage, None if it does not report one.
        requests: The accepted requests.
        connections: Ports of the clients that posted.
        refuses: Returns why an event is refused (strict mode), None if it is not.
        reports_index: True if it reports which event of a batch it refuses.
        failures: The responses to the next requests: an HTTP status, BREAK or LOSE_RESPONSE.
    """

    instance: str | None = None
    requests: list[AcceptedRequest] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    refuses: Callable[[dict[str, Any]], str | None] = lambda _event: None
    reports_index: bool = True
    failures: list[int] = field(default_factory=list)

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
        """Return every accepted event, in order, including repeated ones."""
        bodies = [json.loads(request.body) for request in self.requests]
        return [event for body in bodies for event in body.get("batch", [body])]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: RecordingTrackingApi

    def do_GET(self) -> None:  # the standard library's name
        instance = {"instance": self.api.instance} if self.api.instance else {}
        self._respond(200, {"status": "ready", **instance})

    def do_POST(self) -> None:
        self.api.connections.add(self.client_address[1])
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        failure = self.api.failures.pop(0) if self.api.failures else 200
        if failure > 0 and failure != 200:
            self._respond(failure, {"success": False, "message": "A scripted failure."})
            return
        if failure == BREAK:
            self.close_connection = True
            return
        content = json.loads(body)
        for index, reason in enumerate(map(self.api.refuses, content.get("batch", [content]))):
            if reason is not None:
                position = {"index": index} if self.api.reports_index else {}
                self._respond(400, {"success": False, "message": reason, "code": "invalid_request", **position})
                return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.api.requests.append(AcceptedRequest(path=self.path, headers=headers, body=body))
        if failure == LOSE_RESPONSE:
            self.close_connection = True
            return
        self._respond(200, {"success": True})

    def _respond(self, status: int, body: Mapping[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if status == 503:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *_: object) -> None:
        """Log nothing."""

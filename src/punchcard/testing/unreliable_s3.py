"""An HTTP proxy for tests, between a client and an S3 server: it spoils responses as broken servers and gateways do."""

import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Final

from punchcard.testing.waiting import PATIENCE_SECONDS

_GARBAGE: Final = b"<html><body>Please sign in to this network.</body></html>"
_OBJECT: Final = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_MODIFIED: Final = re.compile(rb"<LastModified>([^<]+)</LastModified>")
# What is about the connection to the server, and not about the response.
_OWN_HEADERS: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


class Fault(StrEnum):
    """What may be wrong with a response."""

    CUT = "cut"  # status 200, and the connection ends in the middle of the body
    SHORT = "short"  # status 200, the body ends in the middle, and its length says so
    GARBAGE = "garbage"  # status 200, and a body of something else
    LOST_WRITE = "lost_write"  # a conditional write is performed, and the response says that the object existed (412)
    REFUSED_WRITE = "refused_write"  # a conditional write is not performed, with the same response
    LATE_LIST = "late_list"  # a list lacks the objects of the last seconds


_OF_BODIES: Final = (Fault.CUT, Fault.SHORT, Fault.GARBAGE)
_OF_WRITES: Final = (Fault.LOST_WRITE, Fault.REFUSED_WRITE)


class UnreliableS3:
    """Forwards requests on a port of the loopback to another port.

    Attributes:
        faults: Those that occur; may be changed at any time. Each response that can have one of them has it by chance.
        share: The share of these responses that are spoiled; every list is.
        spoils: A part of the paths of the requests that may have a spoiled response.
        late_seconds: How long an object is missing in lists.
        spoiled: How many responses had each fault.

    Args:
        server_port: Of the server.
    """

    def __init__(self, server_port: int) -> None:
        self.faults: tuple[Fault, ...] = ()
        self.share = 0.5
        self.spoils = ""
        self.late_seconds = 5.0
        self.spoiled: Counter[Fault] = Counter()
        self._random = Random(1)
        self._lock = threading.Lock()

        class Handler(_Forwarding):
            proxy = self
            port = server_port

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="unreliable-s3", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """End the proxy."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def choose(self, possible: tuple[Fault, ...], path: str) -> Fault | None:
        """Return the fault that the response to a request of this path gets, None for none; the fault is counted."""
        if self.spoils not in path:
            return None
        with self._lock:
            current = [fault for fault in self.faults if fault in possible]
            if not current or (Fault.LATE_LIST not in current and self._random.random() >= self.share):
                return None
            fault = self._random.choice(current)
            self.spoiled[fault] += 1
            return fault


class _Forwarding(BaseHTTPRequestHandler):
    """Forwards the requests of one connection. Headers stay as they are, since they are signed."""

    protocol_version = "HTTP/1.1"
    proxy: UnreliableS3
    port: int

    def do_GET(self) -> None:
        status, headers, body = self._forward()
        is_list = "list-type=2" in self.path
        fault = self.proxy.choose((Fault.LATE_LIST,), self.path) if is_list else None
        if fault is not None:
            body = _without_new_objects(body, timedelta(seconds=self.proxy.late_seconds))
        elif body and status in (200, 206):
            fault = self.proxy.choose(_OF_BODIES, self.path)
        length = len(body)
        match fault:
            case Fault.CUT:
                body = body[: length // 2]
            case Fault.SHORT:
                body = body[: length // 2]
                length = len(body)
            case Fault.GARBAGE:
                body = _GARBAGE
                length = len(body)
        self._respond(status, headers, body, length=length)
        if fault is Fault.CUT:
            self.close_connection = True

    def do_PUT(self) -> None:
        fault = self.proxy.choose(_OF_WRITES, self.path) if self.headers.get("If-None-Match") else None
        if fault is Fault.REFUSED_WRITE:
            self._read_body()
        else:
            status, headers, body = self._forward()
        if fault is not None:
            status, headers, body = 412, {"Content-Type": "application/xml"}, _PRECONDITION_FAILED
        self._respond(status, headers, body, length=len(body))

    def do_HEAD(self) -> None:
        status, headers, _ = self._forward()
        self._respond(status, headers, b"", length=None)

    def do_POST(self) -> None:
        status, headers, body = self._forward()
        self._respond(status, headers, body, length=len(body))

    def do_DELETE(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing: the server has a log of all requests."""

    def _read_body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _forward(self) -> tuple[int, dict[str, str], bytes]:
        """Send the request to the server; return status, headers and body of its response."""
        body = self._read_body()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in _OWN_HEADERS}
            if self.command == "HEAD" and (length := response.getheader("Content-Length")):
                headers["Content-Length"] = length
            return response.status, headers, response.read()
        finally:
            connection.close()

    def _respond(self, status: int, headers: dict[str, str], body: bytes, *, length: int | None) -> None:
        """Send a response.

        Args:
            length: What it says of its body; None for what the headers say.
        """
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)


_PRECONDITION_FAILED: Final = b"<Error><Code>PreconditionFailed</Code><Message>It exists.</Message></Error>"


def _without_new_objects(body: bytes, age: timedelta) -> bytes:
    """Return a list without the objects that are younger."""

    def old(match: re.Match[bytes]) -> bytes:
        modified = _MODIFIED.search(match[0])
        assert modified is not None
        is_old = datetime.now(UTC) - datetime.fromisoformat(modified[1].decode()) > age
        return match[0] if is_old else b""

    return _OBJECT.sub(old, body)


@contextmanager
def unreliable_s3(server_port: int) -> Iterator[UnreliableS3]:
    """Run a proxy for the length of the block."""
    proxy = UnreliableS3(server_port)
    try:
        yield proxy
    finally:
        proxy.stop()

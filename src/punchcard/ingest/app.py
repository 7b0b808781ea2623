"""The Tracking API as an ASGI app: checks size, JSON and write key, makes the body durable, responds.

Source: Segment's "HTTP Tracking API" and "Pixel Tracking API", and what its published libraries send.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from punchcard.clock import Clock, to_micros
from punchcard.errors import StorageError
from punchcard.events.malformed import SINGLE_EVENT_TO_BATCH, explain_malformed, is_single_event
from punchcard.events.notes import REFUSED_IN_STRICT_MODE
from punchcard.events.parse import BATCH, BATCH_BYTES_MAX, EVENT_BYTES_MAX, IngestFailure, open_request, read_request
from punchcard.ingest import http_responses
from punchcard.ingest.body import BodyReader, ClientGoneError, Receive
from punchcard.ingest.content import (
    TooLargeError,
    UnreadableBodyError,
    UnsupportedEncodingError,
    read_content,
    read_encodings,
)
from punchcard.ingest.cors import preflight
from punchcard.ingest.credentials import basic_key
from punchcard.ingest.http_responses import HttpResponse
from punchcard.ingest.pixel import pixel_body
from punchcard.ingest.rejections import Rejections
from punchcard.ingest.telemetry import IngestTelemetry
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import NewRecord

Scope = dict[str, Any]  # ASGI's own
Send = Callable[[dict[str, Any]], Awaitable[None]]

_SINGLE: Final = ("track", "identify", "page", "screen", "group", "alias")
# Call by path; browser and mobile libraries use the one-letter forms.
_CALLS: Final = {
    **{f"/v1/{call}": call for call in _SINGLE},
    "/v1/batch": BATCH,
    "/v1/import": BATCH,
}
_CLIENT_CALLS: Final = {**{f"/v1/{call[0]}": call for call in _SINGLE}, "/v1/b": BATCH}
_METRICS: Final = "/v1/m"
_PIXEL: Final = "/v1/pixel/"
_SETTINGS: Final = ("/v1/projects/", "/settings")
_SLASHES: Final = re.compile("/{2,}")
_WRITE_KEY_LENGTH_MAX: Final = 256
_UNUSUAL_HEADERS: Final = frozenset({b"content-encoding", b"x-punchcard-strict"})
_BODY: Final = "punchcard.body"  # in the scope: the part of the body that was read, to explain a rejection


def without_doubled_slashes(path: str) -> str:
    """Replace several slashes by one: libraries append a path to a host that ends with a slash."""
    return _SLASHES.sub("/", path) if "//" in path else path


def handles(path: str) -> bool:
    """Return whether a path belongs to the Tracking API."""
    return path.startswith("/v1/") and not path.startswith(("/v1/webhooks/", "/v1/spaces/"))


class TrackingApp:
    """The Tracking API.

    Args:
        commit: Makes bodies durable.
        keys: Returns whether a source has a write key.
        body_seconds: How long a client may take to send its body.
        public_url: `https://points.example.com`, the URL under which senders reach this process; "" uses their
            requests.
        rejections: Records requests with a 4xx response; None records nothing.

    Attributes:
        direct_calls: The calls that `submit` takes, by the target of their request line.
    """

    direct_calls: Final = {path.encode(): call for path, call in _CALLS.items()}

    def __init__(
        self,
        commit: GroupCommit,
        *,
        keys: Callable[[str], bool],
        clock: Clock,
        body_seconds: float,
        public_url: str = "",
        rejections: Rejections | None = None,
    ) -> None:
        self._public_url = public_url
        self._commit = commit
        self._rejections = rejections
        self._keys = keys
        self._clock = clock
        self._bodies = BodyReader(body_seconds)
        self._telemetry = IngestTelemetry()
        commit.on_commit = self._telemetry.records_appended

    def publish_counts(self) -> None:
        """Publish the counts since the last commit to the metrics."""
        self._telemetry.publish_counts()

    def submit(self, call: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> "asyncio.Future[int] | None":
        """Begin to make a request of `direct_calls` durable, if there is nothing unusual about it.

        Returns:
            Its position once it is durable; None, and nothing has happened, if `__call__` must respond to the request.
        """
        authorization = b""
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name in _UNUSUAL_HEADERS:
                return None
        # A body that begins otherwise may be compressed or have a byte order mark.
        if not body.startswith(b"{") or len(body) > (BATCH_BYTES_MAX if call == BATCH else EVENT_BYTES_MAX):
            return None
        opened = open_request(body)
        if opened is None or (call == BATCH and not opened.has_batch):
            return None
        write_key = basic_key(authorization) or opened.write_key or ""
        if not write_key or len(write_key) > _WRITE_KEY_LENGTH_MAX or not self._keys(write_key):
            return None
        try:
            return self._commit.submit(NewRecord(to_micros(self._clock.now()), write_key, call, "identity", body, ""))
        except StorageError:
            return None

    def response_to(self, call: str, durable: "asyncio.Future[int]") -> HttpResponse:
        """Return the response to a request that is durable now, or has failed."""
        error = durable.exception()
        if error is None:
            response = http_responses.SUCCESS
        else:
            response = self._storage_failed(error)
        self._telemetry.request_answered(call, response[0])
        return response

    def _storage_failed(self, error: BaseException) -> HttpResponse:
        if not isinstance(error, StorageError):
            raise error
        self._telemetry.append_failed(error=error.message)
        return http_responses.unavailable(error.message, error.code)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        path: str = scope["path"]
        call = _CALLS.get(path)
        name = call or path[4:][:16]
        try:
            if call is not None and scope["method"] == "POST":
                response = await self._take(scope, receive, call, ip="")
            else:
                name, response = await self._other(scope, receive, path)
        except ClientGoneError:
            return
        except TimeoutError:
            response = http_responses.TOO_SLOW
        except StorageError as error:
            response = self._storage_failed(error)
        status, start, body = response
        if 400 <= status < 500 and self._rejections is not None:
            self._rejections.record(scope, response, body=scope.get(_BODY, b""))
        self._telemetry.request_answered(name, status)
        await send(start)
        await send(body)

    async def _other(self, scope: Scope, receive: Receive, path: str) -> tuple[str, HttpResponse]:
        """Respond to everything except the server libraries' calls."""
        method = scope["method"]
        path = without_doubled_slashes(path)
        if len(path) > 1 and path.endswith("/"):
            path = path[:-1]
        if method == "OPTIONS":
            return "preflight", preflight(scope["headers"])
        if method == "HEAD":
            method = "GET"
        if path in _CALLS or path in _CLIENT_CALLS or path == _METRICS:
            if method != "POST":
                return "other", http_responses.ONLY_POST
            if path == _METRICS:
                await self._bodies.read(receive, bytes_max=BATCH_BYTES_MAX)
                return "metrics", http_responses.SUCCESS
            call = _CALLS.get(path) or _CLIENT_CALLS[path]
            ip = _client_ip(scope) if path in _CLIENT_CALLS else ""
            return call, await self._take(scope, receive, call, ip=ip)
        if path.startswith(_PIXEL) and path[len(_PIXEL) :] in _SINGLE:
            if method != "GET":
                return "other", http_responses.ONLY_GET
            return "pixel", await self._take_pixel(scope, path[len(_PIXEL) :])
        if path.startswith(_SETTINGS[0]) and path.endswith(_SETTINGS[1]):
            if method != "GET":
                return "other", http_responses.ONLY_GET
            return "settings", self._settings(scope, path[len(_SETTINGS[0]) : -len(_SETTINGS[1])])
        return "other", http_responses.NOT_FOUND

    async def _take(self, scope: Scope, receive: Receive, call: str, *, ip: str) -> HttpResponse:
        """Process a request with events in its body."""
        authorization = b""
        encodings: list[str] = []
        is_strict = False
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"content-encoding":
                encodings += read_encodings(value)
            elif name == b"x-punchcard-strict":
                is_strict = value.strip() == b"1"
        bytes_max = BATCH_BYTES_MAX if call == BATCH else EVENT_BYTES_MAX
        too_large = http_responses.BATCH_TOO_LARGE if call == BATCH else http_responses.EVENT_TOO_LARGE
        received = await self._bodies.read(receive, bytes_max=bytes_max)
        if received is None:
            return too_large
        scope[_BODY] = received
        try:
            body, is_gzip = read_content(received, encodings, bytes_max=bytes_max)
        except TooLargeError:
            return too_large
        except UnsupportedEncodingError:
            return http_responses.UNSUPPORTED_ENCODING
        except UnreadableBodyError as error:
            return http_responses.bad_request(str(error))
        scope[_BODY] = body
        opened = open_request(body)
        if opened is None:
            return http_responses.bad_request(explain_malformed(body))
        write_key = basic_key(authorization) or opened.write_key or ""
        if not write_key or len(write_key) > _WRITE_KEY_LENGTH_MAX:
            return http_responses.NO_WRITE_KEY
        if not self._keys(write_key):
            if is_strict:
                return http_responses.UNKNOWN_KEY
            self._telemetry.unknown_key_received(write_key)
        if call == BATCH and not opened.has_batch and is_single_event(opened.body):
            return http_responses.bad_request(SINGLE_EVENT_TO_BATCH)
        if is_strict and (refusal := self._strict_refusal(opened.body, call)) is not None:
            return refusal
        # Stored as received: gzip stays gzip, unless the text was changed.
        as_received = is_gzip and opened.body is body
        await self._append(
            write_key,
            call,
            body=received if as_received else opened.body,
            encoding="gzip" if as_received else "identity",
            ip=ip,
        )
        return http_responses.SUCCESS

    async def _append(self, write_key: str, call: str, *, body: bytes, encoding: str, ip: str) -> None:
        await self._commit.submit(NewRecord(to_micros(self._clock.now()), write_key, call, encoding, body, ip))

    def _strict_refusal(self, body: bytes, call: str) -> HttpResponse | None:
        """Reject the first event that would fail on ingest or lose data, so that the sender knows at once."""
        items = read_request(body, call=call, received_at=self._clock.now(), position=0)
        for index, item in enumerate(items):
            if isinstance(item, IngestFailure):
                return http_responses.fault(400, item.detail, code=item.reason, index=index)
            for note in item.notes:
                if note.reason in REFUSED_IN_STRICT_MODE:
                    # Without the replacement value, which is not used in strict mode.
                    detail = note.detail.rpartition("; ")[0] or note.detail
                    return http_responses.fault(400, detail, code=note.reason, index=index)
        return None

    async def _take_pixel(self, scope: Scope, call: str) -> HttpResponse:
        """Respond to a pixel with an image whatever it holds; only a storage failure is an error."""
        body = pixel_body(scope.get("query_string", b""))
        opened = open_request(body) if body is not None and len(body) <= EVENT_BYTES_MAX else None
        if opened is not None and opened.write_key:
            if not self._keys(opened.write_key):
                self._telemetry.unknown_key_received(opened.write_key)
            await self._append(opened.write_key, call, body=opened.body, encoding="identity", ip=_client_ip(scope))
        return http_responses.PIXEL

    def _settings(self, scope: Scope, write_key: str) -> HttpResponse:
        """Return the settings that Segment's browser and mobile libraries load before they send."""
        if not self._keys(write_key):
            return http_responses.UNKNOWN_SOURCE
        protocol, _, host = (self._public_url or url_of(scope)).partition("://")
        return http_responses.document(
            {
                "integrations": {
                    "Segment.io": {
                        "apiKey": write_key,
                        "apiHost": f"{host}/v1",
                        "protocol": protocol,
                        "retryQueue": True,
                        "unbundledIntegrations": [],
                        "addBundledMetadata": True,
                        "maybeBundledConfigIds": {},
                        "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
                    }
                },
                "plan": {
                    "track": {"__default": {"enabled": True, "integrations": {}}},
                    "identify": {"__default": {"enabled": True}},
                    "group": {"__default": {"enabled": True}},
                },
                "edgeFunction": {},
                "middlewareSettings": {"routingRules": []},
                "enabledMiddleware": {},
                "metrics": {"sampleRate": 0},
                "legacyVideoPluginsEnabled": False,
                "remotePlugins": [],
            }
        )


def url_of(scope: Scope) -> str:
    """Return the URL that a request was sent to, without its path."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
    return f"{scope.get('scheme', 'http')}://{host}"


def _client_ip(scope: Scope) -> str:
    """Return the sender's IPv4 address; Segment records no IPv6 addresses."""
    client = scope.get("client")
    return client[0] if client and ":" not in client[0] else ""

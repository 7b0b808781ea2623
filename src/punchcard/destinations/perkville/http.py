"""One request to Perkville over HTTP: headers, time-outs, and what is known of a request without a response."""

import asyncio
from datetime import datetime
from types import SimpleNamespace

import aiohttp
from yarl import URL

from punchcard import __version__
from punchcard.clock import Clock
from punchcard.destinations.perkville.responses import Operation, Response, error_of, error_of_exception
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import Request
from punchcard.errors import RetryableError

USER_AGENT = f"punchcard/{__version__}"
# A page of a thousand transactions is about 600 KB.
ANSWER_BYTES_MAX = 8 * 1024 * 1024
# Below the five seconds after which many servers close an idle connection: a request must not meet its end.
_KEEP_ALIVE_SECONDS = 4.0
_CHUNK_BYTES = 65_536
_OPERATIONS = {"GET": Operation.READ, "POST": Operation.BOOK, "PATCH": Operation.SET}


class _Sending:
    """Whether a request may have begun to leave: it cannot have before it was given a connection."""

    __slots__ = ("has_connection",)

    def __init__(self) -> None:
        self.has_connection = False


class Deadline:
    """When an operation of several requests must have ended, so that it ends before its lease.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + seconds

    def seconds_left(self) -> float:
        """Seconds that are left.

        Raises:
            RetryableError: none are.
        """
        left = self._ends_at - self._loop.time()
        if left <= 0:
            raise RetryableError(f"Perkville was too slow: {self._seconds:g} seconds were not enough", code="timeout")
        return left


class PerkvilleHttp:
    """Sends requests with the settings' token. One session, opened with the first request."""

    def __init__(self, settings: PerkvilleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request, *, deadline: Deadline) -> Response:
        """Send one request and read its response.

        Returns:
            A response of success with a JSON object; to a PATCH, it may also be empty.

        Raises:
            RetryableError: surely not performed: never sent, a read that failed or that nobody can read, or a response
                that says so.
            RejectedError: Perkville says no.
            CredentialsError: Perkville does not accept the token.
            OutcomeUnknownError: a write that may have been performed.
        """
        limit = min(deadline.seconds_left(), self._settings.delivery.request_timeout_seconds)
        response = await self._exchange(request, seconds=limit)
        error = error_of(
            response,
            self._settings.wire,
            operation=_OPERATIONS[request.method],
            now=self._now(),
            secret=self._settings.api_key,
        )
        if error is not None:
            raise error
        return response

    async def close(self) -> None:
        """Release the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(self, request: Request, *, seconds: float) -> Response:
        sending = _Sending()
        session = self._opened()
        try:
            # aiohttp sends a GET again by itself if a kept connection turns out closed, but never a POST or PATCH.
            async with session.request(
                request.method,
                URL(self._settings.api_base_url + request.path, encoded=True),
                data=request.body,
                headers={"Content-Type": "application/json"} if request.body is not None else None,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
                trace_request_ctx=sending,
            ) as response:
                return Response(status=response.status, headers=response.headers, body=await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise error_of_exception(exc, is_write=request.is_write, may_be_written=sending.has_connection) from exc

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_create_end.append(_on_connection)
            tracing.on_connection_reuseconn.append(_on_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._settings.delivery.concurrency, keepalive_timeout=_KEEP_ALIVE_SECONDS
                ),
                headers={
                    "Authorization": f"Bearer {self._settings.api_key}",
                    "Accept": "application/json",
                    "User-Agent": USER_AGENT,
                },
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[tracing],
            )
        return self._session

    def _now(self) -> datetime:
        return self._clock.now()


async def _on_connection(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceConnectionCreateEndParams | aiohttp.TraceConnectionReuseconnParams,
) -> None:
    sending = context.trace_request_ctx
    if isinstance(sending, _Sending):
        sending.has_connection = True


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    parts = bytearray()
    try:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            parts += chunk
            if len(parts) > ANSWER_BYTES_MAX:
                return None
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The status has come; the rest is lost.
        return None
    return bytes(parts)

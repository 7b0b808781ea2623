"""One request to Perkville over HTTP: headers, time-outs, and what is known of a request without a response."""

from datetime import datetime

from yarl import URL

from punchcard import __version__
from punchcard.clock import Clock
from punchcard.destinations.http_client import HttpClient, HttpDeadline, HttpError
from punchcard.destinations.perkville.responses import (
    Operation,
    Response,
    error_of,
    error_of_exception,
    read_response,
)
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import Request
from punchcard.errors import RetryableError

USER_AGENT = f"punchcard/{__version__}"
# A page of a thousand transactions is about 600 KB.
ANSWER_BYTES_MAX = 8 * 1024 * 1024
_OPERATIONS = {"GET": Operation.READ, "POST": Operation.BOOK, "PATCH": Operation.SET}


class Deadline(HttpDeadline):
    """When an operation of several requests must have ended, so that it ends before its lease.

    Args:
        seconds: From now on.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._seconds = seconds

    def seconds_left(self) -> float:
        """Seconds that are left.

        Raises:
            RetryableError: none are.
        """
        left = super().seconds_left()
        if left <= 0:
            raise RetryableError(f"Perkville was too slow: {self._seconds:g} seconds were not enough", code="timeout")
        return left


class PerkvilleHttp:
    """Sends requests with the settings' token."""

    def __init__(self, settings: PerkvilleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._client = HttpClient(
            settings.api_base_url,
            headers={
                "Authorization": f"Bearer {settings.api_key}",
                "Accept": "application/json",
                "User-Agent": USER_AGENT,
            },
            body_headers={"Content-Type": "application/json"},
            connections_max=settings.delivery.concurrency,
        )
        self._base_path = URL(settings.api_base_url).raw_path.rstrip("/")

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
        await self._client.close()

    async def _exchange(self, request: Request, *, seconds: float) -> Response:
        try:
            # A GET is sent again if a kept connection turns out closed, but never a POST or PATCH.
            response = await self._client.request(
                request.method,
                self._base_path + request.path,
                seconds=seconds,
                body=request.body,
                body_bytes_max=ANSWER_BYTES_MAX,
            )
        except HttpError as exc:
            raise error_of_exception(exc, is_write=request.is_write) from exc
        return read_response(response.status, response.body if response.is_complete else None, response.headers)

    def _now(self) -> datetime:
        return self._clock.now()

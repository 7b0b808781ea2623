"""Sends webhook calls over HTTP, one at a time or in batches. What was sent cannot be read back."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from yarl import URL

from punchcard import __version__
from punchcard.clock import Clock, SystemClock
from punchcard.destinations.host_lookup import Resolve, resolve
from punchcard.destinations.http_client import HttpClient, HttpDeadline, HttpError
from punchcard.destinations.network import NetworkPolicy
from punchcard.destinations.port import Effect, Finding, Performed
from punchcard.destinations.webhooks.connections import refused_addresses, socket_opener
from punchcard.destinations.webhooks.mapping import WebhookCall, read_call
from punchcard.destinations.webhooks.responses import error_of
from punchcard.destinations.webhooks.settings import WebhooksSettings
from punchcard.destinations.webhooks.signatures import signature_headers
from punchcard.errors import DeliveryError, OutcomeUnknownError, RejectedError, RetryableError

USER_AGENT: Final = f"punchcard/{__version__}"
_RESPONSE_BYTES_MAX: Final = 64 * 1024
# A refused batch is split to find the events that are meant. Each half is a request, so their number is limited.
_REQUESTS_PER_BATCH_MAX: Final = 32
Result = Performed | DeliveryError


@dataclass
class _Budget:
    """What is left for the parts of a refused batch."""

    requests: int
    deadline: HttpDeadline


class WebhooksClient:
    """Sends to one receiver with one set of settings.

    Args:
        network: To which addresses it may connect.
        clock: For signatures and for `Retry-After` dates.
        resolve: Finds the addresses of the receiver.
    """

    def __init__(
        self,
        settings: WebhooksSettings,
        *,
        network: NetworkPolicy,
        clock: Clock | None = None,
        resolve: Resolve = resolve,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._client = HttpClient(
            settings.url,
            headers={"Accept": "*/*", "User-Agent": USER_AGENT, **settings.headers},
            connections_max=settings.delivery.concurrency,
            open_socket=socket_opener(network),
            resolve=resolve,
        )
        self._target = URL(settings.url).raw_path_qs

    async def perform(self, effect: Effect) -> Performed:
        """Send one event.

        Raises:
            RetryableError: surely not taken, later perhaps; `address_not_allowed` if its host has a private address.
            RejectedError: the receiver does not take it.
            OutcomeUnknownError: perhaps taken.
        """
        seconds = self._settings.delivery.request_timeout_seconds
        return await self._send([read_call(effect.payload)], seconds=seconds)

    async def perform_batch(self, effects: Sequence[Effect]) -> Sequence[Result]:
        """Send several events by one request, and by smaller ones if the receiver refuses it.

        So one event that it does not take does not keep the others from it. Time and requests are limited; what was not
        sent by then is tried again later.
        """
        budget = _Budget(
            requests=_REQUESTS_PER_BATCH_MAX,
            deadline=HttpDeadline(self._settings.delivery.request_timeout_seconds),
        )
        return await self._send_split([read_call(effect.payload) for effect in effects], budget)

    async def check(self) -> Sequence[Finding]:
        """Say whether the receiver can be reached: by a HEAD request, which carries no event."""
        url = self._settings.url
        try:
            status = await self._exchange("HEAD", b"", {}, seconds=self._settings.delivery.request_timeout_seconds)
        except DeliveryError as error:
            if error.status is None:
                return [Finding(ok=False, subject="url", message=error.message)]
            status = error.status
        if 300 <= status < 400:
            message = f"{url} redirects elsewhere, which is not followed: enter the final address"
            return [Finding(ok=False, subject="url", message=message)]
        # Receivers of events often answer 404 or 405 to anything but a POST.
        return [Finding(ok=True, subject="url", message=f"{_host(url)} can be reached (status {status})")]

    async def verify(self) -> None:
        """Do nothing: a receiver's credentials cannot be checked without an event, and nothing is ever paused."""

    async def post(self, body: bytes, *, request_id: str) -> int:
        """Send a body of JSON, signed as events are; returns the status of a success.

        Args:
            request_id: The same in every try of the same body.

        Raises:
            DeliveryError: as `perform`.
        """
        return await self._post(body, request_id=request_id, seconds=self._settings.delivery.request_timeout_seconds)

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    async def _send_split(self, calls: Sequence[WebhookCall], budget: _Budget) -> list[Result]:
        seconds = budget.deadline.seconds_left()
        if budget.requests <= 0 or seconds <= 0:
            message = "the batch was refused, and its parts were not all sent yet"
            return [RetryableError(message, code="batch_refused")] * len(calls)
        budget.requests -= 1
        try:
            performed = await self._send(calls, seconds=seconds)
        except RejectedError as error:
            # Other refusals are about every request: of the credentials, say.
            if len(calls) == 1 or error.code != "webhook_refused":
                return [error] * len(calls)
        except DeliveryError as error:
            return [error] * len(calls)
        else:
            return [performed] * len(calls)
        middle = len(calls) // 2
        return [*await self._send_split(calls[:middle], budget), *await self._send_split(calls[middle:], budget)]

    async def _send(self, calls: Sequence[WebhookCall], *, seconds: float) -> Performed:
        body = request_body(calls, self._settings)
        status = await self._post(body, request_id=request_id(calls), seconds=seconds)
        return Performed(status=status, partner_id=None)

    async def _post(self, body: bytes, *, request_id: str, seconds: float) -> int:
        at = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json",
            **signature_headers(self._settings, body, request_id=request_id, at=at),
        }
        return await self._exchange("POST", body, headers, seconds=seconds)

    async def _exchange(self, method: str, body: bytes, headers: Mapping[str, str], *, seconds: float) -> int:
        """Send a request and return the status of a success."""
        refused: list[str] = []
        token = refused_addresses.set(refused)
        settings = self._settings
        try:
            response = await self._client.request(
                method,
                self._target,
                seconds=seconds,
                headers=headers,
                body=body or None,
                body_bytes_max=_RESPONSE_BYTES_MAX,
            )
        except HttpError as error:
            raise self._error_of(error, refused) from error
        finally:
            refused_addresses.reset(token)
        status = response.status
        secrets = (settings.shared_secret, *settings.headers.values())
        failed = error_of(status, response.headers, response.body, now=self._clock.now(), secrets=secrets)
        if failed is not None:
            raise failed
        return status

    def _error_of(self, error: HttpError, refused: Sequence[str]) -> DeliveryError:
        if refused and not error.may_be_sent:
            return RetryableError(
                f"{_host(self._settings.url)} has the private address {refused[0]}, so nothing was sent; to allow it, "
                "name its network in webhookAllowedNetworks of the workspace",
                code="address_not_allowed",
            )
        shown = f"{type(error).__name__}: {error}"[:300]
        if error.may_be_sent:
            return OutcomeUnknownError(f"the connection failed before the response came ({shown})")
        if isinstance(error, TimeoutError):
            return RetryableError(f"no connection in time ({shown})", code="timeout")
        return RetryableError(f"the receiver cannot be reached ({str(error)[:300]})", code="unreachable")


def request_body(calls: Sequence[WebhookCall], settings: WebhooksSettings) -> bytes:
    """Return the body of a request: the event, or a JSON array of events if the batch size is more than 1."""
    bodies = [bytes(call.body) for call in calls]
    return bodies[0] if settings.batch_size == 1 else b"[" + b",".join(bodies) + b"]"


def request_id(calls: Sequence[WebhookCall]) -> str:
    """Return the id of a request, the same in every try of the same events: the message id, or a hash of several."""
    if len(calls) == 1:
        return calls[0].message_id
    return "batch_" + hashlib.sha256("\n".join(call.message_id for call in calls).encode()).hexdigest()[:32]


def _host(url: str) -> str:
    return URL(url).host or url

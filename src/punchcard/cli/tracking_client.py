"""HTTP client of the Tracking API with one persistent connection."""

import base64
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from punchcard import __version__
from punchcard.errors import ConfigurationError, PunchcardError

_TIMEOUT_SECONDS = 30.0
_RESPONSE_BYTES_MAX = 65_536


class UnreachableError(PunchcardError):
    """The server did not respond."""

    code = "server_unreachable"


@dataclass(frozen=True, kw_only=True)
class TrackingResponse:
    """A response of the Tracking API.

    Attributes:
        message: Reason, if the status is not 200.
        index: Index of the refused event in a batch, None if the server did not send it.
        retry_after_seconds: Time to wait requested by the server, None for none.
    """

    status: int
    message: str
    index: int | None
    retry_after_seconds: float | None

    @property
    def is_accepted(self) -> bool:
        """True if the events are durable."""
        return self.status == 200

    @property
    def is_retryable(self) -> bool:
        """True if the same request may succeed later."""
        return self.status >= 500 or self.status in (408, 429)


class TrackingClient:
    """Posts to the Tracking API at `url` with one write key, in strict mode: invalid events are refused immediately.

    Args:
        url: `http://host:port`, optionally with a path before `/v1`.

    Raises:
        ConfigurationError: The URL is invalid, or the write key cannot be sent.
    """

    def __init__(self, url: str, write_key: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"--url {url}: {error}.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"--url {url}: Use http://HOST:PORT or https://HOST.")
        if not write_key or not write_key.isascii() or not write_key.isprintable() or ":" in write_key:
            raise ConfigurationError("--write-key: Use printable ASCII characters without a colon.")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=_TIMEOUT_SECONDS)
        self._path = parts.path
        self._headers = {
            "Authorization": "Basic " + base64.b64encode(f"{write_key}:".encode()).decode(),
            "Content-Type": "application/json",
            "User-Agent": f"punchcard/{__version__}",
            "X-Punchcard-Strict": "1",
        }

    def post(self, call: str, body: bytes) -> TrackingResponse:
        """Post to `/v1/<call>`.

        Raises:
            UnreachableError: There was no response. The body may have been accepted: send it again unchanged.
        """
        status, headers, text = self._request("POST", f"/v1/{call}", body)
        message, index = _parse_reason(text)
        return TrackingResponse(
            status=status,
            message=message,
            index=index,
            retry_after_seconds=_seconds(headers.get("retry-after")),
        )

    def instance(self) -> str | None:
        """Return the id of the server's storage, None if the server does not send it.

        Raises:
            UnreachableError: There was no response.
        """
        status, _, text = self._request("GET", "/health/ready", None)
        try:
            response = json.loads(text)
        except ValueError:
            return None
        instance = response.get("instance") if status == 200 and isinstance(response, dict) else None
        return instance if isinstance(instance, str) and instance else None

    def call_api(self, method: str, path: str, body: bytes | None, *, token: str) -> bytes:
        """Call the Public API at the same URL; return the body of the response, "" if the status is not 200.

        Raises:
            UnreachableError: There was no response.
        """
        headers = {**self._headers, "Authorization": f"Bearer {token}"}
        status, _, text = self._request(method, path, body, headers=headers)
        return text.encode() if status == 200 else b""

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()

    def _request(
        self, method: str, path: str, body: bytes | None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        try:
            self._connection.request(method, self._path + path, body=body, headers=headers or self._headers)
            if self._connection.sock is not None:
                # Headers and body are sent as two segments, which must not wait for an acknowledgement.
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            response = self._connection.getresponse()
            content = response.read(_RESPONSE_BYTES_MAX)
            if not response.isclosed():
                self._connection.close()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise UnreachableError(f"{self.url}: {_describe_error(error)}.") from error
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, content.decode(errors="replace")


def _parse_reason(text: str) -> tuple[str, int | None]:
    """Return the reason in a response's body, and the index of the refused event."""
    try:
        response = json.loads(text)
    except ValueError:
        response = None
    if not isinstance(response, dict) or not isinstance(response.get("message"), str):
        return " ".join(text.split())[:200], None
    code, index = response.get("code"), response.get("index")
    message = response["message"] + (f" ({code})" if isinstance(code, str) else "")
    return message, index if isinstance(index, int) else None


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.strip().isdecimal() else None


def _describe_error(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "No server is listening (connection refused)"
    if isinstance(error, socket.gaierror):
        return f"There is no such host ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "No response in time"
    return f"The connection broke ({type(error).__name__}: {error})"

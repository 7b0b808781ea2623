"""Record the newest requests with a 4xx response, to show why events do not arrive.

An attacker can send millions of them. So they wait in memory, few for each source and never many in total, and are
written to the store in one small unit of work per second; the others are dropped.
"""

import asyncio
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.ingest.credentials import basic_key
from punchcard.ingest.http_responses import HttpResponse
from punchcard.ingest.telemetry import IngestTelemetry
from punchcard.store.engine import Store
from punchcard.store.ingest.rejected_requests import RejectedRequest, add_rejected_requests

BODY_START_BYTES: Final = 500
_SECONDS_BETWEEN_WRITES: Final = 1.0
_WAITING_PER_SENDER: Final = 10
_SENDERS_MAX: Final = 50
_SEARCHED_BYTES: Final = 8_192  # at either end of a body, so that its size costs no time
_IPV4_BITS, _IPV6_BITS = 24, 48
_WRITE_KEY: Final = re.compile(rb'"writeKey"\s*:\s*"([^"\\]{1,256})"')
_LIBRARY: Final = re.compile(rb'"library"\s*:\s*\{([^{}]{1,300})\}')
_LIBRARY_MEMBER: Final = re.compile(rb'"(name|version)"\s*:\s*"([^"\\]{1,60})"')
# Also as escaped in forms and JSON.
_EMAIL: Final = re.compile(r"[^\s\"'<>,;:={}\[\]&]+(?:@|%40|\\u0040)[^\s\"'<>,;:={}\[\]&]+", re.IGNORECASE)
# Also in single quotes, as in text that is not JSON; the end of the text may cut a value off.
_SECRET_MEMBER: Final = re.compile(
    r"([\"'][^\"']{0,40}(?:key|token|secret|password|passwd|authorization|cookie|session|phone|e-?mail)[^\"']{0,40}[\"']"
    r"\s*:\s*)(\"(?:[^\"\\]|\\.)*(?:\"|\\?\Z)|'(?:[^'\\]|\\.)*(?:'|\\?\Z)|[^\s,{}\[\]]+)",
    re.IGNORECASE,
)
_SECRET_FIELD: Final = re.compile(r"((?:key|token|secret|password|phone|e-?mail)=)[^&\s]+", re.IGNORECASE)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_\-.+/]{20,}={0,2}")
_CARD: Final = re.compile(r"(?<!\d)(?:\d[ -]?){13,18}\d(?!\d)")
_MASK: Final = "***"


class _Message(msgspec.Struct):
    message: str = ""
    code: str = ""


_message = msgspec.json.Decoder(_Message)


class Rejections:
    """The rejected requests of one serving process. For one event loop.

    Args:
        source_of: Returns the slug of the source with a write key, None if there is none.
    """

    def __init__(self, store: Store, *, source_of: Callable[[str], str | None], clock: Clock) -> None:
        self._store = store
        self._source_of = source_of
        self._clock = clock
        self._telemetry = IngestTelemetry()
        # By source and network, so that a busy sender takes no space from the others.
        self._waiting: dict[tuple[str, str], list[RejectedRequest]] = {}
        self._writing: asyncio.Task[None] | None = None

    def record(self, scope: dict[str, Any], response: HttpResponse, *, body: bytes, write_key: str = "") -> None:
        """Record a request with a 4xx response; it is stored within seconds.

        Args:
            scope: The ASGI scope of the request.
            body: The part of the body that was read; decompressed if that succeeded.
            write_key: The write key in the path; otherwise it is searched for in the headers and in the body.
        """
        headers = dict(scope["headers"])
        write_key = write_key or basic_key(headers.get(b"authorization", b"")) or _found_write_key(body)
        source = (self._source_of(write_key) if write_key else None) or ""
        network = _network(scope)
        sender = (source, "" if source else network)
        waiting = self._waiting.setdefault(sender, [])
        if len(waiting) >= _WAITING_PER_SENDER or (not source and len(self._waiting) > _SENDERS_MAX):
            return
        status, _, content = response
        decoded = _message.decode(content["body"] or b"{}")
        waiting.append(
            RejectedRequest(
                source=source,
                received_at=self._clock.now(),
                path=_masked_path(scope["path"][:128], write_key),
                status=status,
                reason=decoded.code,
                message=decoded.message,
                network=network,
                user_agent=masked(headers.get(b"user-agent", b"").decode("latin-1")[:200], write_key),
                library=_library(body),
                body_bytes=len(body),
                body_start=masked(_text_of(body[:BODY_START_BYTES]), write_key),
            )
        )
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def close(self) -> None:
        """Store the waiting requests at once."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write()

    async def _write_soon(self) -> None:
        await asyncio.sleep(_SECONDS_BETWEEN_WRITES)
        await self._write()
        self._writing = None

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        requests = sorted(
            (request for queue in waiting.values() for request in queue), key=lambda request: request.received_at
        )
        if requests:
            await asyncio.to_thread(self._store_now, requests)

    def _store_now(self, requests: Sequence[RejectedRequest]) -> None:
        try:
            with self._store.unit_of_work() as work:
                add_rejected_requests(work, requests)
        except StorageError as error:
            # They are only an aid, not events: they are dropped while the store is not available.
            self._telemetry.rejected_requests_lost(count=len(requests), error=error.message)


def masked(text: str, write_key: str = "") -> str:
    """Mask what must not be readable on a page: keys, tokens, emails, card numbers, control characters."""
    if len(write_key) > 2:
        text = text.replace(write_key, _MASK)
    text = _SECRET_MEMBER.sub(rf'\1"{_MASK}"', text)
    text = _SECRET_FIELD.sub(rf"\1{_MASK}", text)
    text = _EMAIL.sub(_MASK, text)
    text = _TOKEN.sub(_mask_token, text)
    text = _CARD.sub(_MASK, text)
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def _masked_path(path: str, write_key: str) -> str:
    """Mask each part of a path separately: a path is long, and its other parts show which call was meant."""
    return "/".join(masked(part, write_key) for part in path.split("/"))


def _text_of(body_start: bytes) -> str:
    """Return the text of the first bytes; UTF-16 is decoded, so that it is readable and masked."""
    if body_start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return body_start.decode("utf-16", errors="replace")
    if b"\0" in body_start[:2]:
        return body_start.decode("utf-16-be" if body_start.startswith(b"\0") else "utf-16-le", errors="replace")
    return body_start.decode(errors="replace")


def _mask_token(token: re.Match[str]) -> str:
    """Mask long runs with letters and digits, which are keys or tokens; except UUIDs, which are message ids."""
    text = token[0]
    is_secret = any(map(str.isdigit, text)) and any(map(str.isalpha, text)) and not _UUID.search(text)
    return _MASK if is_secret else text


def _found_write_key(body: bytes) -> str:
    """Find the write key in a body that may not be JSON."""
    match = _WRITE_KEY.search(body[:_SEARCHED_BYTES]) or _WRITE_KEY.search(body[-_SEARCHED_BYTES:])
    return match[1].decode(errors="replace") if match else ""


def _library(body: bytes) -> str:
    match = _LIBRARY.search(body[:_SEARCHED_BYTES]) or _LIBRARY.search(body[-_SEARCHED_BYTES:])
    members = dict(_LIBRARY_MEMBER.findall(match[1])) if match else {}
    words = [members[name].decode(errors="replace") for name in (b"name", b"version") if name in members]
    return "".join(character for character in " ".join(words) if character.isprintable())


def _network(scope: dict[str, Any]) -> str:
    client = scope.get("client")
    try:
        address = ipaddress.ip_address(client[0]) if client else None
    except ValueError:
        address = None
    if address is None:
        return ""
    bits = _IPV4_BITS if address.version == 4 else _IPV6_BITS
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))

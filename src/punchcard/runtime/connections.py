"""The open connections of a server: how many are allowed, and which are closed when there are too many."""

import asyncio
import heapq
import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from punchcard.runtime.descriptors import raise_descriptor_limit
from punchcard.runtime.settings import Settings
from punchcard.runtime.telemetry import ConnectionTelemetry

# Descriptors reserved for databases, the log, the lake's files, and pipes to the worker.
_RESERVED_DESCRIPTORS: Final = 256
# When the table is full, several connections are closed at once, so that not every new one costs a scan.
_CLOSED_SHARE: Final = 50
_SWEEP_SECONDS_MAX: Final = 1.0
_LINE_BYTES_MAX: Final = 65_535  # of the parser
_LOOPBACK: Final = "127.0.0.0/8, ::1/128"


class Activity(StrEnum):
    """The state of a connection, in the order in which connections are closed when there are too many."""

    SILENT = "silent"  # nothing was received yet
    IDLE = "idle"  # waits for its next request
    HEAD = "head"  # a request line and headers are arriving
    BODY = "body"  # a body is arriving
    BUSY = "busy"  # the request is complete and a response is being sent: never closed


class Reason(StrEnum):
    """Why a connection was closed or a request refused before it reached an application: label of a metric."""

    MALFORMED = "malformed"
    URI_TOO_LONG = "uri_too_long"
    HEADERS_TOO_LARGE = "headers_too_large"
    SLOW_HANDSHAKE = "slow_handshake"
    SLOW_HEAD = "slow_head"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"
    UNREAD_BODY = "unread_body"
    TOO_MANY_PIPELINED = "too_many_pipelined"
    BODIES_FULL = "bodies_full"
    CONNECTIONS_FULL = "connections_full"
    ADDRESS_FULL = "address_full"


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """Limits of a server for clients before their requests reach an application.

    Attributes:
        line_bytes_max: Bytes of the target in a request line.
        headers_bytes_max: Bytes of the names and values of a request's headers.
        headers_max: Number of headers of a request.
        head_seconds: From the first byte of a request (or from accepting the connection) to the end of its headers.
        body_seconds: From the end of the headers to the end of the body; also how long a client may not read its
            response.
        keep_alive_seconds: How long a connection waits for its next request.
        connections_max: Number of connections in total.
        per_address_max: Number of connections from one address that is not exempt.
        bodies_bytes_max: Bytes of all incomplete bodies together.
        exempt: Networks without a limit per address: this machine, and proxies.
    """

    line_bytes_max: int
    headers_bytes_max: int
    headers_max: int
    head_seconds: float
    body_seconds: float
    keep_alive_seconds: float
    connections_max: int
    per_address_max: int
    bodies_bytes_max: int
    exempt: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()


def limits_of(settings: Settings) -> HttpLimits:
    """Return the limits of one serving process."""
    return HttpLimits(
        line_bytes_max=min(settings.request_line_bytes_max, _LINE_BYTES_MAX),
        headers_bytes_max=settings.request_headers_bytes_max,
        headers_max=settings.request_headers_max,
        head_seconds=settings.request_head_seconds,
        body_seconds=settings.request_body_seconds,
        keep_alive_seconds=settings.keep_alive_seconds,
        connections_max=settings.connections_max,
        per_address_max=settings.connections_per_address_max,
        bodies_bytes_max=settings.request_bodies_bytes_max,
        exempt=parse_networks(f"{_LOOPBACK}, {settings.trusted_proxies}"),
    )


class Connection(Protocol):
    """A connection in the table. Times are those of the event loop."""

    address: str
    since: float
    deadline: float

    def activity(self) -> Activity:
        """Return what the connection is doing."""

    def expire(self, now: float) -> None:
        """Handle a deadline that has passed."""

    def close_for(self, reason: Reason) -> None:
        """Close the connection, with 503 if a request is in progress."""


class Connections:
    """The connections of one event loop.

    Args:
        limits: The limits; `connections_max` is lowered to the number of descriptors that the process may use.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.telemetry = ConnectionTelemetry()
        self.connections_max = _allowed_connections(limits.connections_max)
        if self.connections_max < limits.connections_max:
            self.telemetry.connections_limited(requested=limits.connections_max, allowed=self.connections_max)
        self._open: set[Connection] = set()
        self._closing: set[Connection] = set()  # no longer counted, but watched until they are gone
        self._by_address: Counter[str] = Counter()
        self._bodies: dict[Connection, int] = {}  # bytes received; the oldest body comes first
        self._bodies_bytes = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, address: str) -> Reason | None:
        """Make room for a connection from this address; return the reason if there is none."""
        if not self._is_exempt(address) and self._by_address[_counted(address)] >= self.limits.per_address_max:
            key = _counted(address)
            if not self._make_room(Reason.ADDRESS_FULL, lambda connection: _counted(connection.address) == key):
                return Reason.ADDRESS_FULL
        if len(self._open) >= self.connections_max and not self._make_room(Reason.CONNECTIONS_FULL):
            return Reason.CONNECTIONS_FULL
        return None

    def make_room(self) -> bool:
        """Close connections because of a shortage of descriptors; False if there is nothing to close."""
        return self._make_room(Reason.CONNECTIONS_FULL)

    def add(self, connection: Connection) -> None:
        """Add an accepted connection."""
        self._open.add(connection)
        self.telemetry.connections_counted(len(self._open))
        self._by_address[_counted(connection.address)] += 1
        if self._sweeping is None:
            self._schedule()

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection; removing it again has no effect."""
        self._uncount(connection)
        self._closing.discard(connection)
        self.release_body(connection)

    def hold_body(self, connection: Connection, size_bytes: int) -> None:
        """Record the size of an incomplete body. If all together are too large, the oldest are refused."""
        self._bodies_bytes += size_bytes - self._bodies.get(connection, 0)
        self._bodies[connection] = size_bytes
        while self._bodies_bytes > self.limits.bodies_bytes_max:
            oldest = next(iter(self._bodies))
            self.release_body(oldest)
            oldest.close_for(Reason.BODIES_FULL)

    def release_body(self, connection: Connection) -> None:
        """Release a body that is complete or no longer stored."""
        self._bodies_bytes -= self._bodies.pop(connection, 0)

    def stop(self) -> None:
        """Stop watching for late connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _make_room(self, reason: Reason, concerns: Callable[[Connection], bool] = lambda _: True) -> bool:
        by_activity: dict[Activity, list[Connection]] = {}
        for connection in self._open:
            if concerns(connection):
                by_activity.setdefault(connection.activity(), []).append(connection)
        by_activity.pop(Activity.BUSY, None)
        if not by_activity:
            return False
        first = by_activity[min(by_activity, key=list(Activity).index)]
        for connection in heapq.nsmallest(
            max(1, len(first) // _CLOSED_SHARE), first, key=lambda connection: connection.since
        ):
            self._uncount(connection)
            self._closing.add(connection)
            connection.close_for(reason)
        return True

    def _uncount(self, connection: Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self.telemetry.connections_counted(len(self._open))
            key = _counted(connection.address)
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]

    def _is_exempt(self, address: str) -> bool:
        try:
            parsed = _parsed(address)
        except ValueError:
            return True  # not an address: a socket of this machine
        return any(parsed in network for network in self.limits.exempt)

    def _schedule(self) -> None:
        limits = self.limits
        shortest = min(limits.head_seconds, limits.body_seconds)
        seconds = min(_SWEEP_SECONDS_MAX, shortest / 4)
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        watched = (*self._open, *self._closing)
        for connection in watched:
            if connection.deadline <= now:
                connection.expire(now)
        self._sweeping = None
        if self._open or self._closing:
            self._schedule()


def parse_networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Parse a comma-separated list of addresses and networks.

    Raises:
        ValueError: An item is neither.
    """
    return [ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed


def _counted(address: str) -> str:
    """Return the key by which connections are counted: an IPv6 address counts as its network of 2⁶⁴ addresses."""
    if ":" not in address:
        return address
    try:
        parsed = _parsed(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _allowed_connections(requested: int) -> int:
    """Return how many of the requested connections the descriptors allow; raise the process's own limit if possible."""
    allowed = raise_descriptor_limit(requested + _RESERVED_DESCRIPTORS)
    if allowed is None:
        return requested
    return max(1, min(requested, allowed - min(_RESERVED_DESCRIPTORS, allowed // 2)))

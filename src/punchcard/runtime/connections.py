"""The open connections of a server: how many there may be, and which are closed when there are too many."""

import asyncio
import heapq
import ipaddress
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from punchcard.runtime.telemetry import ConnectionTelemetry

# Descriptors that connections may not take: databases, the log, the lake's files, pipes to the worker.
_RESERVED_DESCRIPTORS: Final = 256
# When the table is full, more than one connection is closed, so that not every newcomer costs a look at all of them.
_CLOSED_SHARE: Final = 50
_SWEEP_SECONDS_MAX: Final = 1.0


class Activity(StrEnum):
    """What a connection is doing, in the order in which a shortage closes them. Others are never closed by it."""

    SILENT = "silent"  # it has sent nothing yet
    IDLE = "idle"  # it waits for its next request
    HEAD = "head"  # a request line and headers are arriving
    BODY = "body"  # a body is arriving
    BUSY = "busy"  # its request is whole and is being answered: never closed by a shortage


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
    """What clients may take of a server before their requests reach an application.

    Attributes:
        line_bytes_max: Of the target in a request line.
        headers_bytes_max: Of the names and values of a request's headers.
        headers_max: How many headers a request has.
        head_seconds: From the first byte of a request (or from accepting the connection) to the end of its headers.
        body_seconds: From the end of the headers to the end of the body; also how long a client may take no bytes of
            its response.
        keep_alive_seconds: How long a connection waits for its next request.
        connections_max: In all.
        per_address_max: From one address that is not exempt.
        bodies_bytes_max: Of all bodies together that have not arrived whole.
        exempt: Networks whose connections are not counted by address: this machine, and proxies.
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


class Connection(Protocol):
    """What the table knows of a connection. Times are the event loop's."""

    address: str
    since: float
    deadline: float

    def activity(self) -> Activity:
        """What it is doing."""

    def expire(self, now: float) -> None:
        """Its deadline has passed."""

    def close_for(self, reason: Reason) -> None:
        """Close it, with 503 where a request is under way."""


class Connections:
    """The connections of one event loop.

    Args:
        limits: `connections_max` is lowered to what the process's descriptors allow.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.telemetry = ConnectionTelemetry()
        self.connections_max = _allowed_connections(limits.connections_max)
        if self.connections_max < limits.connections_max:
            self.telemetry.connections_limited(wanted=limits.connections_max, allowed=self.connections_max)
        self._open: set[Connection] = set()
        self._closing: set[Connection] = set()  # not counted any more, but watched until they are gone
        self._by_address: Counter[str] = Counter()
        self._bodies: dict[Connection, int] = {}  # bytes held, the body that began first comes first
        self._bodies_bytes = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, address: str) -> Reason | None:
        """Make room for a connection from this address; the reason if there is none."""
        if not self._is_exempt(address) and self._by_address[_counted(address)] >= self.limits.per_address_max:
            key = _counted(address)
            if not self._make_room(Reason.ADDRESS_FULL, lambda connection: _counted(connection.address) == key):
                return Reason.ADDRESS_FULL
        if len(self._open) >= self.connections_max and not self._make_room(Reason.CONNECTIONS_FULL):
            return Reason.CONNECTIONS_FULL
        return None

    def make_room(self) -> bool:
        """Close what a shortage of descriptors closes first; False if there is nothing to close."""
        return self._make_room(Reason.CONNECTIONS_FULL)

    def add(self, connection: Connection) -> None:
        """A connection was accepted."""
        self._open.add(connection)
        self._by_address[_counted(connection.address)] += 1
        if self._sweeping is None:
            self._schedule()

    def remove(self, connection: Connection) -> None:
        """A connection is gone; removing it again changes nothing."""
        self._uncount(connection)
        self._closing.discard(connection)
        self.release_body(connection)

    def hold_body(self, connection: Connection, size_bytes: int) -> None:
        """A body has grown to this size and is not whole. If all are too large together, the first ones are refused."""
        self._bodies_bytes += size_bytes - self._bodies.get(connection, 0)
        self._bodies[connection] = size_bytes
        while self._bodies_bytes > self.limits.bodies_bytes_max:
            oldest = next(iter(self._bodies))
            self.release_body(oldest)
            oldest.close_for(Reason.BODIES_FULL)

    def release_body(self, connection: Connection) -> None:
        """A body is whole, or is not kept any more."""
        self._bodies_bytes -= self._bodies.pop(connection, 0)

    def stop(self) -> None:
        """Stop looking for late connections."""
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
            key = _counted(connection.address)
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]

    def _is_exempt(self, address: str) -> bool:
        try:
            parsed = _parsed(address)
        except ValueError:
            return True  # no address at all: a socket of this machine
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
    """The networks of a comma-separated list of addresses and networks.

    Raises:
        ValueError: one of them is neither.
    """
    return [ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed


def _counted(address: str) -> str:
    """The address that connections are counted by: who has one IPv6 address has the 2⁶⁴ beside it too."""
    if ":" not in address:
        return address
    try:
        parsed = _parsed(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _allowed_connections(wanted: int) -> int:
    """So many of the wanted connections as descriptors allow; the process's own limit is raised where it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        with suppress(OSError, ValueError):  # some systems have a lower limit than the one that they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - min(_RESERVED_DESCRIPTORS, soft // 2)))

"""Connections that reach only allowed addresses, checked on the resolved address of every single connection.

A check of the host name alone is not enough: a name may resolve to a public address when it is checked and to a private
one when the connection is opened (DNS rebinding). So the check stands where the socket is made, and a request that is
refused there has not sent a byte.
"""

import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from punchcard.destinations.network import NetworkPolicy

if TYPE_CHECKING:
    import aiohttp

# Below the five seconds after which many servers close an idle connection: a request must not meet its end.
_KEEP_ALIVE_SECONDS = 4.0

refused_addresses: ContextVar[list[str] | None] = ContextVar("refused_addresses", default=None)
"""Where the addresses are noted that a request was not allowed to connect to; set per request."""


class AddressNotAllowedError(OSError):
    """The resolved address is private, and the workspace does not allow its network."""


def open_connector(network: NetworkPolicy, *, limit: int) -> "aiohttp.TCPConnector":
    """Return a connector of aiohttp that makes sockets only to addresses that the policy permits.

    For destinations of your own with clients that use aiohttp.
    """
    import aiohttp  # only with such a destination

    return aiohttp.TCPConnector(
        limit=limit,
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        use_dns_cache=False,
        socket_factory=socket_opener(network),
    )


def socket_opener(network: NetworkPolicy) -> Callable[[Any], socket.socket]:
    """Return what makes sockets only to addresses that the policy permits.

    It is given an address as `socket.getaddrinfo` returns it, and raises AddressNotAllowedError to refuse it.
    """

    def open_socket(address_info: Any) -> socket.socket:
        family, type_, protocol, _, address = address_info
        host = str(address[0])
        if not network.permits(host):
            noted = refused_addresses.get()
            if noted is not None:
                noted.append(host)
            raise AddressNotAllowedError(f"{host} is not a public address")
        return socket.socket(family=family, type=type_, proto=protocol)

    return open_socket

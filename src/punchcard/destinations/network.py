"""The addresses to which a destination may connect if its URL is typed into a form. Pure.

A URL that a user enters must not reach into the network that Punchcard runs in: neighbouring machines, its own other
ports, the metadata service of a cloud. Only public addresses are allowed, and the networks that the workspace names.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_BYTES_OF_IPV4: Final = 4


@dataclass(frozen=True, kw_only=True)
class NetworkPolicy:
    """The addresses that may be connected to: public ones, and those of `allowed`."""

    allowed: tuple[Network, ...] = ()

    def permits(self, address: str) -> bool:
        """Return whether a connection to this resolved address is allowed; False for what is not an address."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        spellings = _spellings(parsed)
        if any(address in network for network in self.allowed for address in spellings):
            return True
        return all(address.is_global and not (address.is_multicast or address.is_reserved) for address in spellings)


PUBLIC_ONLY: Final = NetworkPolicy()
"""Allows public addresses only."""


def is_address(host: str) -> bool:
    """Return whether a host is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of texts such as `10.0.0.0/8`.

    Raises:
        ValueError: one of them is not a network; the message says which.
    """
    return tuple(ipaddress.ip_network(text.strip()) for text in texts)


def _spellings(address: Address) -> Sequence[Address]:
    """Return the addresses that this one leads to: an IPv6 address may hold one of IPv4, and its rules count too."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]  # the same host, in another spelling
    if address in _NAT64:
        return [ipaddress.IPv4Address(address.packed[-_BYTES_OF_IPV4:])]  # how IPv6-only networks reach IPv4 hosts
    spellings: list[Address] = [address]
    if address.sixtofour is not None:
        spellings.append(address.sixtofour)
    if address.teredo is not None:
        spellings += address.teredo
    return spellings

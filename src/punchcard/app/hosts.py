"""The host names that the App responds to.

Any website can make a browser send requests to this machine by pointing its own name at 127.0.0.1 (DNS rebinding); the
browser then treats both as one site. Therefore the App responds only to names that the operator lists.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from punchcard.destinations.network import is_address

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_UNSPECIFIED = frozenset({"", "0.0.0.0", "::"})
_PORT_MAX = 65_535


@dataclass(frozen=True, kw_only=True)
class AllowedHosts:
    """Allowed values of the header `Host`.

    Attributes:
        names: Host names and addresses, lower-cased, without ports. `*.acme.example` stands for every name below
            acme.example, `*` for any name.
        addresses: True if any IP address is allowed. Addresses cannot be rebound, but only a server that listens on the
            network is reached by one.
    """

    names: frozenset[str] = _LOOPBACK_NAMES
    addresses: bool = False

    @classmethod
    def read(cls, setting: str, *, listening: str, public_url: str = "") -> "AllowedHosts":
        """Return the hosts of the setting `allowed_hosts`, besides this machine's own.

        Args:
            setting: Names separated by commas.
            listening: The address that the server listens on.
            public_url: The URL at which browsers reach the server, "" if none is set.
        """
        configured = {name.strip().lower().rstrip(".").strip("[]") for name in setting.split(",") if name.strip()}
        is_open = listening in _UNSPECIFIED
        own = set() if is_open else {listening.lower()}
        if public_host := urlsplit(public_url).hostname:
            own.add(public_host)
        return cls(names=_LOOPBACK_NAMES | configured | own, addresses=is_open)

    def allows(self, header: str) -> bool:
        """Return True if requests with this `Host` are allowed.

        Args:
            header: Value as it was sent, with or without a port.
        """
        host = _parse_host(header)
        if host is None:
            return False
        if host in self.names or "*" in self.names or host.endswith(".localhost"):
            return True
        if any(name.startswith("*.") and host.endswith(name[1:]) for name in self.names):
            return True
        return self.addresses and is_address(host)


def _parse_host(header: str) -> str | None:
    """Return the host without its port, in lower case; None if the header is not a host."""
    text = header.strip().lower()
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or not is_address(host) or (port and not port.startswith(":")):
            return None
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdecimal() and int(port) <= _PORT_MAX):
        return None
    host = host.rstrip(".")
    is_plain = all(character.isalnum() or character in "-._:" for character in host) and host.isascii()
    return host if host and is_plain else None

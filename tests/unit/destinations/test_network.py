"""Only public addresses are reached, in whatever spelling a private one comes, unless its network is allowed."""

import pytest

from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy, read_networks


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1946", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert PUBLIC_ONLY.permits(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # carrier-grade NAT
        "169.254.169.254",  # metadata of a cloud
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::a00:1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "::127.0.0.1",  # the old form of an IPv4 address
        "not an address",
        "",
    ],
)
def test_private_addresses_are_refused_in_every_spelling(address: str) -> None:
    assert not PUBLIC_ONLY.permits(address)


@pytest.mark.parametrize(
    ("network", "address", "is_allowed"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", True),  # public
        ("10.0.0.0/8", "192.168.1.1", False),
        ("10.0.0.0/8", "127.0.0.1", False),
        ("127.0.0.1/32", "127.0.0.1", True),
        ("127.0.0.1/32", "127.0.0.2", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fe80::1", False),
    ],
)
def test_a_named_network_is_allowed_and_no_other(network: str, address: str, *, is_allowed: bool) -> None:
    assert NetworkPolicy(allowed=read_networks([network])).permits(address) is is_allowed


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.1.2.3/8", "example.com", "any"])
def test_what_is_not_a_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_networks([text])

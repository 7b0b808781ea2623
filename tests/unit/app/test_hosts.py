"""The App answers under the names of this machine and those that the operator lists."""

import pytest

from punchcard.app.hosts import AllowedHosts

LOOPBACK = AllowedHosts.read("", listening="127.0.0.1")
NETWORK = AllowedHosts.read("points.acme.example, *.gym.example,[2001:db8::1]", listening="0.0.0.0")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:8080",
        "localhost.:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]",
        "app.localhost:8080",
    ],
)
def test_this_machine_is_always_allowed(host: str) -> None:
    assert LOOPBACK.allows(host)
    assert NETWORK.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "evil.example, localhost",
        "localhost evil.example",
        "notlocalhost",
        "localhost:99999",
        "localhost:x",
        "localhost:",
        "[::1",
        "[evil.example]",
        "[::1]evil.example",
        "",
        ":8080",
        ".",
        "ｌocalhost",
        "192.0.2.1",
        "0.0.0.0",
    ],
)
def test_nobody_else_is_allowed_by_default(host: str) -> None:
    assert LOOPBACK.allows(host) is (host == "localhost:")


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("points.acme.example", True),
        ("POINTS.acme.example:443", True),
        ("x.points.acme.example", False),
        ("acme.example", False),
        ("a.gym.example", True),
        ("a.b.gym.example", True),
        ("gym.example", False),
        ("evilgym.example", False),
        ("[2001:db8::1]:8080", True),
        ("192.0.2.1:8080", True),
        ("evil.example", False),
    ],
)
def test_listed_names_and_addresses_of_an_open_server(host: str, *, is_allowed: bool) -> None:
    assert NETWORK.allows(host) is is_allowed


def test_a_server_on_one_address_answers_to_it() -> None:
    hosts = AllowedHosts.read("", listening="192.0.2.7")
    assert hosts.allows("192.0.2.7:8080")
    assert not hosts.allows("192.0.2.8:8080")


def test_the_public_url_is_allowed() -> None:
    hosts = AllowedHosts.read("", listening="127.0.0.1", public_url="https://points.acme.example:8443/app/")
    assert hosts.allows("points.acme.example:8443")
    assert not hosts.allows("acme.example")


def test_the_check_can_be_switched_off() -> None:
    assert AllowedHosts.read("*", listening="127.0.0.1").allows("anything.example")

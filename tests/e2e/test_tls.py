"""TLS from the outside: certificates from files and self-signed ones, bad files, renewals, and clients that stall."""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from segment.analytics.client import Client

from punchcard.testing.certificates import make_certificate
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

EVENT = b'{"userId":"ann","event":"Checked In","writeKey":"wk_website"}'
SELF_SIGNED = ("--tls", "self-signed")


def served_certificate(product: ProductProcess) -> bytes:
    return ssl.get_server_certificate(("127.0.0.1", product.port), timeout=PATIENCE_SECONDS).encode().strip()


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let this process trust a certificate, as an operator lets a library of theirs."""
    return lambda file: monkeypatch.setenv("SSL_CERT_FILE", str(file))


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductProcess]:
    folder = tmp_path_factory.mktemp("self-signed")
    short = {"PUNCHCARD_REQUEST_HEAD_SECONDS": "2"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "data" / "tls" / "self-signed.crt"))
        with ProductProcess(folder, serves_only=True, arguments=SELF_SIGNED, environment=short) as running:
            yield running


def trusted(product: ProductProcess, name: str = "127.0.0.1") -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(product.data / "tls" / "self-signed.crt"))
    return http.client.HTTPSConnection(name, product.port, context=context, timeout=PATIENCE_SECONDS)


def test_a_self_signed_certificate_serves_libraries_that_insist_on_tls(
    self_signed: ProductProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert self_signed.url.startswith("https://127.0.0.1:")
    assert self_signed.call("GET", "/health/ready")[0] == 200
    assert self_signed.call("GET", "/api/sources")[0] == 200
    # As `docs/how-to/send-events.md` says it for this library.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed.data / "tls" / "self-signed.crt"))
    Client("wk_website", host=self_signed.url, sync_mode=True).track("ann", "Checked In")
    _, text = self_signed.call("GET", "/metrics")
    assert 'punchcard_ingest_requests_total{call="batch",status="200"}' in str(text)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_self_signed_certificate_is_for_the_names_of_this_machine(self_signed: ProductProcess, name: str) -> None:
    with contextlib.closing(trusted(self_signed, name)) as connection:
        connection.request("POST", "/v1/track", EVENT)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"success":true}')


def test_the_files_are_for_their_owner_only(self_signed: ProductProcess) -> None:
    files = list((self_signed.data / "tls").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_cookies_and_redirects_are_for_https(self_signed: ProductProcess) -> None:
    form = b"name=Ann&email=ann%40example.com&password=a+long+enough+password&workspace=Acme&timezone=UTC"
    with contextlib.closing(trusted(self_signed)) as connection:
        connection.request("POST", "/welcome", form, {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        response.read()
    assert "secure" in (response.getheader("Set-Cookie") or "").lower()
    assert not (response.getheader("Location") or "/").startswith("http:")


def test_handshakes_that_stall_are_cut_off_and_plain_http_harms_nobody(self_signed: ProductProcess) -> None:
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", self_signed.port)
        silent = [stack.enter_context(socket.create_connection(address, timeout=PATIENCE_SECONDS)) for _ in range(20)]
        silent[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        silent[1].sendall(b"\x16\x03\x01\x02\x00\x01")
        assert self_signed.call("GET", "/health/ready")[0] == 200
        for connection in silent:
            with contextlib.suppress(ConnectionError):
                while connection.recv(1_000):  # an alert may come before the end
                    pass
    assert self_signed.call("GET", "/health/ready")[0] == 200
    assert "Traceback" not in self_signed.log


def test_silent_handshakes_beyond_the_limit_do_not_keep_senders_out(
    tmp_path: Path, trusting: Callable[[Path], None]
) -> None:
    trusting(tmp_path / "data" / "tls" / "self-signed.crt")
    few = {"PUNCHCARD_CONNECTIONS_MAX": "40", "PUNCHCARD_REQUEST_HEAD_SECONDS": "60"}
    with (
        ProductProcess(tmp_path, serves_only=True, arguments=SELF_SIGNED, environment=few) as product,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(120):
            stack.enter_context(socket.create_connection(("127.0.0.1", product.port), timeout=PATIENCE_SECONDS))
        for _ in range(5):
            assert product.track("Checked In", {}) == 200


def test_endless_headers_are_refused_within_tls_too(self_signed: ProductProcess) -> None:
    context = ssl.create_default_context(cafile=str(self_signed.data / "tls" / "self-signed.crt"))
    until = time.monotonic() + PATIENCE_SECONDS
    with (
        socket.create_connection(("127.0.0.1", self_signed.port), timeout=PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        contextlib.suppress(ConnectionError, ssl.SSLError),
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        while time.monotonic() < until:
            connection.sendall(b"a" * 65_536)
    assert time.monotonic() < until
    memory = Path(f"/proc/{self_signed.pid}/statm").read_text().split()[1]
    assert int(memory) * os.sysconf("SC_PAGE_SIZE") < 400_000_000


def test_a_self_signed_certificate_is_kept_and_made_again_when_it_does_not_fit(
    tmp_path: Path, trusting: Callable[[Path], None]
) -> None:
    certificate = tmp_path / "data" / "tls" / "self-signed.crt"
    trusting(certificate)
    with ProductProcess(tmp_path, serves_only=True, arguments=SELF_SIGNED):
        first = certificate.read_bytes()
    with ProductProcess(tmp_path, serves_only=True, arguments=SELF_SIGNED):
        assert certificate.read_bytes() == first
    certificate.with_suffix(".key").write_text("damaged")
    with ProductProcess(tmp_path, serves_only=True, arguments=SELF_SIGNED) as product:
        assert certificate.read_bytes() != first
        assert served_certificate(product) == certificate.read_bytes().strip()


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path, trusting: Callable[[Path], None]) -> None:
    cert, key = make_certificate(tmp_path, "first")
    first = cert.read_bytes().strip()
    (tmp_path / "trusted.crt").write_bytes(first)
    trusting(tmp_path / "trusted.crt")
    options = ("--tls-cert", str(cert), "--tls-key", str(key))
    with ProductProcess(tmp_path / "product", serves_only=True, arguments=options) as product:
        assert served_certificate(product) == first
        new_cert, new_key = make_certificate(tmp_path, "second")
        second = new_cert.read_bytes().strip()
        # Half of a renewal: the certificate before it stays in use, and the log says why.
        shutil.copy(new_cert, cert)
        wait_until(
            lambda: served_certificate(product) == first and product.logged("tls_certificate_unusable") != [],
            "the change was not seen",
        )
        shutil.copy(new_key, key)
        wait_until(lambda: served_certificate(product) == second, "the certificate was not reloaded")


def run_until_it_ends(half: str, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return command(half, "--data", str(folder / "data"), "--port", "0", *options)


@pytest.mark.parametrize("half", ["up", "serve"])
def test_files_that_cannot_be_used_end_with_2_and_say_what_to_do(tmp_path: Path, half: str) -> None:
    cert, _ = make_certificate(tmp_path, "a")
    _, other_key = make_certificate(tmp_path, "b")
    ended = run_until_it_ends(half, tmp_path, "--tls-cert", str(cert), "--tls-key", str(other_key))
    assert ended.returncode == 2
    assert ended.stderr == f"punchcard: tls_key: {other_key} is not the key of the certificate in {cert}.\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_key_that_cannot_be_read_says_who_must_be_able_to(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "a")
    key.chmod(0)
    ended = run_until_it_ends("serve", tmp_path, "--tls-cert", str(cert), "--tls-key", str(key))
    assert ended.returncode == 2
    assert "readable for the user" in ended.stderr


def test_a_certificate_and_its_key_may_be_one_file(tmp_path: Path, trusting: Callable[[Path], None]) -> None:
    cert, key = make_certificate(tmp_path, "a")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    trusting(cert)
    with ProductProcess(tmp_path / "product", serves_only=True, arguments=("--tls-cert", str(both))) as product:
        assert product.track("Checked In", {}) == 200

"""Certificates from files: which cannot be used, and what the message says; and those that are made."""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from punchcard.errors import ConfigurationError
from punchcard.runtime.settings import read_settings
from punchcard.runtime.tls import open_tls, self_signed_certificate
from punchcard.testing.certificates import make_certificate
from punchcard.testing.clock import ManualClock

Options = dict[str, object]


def no_such_certificate(folder: Path) -> Options:
    return {"tls_cert": str(folder / "none.crt"), "tls_key": str(make_certificate(folder, "a")[1])}


def no_such_key(folder: Path) -> Options:
    return {"tls_cert": str(make_certificate(folder, "a")[0]), "tls_key": str(folder / "none.key")}


def a_folder(folder: Path) -> Options:
    return {"tls_cert": str(folder), "tls_key": str(make_certificate(folder, "a")[1])}


def empty_certificate(folder: Path) -> Options:
    (folder / "empty.crt").touch()
    return {"tls_cert": str(folder / "empty.crt"), "tls_key": str(make_certificate(folder, "a")[1])}


def certificate_in_der(folder: Path) -> Options:
    cert, key = make_certificate(folder, "a")
    (folder / "a.der").write_bytes(x509.load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER))
    return {"tls_cert": str(folder / "a.der"), "tls_key": str(key)}


def damaged_certificate(folder: Path) -> Options:
    cert, key = make_certificate(folder, "a")
    first, *lines, last = cert.read_text().splitlines()
    cert.write_text("\n".join([first, *(line[:-4] for line in lines), last, ""]))
    return {"tls_cert": str(cert), "tls_key": str(key)}


def key_of_another(folder: Path) -> Options:
    return {"tls_cert": str(make_certificate(folder, "a")[0]), "tls_key": str(make_certificate(folder, "b")[1])}


def exchanged(folder: Path) -> Options:
    cert, key = make_certificate(folder, "a")
    return {"tls_cert": str(key), "tls_key": str(cert)}


def certificate_without_key(folder: Path) -> Options:
    return {"tls_cert": str(make_certificate(folder, "a")[0])}


def key_without_certificate(folder: Path) -> Options:
    return {"tls_key": str(make_certificate(folder, "a")[1])}


def encrypted_key(folder: Path) -> Options:
    cert, key = make_certificate(folder, "a", passphrase=b"secret")
    return {"tls_cert": str(cert), "tls_key": str(key)}


def both_kinds(folder: Path) -> Options:
    return {**key_of_another(folder), "tls": "self-signed"}


CASES = [
    pytest.param(no_such_certificate, r"tls_cert: .*No such file", id="no such certificate"),
    pytest.param(no_such_key, r"tls_key: .*No such file", id="no such key"),
    pytest.param(a_folder, r"tls_cert: .*directory", id="a folder"),
    pytest.param(empty_certificate, r"no certificate in PEM form", id="empty"),
    pytest.param(certificate_in_der, r"no certificate in PEM form", id="DER"),
    pytest.param(damaged_certificate, r"cannot be used", id="damaged"),
    pytest.param(key_of_another, r"is not the key of the certificate", id="the key of another"),
    pytest.param(exchanged, r"Are tls_cert and tls_key swapped\?", id="exchanged"),
    pytest.param(certificate_without_key, r"Set its file as tls_key", id="no key"),
    pytest.param(key_without_certificate, r"Set tls_cert", id="no certificate"),
    pytest.param(encrypted_key, r"openssl pkey", id="an encrypted key"),
    pytest.param(both_kinds, r"Remove tls_cert and tls_key", id="both kinds"),
]


@pytest.mark.parametrize(("make", "message"), CASES)
def test_what_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, make: Callable[[Path], Options], message: str
) -> None:
    settings = read_settings({}, {"data": tmp_path / "data", **make(tmp_path)})
    with pytest.raises(ConfigurationError, match=message):
        open_tls(settings, clock=ManualClock())


def test_without_settings_there_is_none(tmp_path: Path) -> None:
    assert open_tls(read_settings({}, {"data": tmp_path}), clock=ManualClock()) is None


@pytest.mark.parametrize("tls", ["yes", "Self-Signed ", "auto"])
def test_another_word_is_refused(tls: str) -> None:
    with pytest.raises(ConfigurationError, match="self-signed"):
        read_settings({"PUNCHCARD_TLS": tls})


def names(data: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(self_signed_certificate(data).read_bytes())
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "192.0.2.7", "points.example.com"])
def test_a_self_signed_certificate_has_the_names_it_is_reached_by(tmp_path: Path, host: str) -> None:
    open_tls(read_settings({}, {"data": tmp_path, "host": host, "tls": "self-signed"}), clock=ManualClock())
    expected = {"localhost", "127.0.0.1", "::1"} | ({host} - {"0.0.0.0", "::"})
    assert expected <= names(tmp_path)
    assert not any(ipaddress.ip_address(name).is_unspecified for name in names(tmp_path) if name[-1].isdigit())


def test_it_is_kept_until_it_is_about_to_end_or_lacks_a_name(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = self_signed_certificate(tmp_path)

    def opened(at: datetime, host: str = "127.0.0.1") -> bytes:
        settings = read_settings({}, {"data": tmp_path, "host": host, "tls": "self-signed"})
        open_tls(settings, clock=ManualClock(at))
        return certificate.read_bytes()

    first = opened(now)
    assert opened(now + timedelta(days=300)) == first
    second = opened(now + timedelta(days=392))
    assert second != first
    assert opened(now + timedelta(days=392), host="points.example.com") != second

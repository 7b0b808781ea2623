"""TLS of the serving process: a certificate from files, or a self-signed one for testing."""

import ipaddress
import os
import socket
import ssl
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError, StorageError
from punchcard.runtime.settings import Settings, TlsMode
from punchcard.runtime.telemetry import ConnectionTelemetry

_CHECK_SECONDS: Final = 5.0  # between checks for changed files
# Browsers refuse certificates of more than 398 days.
_SELF_SIGNED_TIME: Final = timedelta(days=397)
_RENEWED_BEFORE: Final = timedelta(days=7)
_ANY_ADDRESS: Final = ("0.0.0.0", "::")  # compared with, not bound to
_LOOPBACK: Final = ("127.0.0.1", "::1")

_Version = tuple[int, ...]


def open_tls(settings: Settings, *, clock: Clock) -> "TlsFiles | None":
    """Return the certificate of connections; None if the settings name none.

    Raises:
        ConfigurationError: The settings contradict each other, or the files cannot be used.
        StorageError: A certificate cannot be written to the data folder.
    """
    if settings.tls is TlsMode.SELF_SIGNED:
        if settings.tls_cert or settings.tls_key:
            raise ConfigurationError("tls: self-signed creates its own certificate. Remove tls_cert and tls_key.")
        return TlsFiles(*_self_signed(self_signed_certificate(settings.data), settings.host, clock.now()))
    if not settings.tls_cert:
        if settings.tls_key:
            raise ConfigurationError("tls_key: A key needs its certificate. Set tls_cert (--tls-cert) too.")
        return None
    cert = Path(settings.tls_cert)
    return TlsFiles(cert, Path(settings.tls_key) if settings.tls_key else cert)


def self_signed_certificate(data: Path) -> Path:
    """Return the file of the self-signed certificate."""
    return data / "tls" / "self-signed.crt"


class TlsFiles:
    """A certificate with its key. When the files change, new connections use their new content.

    Args:
        cert: PEM with the server's certificate and those of its intermediate authorities.
        key: PEM with its private key, not encrypted; may be the same file.

    Raises:
        ConfigurationError: The files cannot be used.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._telemetry = ConnectionTelemetry()
        self._version = self._read_version()
        self._checked_at = time.monotonic()
        self._context = _load(cert, key)

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of the next connection."""
        now = time.monotonic()
        if now - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = now
            self._reload_if_changed()
        return self._context

    def _reload_if_changed(self) -> None:
        version = self._read_version()
        if version == self._version:
            return
        self._version = version  # an invalid version is loaded only once; the next one may be valid
        try:
            self._context = _load(self._cert, self._key)
        except ConfigurationError as error:
            self._telemetry.certificate_unusable(error=error.message)
        else:
            self._telemetry.certificate_reloaded(file=str(self._cert))

    def _read_version(self) -> _Version:
        try:
            stats = [file.stat() for file in (self._cert, self._key)]
        except OSError:
            return ()
        return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size, stat.st_ino))


def _load(cert: Path, key: Path) -> ssl.SSLContext:
    cert_text, key_text = _read(cert, "tls_cert"), _read(key, "tls_key")
    if "-----BEGIN CERTIFICATE-----" not in cert_text:
        raise ConfigurationError(
            f"tls_cert: {cert} has no certificate in PEM format (-----BEGIN CERTIFICATE-----)."
            + (" It has a key. Are tls_cert and tls_key swapped?" if "PRIVATE KEY" in cert_text else "")
        )
    if "PRIVATE KEY-----" not in key_text:
        advice = "Set its file as tls_key (--tls-key)." if key == cert else "Is it in another file?"
        raise ConfigurationError(
            f"tls_key: {key} has no private key in PEM format (-----BEGIN PRIVATE KEY-----). {advice}"
        )
    if "ENCRYPTED" in key_text:
        raise ConfigurationError(
            f"tls_key: {key} is encrypted, and its passphrase cannot be entered. "
            "Decrypt it with `openssl pkey -in KEY -out PLAIN`."
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(f"tls_key: {key} is not the key of the certificate in {cert}.") from error
        raise ConfigurationError(f"tls_cert: {cert} with the key {key} cannot be used: {error}.") from error
    return context


def _read(file: Path, setting: str) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        _refuse_file(setting, file, error)


def _refuse_file(setting: str, file: Path, error: OSError) -> NoReturn:
    advice = " It must be readable for the user that Punchcard runs as." if isinstance(error, PermissionError) else ""
    raise ConfigurationError(f"{setting}: {file}: {error.strerror}.{advice}") from error


def _self_signed(cert: Path, host: str, now: datetime) -> tuple[Path, Path]:
    """Return the files of a certificate for this machine's names; create them if they are missing or outdated."""
    folder, key = cert.parent, cert.with_suffix(".key")
    names = _names_of_this_machine(host)
    if not _is_usable(cert, key, names, now):
        private_key = ec.generate_private_key(ec.SECP256R1())
        key_text = private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(key, key_text)
            _write(cert, _sign(private_key, names, now).public_bytes(serialization.Encoding.PEM))
        except OSError as error:
            raise StorageError(f"{folder}: A certificate cannot be stored here: {error.strerror}.") from error
    return cert, key


def _names_of_this_machine(host: str) -> set[str]:
    names = {"localhost", socket.gethostname(), *_LOOPBACK} | ({host} - {*_ANY_ADDRESS})
    return {name for name in names if name and name.isascii()}


def _is_usable(cert: Path, key: Path, names: set[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        alternative_names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        _load(cert, key)
    except (OSError, ValueError, x509.ExtensionNotFound, ConfigurationError):
        return False
    known = {
        *alternative_names.get_values_for_type(x509.DNSName),
        *map(str, alternative_names.get_values_for_type(x509.IPAddress)),
    }
    return names <= known and certificate.not_valid_after_utc > now + _RENEWED_BEFORE


def _sign(key: ec.EllipticCurvePrivateKey, names: set[str], now: datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Punchcard, self-signed")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,  # so that clients accept the file as a trusted authority
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clients' clocks differ
        .not_valid_after(now + _SELF_SIGNED_TIME - timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(file: Path, content: bytes) -> None:
    """Write the file completely, readable only for its owner from its first byte on."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
    temporary.replace(file)

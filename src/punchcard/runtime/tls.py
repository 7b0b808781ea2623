"""TLS of the serving process: a certificate from files, or a self-signed one for testing."""

import ssl
import time
from pathlib import Path
from typing import Final, NoReturn

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.runtime.settings import Settings, TlsMode
from punchcard.runtime.telemetry import ConnectionTelemetry

_CHECK_SECONDS: Final = 5.0  # between checks for changed files

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
        from punchcard.runtime.self_signed import ensure_certificate  # imports the library that creates certificates

        cert = self_signed_certificate(settings.data)
        return TlsFiles(cert, ensure_certificate(cert, settings.host, clock.now()))
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
        self._context = load_context(cert, key)

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
            self._context = load_context(self._cert, self._key)
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


def load_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return what connections are encrypted with, from a certificate and its key.

    Raises:
        ConfigurationError: the files cannot be used.
    """
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

"""TLS of the serving process: a certificate from files, or one that it signs itself for trying things out."""

import ssl
import time
from pathlib import Path
from typing import Final, NoReturn

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.runtime.settings import Settings, TlsMode
from punchcard.runtime.telemetry import ConnectionTelemetry

_LOOK_SECONDS: Final = 5.0  # between looks for changed files

_Version = tuple[int, ...]


def open_tls(settings: Settings, *, clock: Clock) -> "TlsFiles | None":
    """What connections are encrypted with; None if the settings name no certificate.

    Raises:
        ConfigurationError: the settings contradict each other, or the files cannot be used.
        StorageError: a certificate cannot be written to the data folder.
    """
    if settings.tls is TlsMode.SELF_SIGNED:
        if settings.tls_cert or settings.tls_key:
            raise ConfigurationError("tls: self-signed makes a certificate of its own; leave tls_cert and tls_key out")
        from punchcard.runtime.self_signed import ensure_certificate  # imports what makes certificates

        cert = self_signed_certificate(settings.data)
        return TlsFiles(cert, ensure_certificate(cert, settings.host, clock.now()))
    if not settings.tls_cert:
        if settings.tls_key:
            raise ConfigurationError("tls_key: a key needs its certificate; give tls_cert (--tls-cert) too")
        return None
    cert = Path(settings.tls_cert)
    return TlsFiles(cert, Path(settings.tls_key) if settings.tls_key else cert)


def self_signed_certificate(data: Path) -> Path:
    """Where the certificate is that is made for trying things out."""
    return data / "tls" / "self-signed.crt"


class TlsFiles:
    """A certificate with its key. When the files change, new connections get what they hold then.

    Args:
        cert: PEM with the server's certificate and those of the authorities between it and a root.
        key: PEM with its private key, not encrypted; may be the same file.

    Raises:
        ConfigurationError: the files cannot be used.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._telemetry = ConnectionTelemetry()
        self._version = self._read_version()
        self._looked_at = time.monotonic()
        self._context = load_context(cert, key)

    def context(self) -> ssl.SSLContext:
        """What the next connection is encrypted with."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self._reload_if_changed()
        return self._context

    def _reload_if_changed(self) -> None:
        version = self._read_version()
        if version == self._version:
            return
        self._version = version  # a bad version is looked at once; the next one may be good
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
            f"tls_cert: {cert} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
            + ("; it holds a key: are tls_cert and tls_key the wrong way round?" if "PRIVATE KEY" in cert_text else "")
        )
    if "PRIVATE KEY-----" not in key_text:
        cure = "give its file as tls_key (--tls-key)" if key == cert else "is it another file's?"
        raise ConfigurationError(
            f"tls_key: {key} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----); {cure}"
        )
    if "ENCRYPTED" in key_text:
        raise ConfigurationError(
            f"tls_key: {key} is encrypted, and nobody is there to type its passphrase; "
            "write a plain one with `openssl pkey -in KEY -out PLAIN`"
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError(f"tls_key: {key} is not the key of the certificate in {cert}") from error
        raise ConfigurationError(f"tls_cert: {cert} with the key {key} cannot be used: {error}") from error
    return context


def _read(file: Path, setting: str) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        _refuse_file(setting, file, error)


def _refuse_file(setting: str, file: Path, error: OSError) -> NoReturn:
    cure = "it must be readable for the user that Punchcard runs as" if isinstance(error, PermissionError) else ""
    raise ConfigurationError(f"{setting}: {file}: {error.strerror}" + (f"; {cure}" if cure else "")) from error

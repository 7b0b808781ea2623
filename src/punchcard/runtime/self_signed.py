"""The self-signed certificate of the serving process, for testing."""

import ipaddress
import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from punchcard.errors import ConfigurationError, StorageError
from punchcard.runtime.tls import load_context

# Browsers refuse certificates of more than 398 days.
_SELF_SIGNED_TIME: Final = timedelta(days=397)
_RENEWED_BEFORE: Final = timedelta(days=7)
_ANY_ADDRESS: Final = ("0.0.0.0", "::")  # compared with, not bound to
_LOOPBACK: Final = ("127.0.0.1", "::1")


def ensure_certificate(cert: Path, host: str, now: datetime) -> Path:
    """Create a certificate for this machine's names if it is missing or outdated; return the file of its key.

    Raises:
        StorageError: it cannot be written.
    """
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
    return key


def _names_of_this_machine(host: str) -> set[str]:
    names = {"localhost", socket.gethostname(), *_LOOPBACK} | ({host} - {*_ANY_ADDRESS})
    return {name for name in names if name and name.isascii()}


def _is_usable(cert: Path, key: Path, names: set[str], now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        alternative_names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        load_context(cert, key)
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
    """Write the file whole, for its owner only from its first byte on."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
    temporary.replace(file)

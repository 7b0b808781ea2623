"""The key that encrypts stored secrets, and the mask that is shown instead of a secret."""

import functools
import hashlib
import hmac
import os
import secrets
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from punchcard.errors import ConfigurationError

MASK = "••••"
WRONG_SECRET_KEY = "wrong_secret_key"
"""Code of the error for secrets that were encrypted with another key."""

_VISIBLE_CHARACTERS = 4
# The last characters of a shorter secret would reveal too much of it.
_VISIBLE_FROM_LENGTH = 12
# Fixed, so that every process with the same key can decrypt. Scrypt makes up for a short key.
_SALT = b"punchcard stored secrets, 1"


class Keyring:
    """Encrypts and decrypts stored secrets with a key derived from any text.

    Args:
        secret_key: Secret key set by the operator, or the one in the data folder.
    """

    def __init__(self, secret_key: str) -> None:
        key = _derive(secret_key)
        self._fernet = Fernet(urlsafe_b64encode(key[:32]))
        self._fingerprint_key = key[32:]

    def encrypt(self, text: str) -> str:
        """Return the encrypted text."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Return the decrypted text.

        Raises:
            ConfigurationError: The text was encrypted with another key.
        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "The stored secrets were encrypted with another key. Set PUNCHCARD_SECRET_KEY to the key used before, "
                "put the old `secret-key` file back into the data folder, "
                "or run `punchcard apply` with a file that has every secret in plain text.",
                code=WRONG_SECRET_KEY,
            ) from error

    def fingerprint(self, content: bytes) -> str:
        """Return 64 hex digits that identify the content without revealing it."""
        return hmac.new(self._fingerprint_key, content, hashlib.sha256).hexdigest()


def open_keyring(secret_key: str | None, path: Path) -> Keyring:
    """Return the keyring of the operator's key, else of the key stored at `path`, which is created if missing.

    Raises:
        ConfigurationError: The stored key is empty, or cannot be read or written.
    """
    if secret_key:
        return Keyring(secret_key)
    try:
        if not path.exists():
            _write_new_key(path)
        stored_key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: The secret key cannot be read or written: {error}.") from error
    if not stored_key:
        raise ConfigurationError(
            f"{path}: The secret key is empty. Put the old file back, or set PUNCHCARD_SECRET_KEY."
        )
    return Keyring(stored_key)


@functools.lru_cache(maxsize=4)
def _derive(secret_key: str) -> bytes:
    """Return 64 bytes. 16 MB and some 50 ms, once per process: enough to make guessing a short key expensive."""
    return Scrypt(salt=_SALT, length=64, n=2**14, r=8, p=1).derive(secret_key.encode())


def mask(secret: str) -> str:
    """Return the mask of a secret: `••••` and, if it is long, its last four characters."""
    return MASK + (secret[-_VISIBLE_CHARACTERS:] if len(secret) >= _VISIBLE_FROM_LENGTH else "")


def is_masked(text: str) -> bool:
    """Return True if the text is a mask as returned by `mask`."""
    return text.startswith(MASK)


def _write_new_key(path: Path) -> None:
    # Atomic, and the first of several processes wins: secrets encrypted with a lost key are lost.
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        os.unlink(name)

"""The key that encrypts stored secrets, and the mask under which people see them."""

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
"""The code of the error for secrets that another key has encrypted."""

_VISIBLE_CHARACTERS = 4
# A shorter secret would lose too much of itself to the mask.
_VISIBLE_FROM_LENGTH = 12
# Fixed, so that every process on the same key can read what another wrote; the key is long or scrypt makes up for it.
_SALT = b"punchcard stored secrets, 1"


class Keyring:
    """Encrypts and decrypts stored secrets with a key derived from any text.

    Args:
        secret_key: The operator's text, or what the data folder keeps.
    """

    def __init__(self, secret_key: str) -> None:
        # 16 MB and some 50 ms, once a process: enough to make guessing a short text dear.
        key = Scrypt(salt=_SALT, length=64, n=2**14, r=8, p=1).derive(secret_key.encode())
        self._fernet = Fernet(urlsafe_b64encode(key[:32]))
        self._fingerprint_key = key[32:]

    def encrypt(self, text: str) -> str:
        """The text so that only this key reads it."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """What `encrypt` was given.

        Raises:
            ConfigurationError: it was encrypted with another key.
        """
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "the stored secrets were encrypted with another key: set PUNCHCARD_SECRET_KEY to the one used before "
                "(or put the old `secret-key` file back into the data folder), "
                "or `punchcard apply` a file that holds every secret in plain text",
                code=WRONG_SECRET_KEY,
            ) from error

    def fingerprint(self, content: bytes) -> str:
        """64 hex digits that change with the content and give nothing of it away."""
        return hmac.new(self._fingerprint_key, content, hashlib.sha256).hexdigest()


def open_keyring(secret_key: str | None, path: Path) -> Keyring:
    """The keyring of the operator's key, else of the one kept at `path`, which is made if there is none.

    Raises:
        ConfigurationError: the kept key is empty or cannot be read.
    """
    if secret_key:
        return Keyring(secret_key)
    try:
        if not path.exists():
            _write_new_key(path)
        kept = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the secret key cannot be kept or read: {error}") from error
    if not kept:
        raise ConfigurationError(f"{path}: the secret key is empty; put the old file back or set PUNCHCARD_SECRET_KEY")
    return Keyring(kept)


def mask(secret: str) -> str:
    """How a secret is shown: `••••` and, if it is long, its last four characters."""
    return MASK + (secret[-_VISIBLE_CHARACTERS:] if len(secret) >= _VISIBLE_FROM_LENGTH else "")


def is_masked(text: str) -> bool:
    """True if the text is what `mask` shows of some secret."""
    return text.startswith(MASK)


def _write_new_key(path: Path) -> None:
    # Whole or not at all, and the first of several processes wins: secrets encrypted with a lost key are lost.
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

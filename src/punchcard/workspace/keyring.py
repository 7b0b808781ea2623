"""The key that encrypts stored secrets, and the mask that is shown instead of a secret."""

import functools
import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from punchcard.errors import ConfigurationError
from punchcard.workspace.key_file import KeyFile

MASK = "••••"
WRONG_SECRET_KEY = "wrong_secret_key"
"""Code of the error for secrets that were encrypted with another key."""

_VISIBLE_CHARACTERS = 4
# The last characters of a shorter secret would reveal too much of it.
_VISIBLE_FROM_LENGTH = 12
# Fixed, so that every process with the same key can decrypt. Scrypt makes up for a short key.
_SALT = b"punchcard stored secrets, 1"


class Keyring:
    """Encrypts and decrypts stored secrets with a key derived from any text. Thread-safe.

    While a key is rotated, values are encrypted with one key, and decrypted with any of several.

    Args:
        secret_key: Secret key set by the operator, or the one in the data folder.
        accepted: Other keys that decrypt.
        file: The key file in the data folder, which is read again when it has changed; None for fixed keys.
    """

    def __init__(self, secret_key: str, accepted: Sequence[str] = (), *, file: "KeyFile | None" = None) -> None:
        self._file = file
        self._file_version = None if file is None else file.version()
        self._keys = _derive_all([secret_key, *accepted])

    def encrypt(self, text: str) -> str:
        """Return the encrypted text."""
        self._refresh()
        return self._keys[0].fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Return the decrypted text.

        Raises:
            ConfigurationError: The text was encrypted with another key.
        """
        text = self._try_decrypt(token)
        if text is None and self._refresh():
            text = self._try_decrypt(token)
        if text is None:
            raise ConfigurationError(
                "The stored secrets were encrypted with another key. Set PUNCHCARD_SECRET_KEY to the key used before, "
                "put the old `secret-key` file back into the data folder, "
                "or run `punchcard apply` with a file that has every secret in plain text.",
                code=WRONG_SECRET_KEY,
            )
        return text

    def is_current(self, token: str) -> bool:
        """Return whether the text was encrypted with the key that encrypts now."""
        return _decrypt_with(self._keys[0], token) is not None

    def fingerprint(self, content: bytes) -> str:
        """Return 64 hex digits that identify the content without revealing it."""
        return self.fingerprints(content)[0]

    def fingerprints(self, content: bytes) -> Sequence[str]:
        """Return the fingerprint, and those that processes with another of the accepted keys compute."""
        self._refresh()
        return [hmac.new(key.fingerprint_key, content, hashlib.sha256).hexdigest() for key in self._keys]

    def _try_decrypt(self, token: str) -> str | None:
        texts = (_decrypt_with(key, token) for key in self._keys)
        return next((text for text in texts if text is not None), None)

    def _refresh(self) -> bool:
        """Read the file again if it has changed; return whether it has. A file that cannot be read changes nothing."""
        if self._file is None:
            return False
        try:
            version = self._file.version()
            if version == self._file_version:
                return False
            keys = self._file.read()
        except ConfigurationError:
            return False
        self._keys = _derive_all([keys.current, *keys.accepted])
        self._file_version = version
        return True


def open_keyring(secret_key: str | None, path: Path, *, accepted: str = "") -> Keyring:
    """Return the keyring of the operator's key, else of the key stored at `path`, which is created if missing.

    Args:
        accepted: Another key that decrypts, while the operator rotates theirs; "" for none.

    Raises:
        ConfigurationError: The stored key is empty, or cannot be read or written.
    """
    if secret_key:
        return Keyring(secret_key, [accepted] if accepted else [])
    file = KeyFile(path)
    keys = file.read_or_create()
    return Keyring(keys.current, keys.accepted, file=file)


@dataclass(frozen=True)
class _DerivedKey:
    fernet: Fernet
    fingerprint_key: bytes


def _derive_all(secret_keys: Sequence[str]) -> tuple[_DerivedKey, ...]:
    derived = [_derive(secret_key) for secret_key in dict.fromkeys(secret_keys)]
    return tuple(_DerivedKey(Fernet(urlsafe_b64encode(key[:32])), key[32:]) for key in derived)


def _decrypt_with(key: _DerivedKey, token: str) -> str | None:
    try:
        return key.fernet.decrypt(token.encode()).decode()
    except InvalidToken:
        return None


@functools.lru_cache(maxsize=8)
def _derive(secret_key: str) -> bytes:
    """Return 64 bytes. 16 MB and some 50 ms, once per process: enough to make guessing a short key expensive."""
    return Scrypt(salt=_SALT, length=64, n=2**14, r=8, p=1).derive(secret_key.encode())


def mask(secret: str) -> str:
    """Return the mask of a secret: `••••` and, if it is long, its last four characters."""
    return MASK + (secret[-_VISIBLE_CHARACTERS:] if len(secret) >= _VISIBLE_FROM_LENGTH else "")


def is_masked(text: str) -> bool:
    """Return True if the text is a mask as returned by `mask`."""
    return text.startswith(MASK)

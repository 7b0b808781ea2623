"""Passwords: kept as argon2id hashes, checked in about the same time whether or not there is somebody to check."""

import argon2

from punchcard.errors import ConfigurationError

LENGTH_MIN = 12
_LENGTH_MAX = 200
_hasher = argon2.PasswordHasher()
_NOBODYS = _hasher.hash("there is no such operator")


def hashed(password: str) -> str:
    """The hash to keep.

    Raises:
        ConfigurationError: the password is too short to be one, or too long to be honest.
    """
    if len(password) < LENGTH_MIN:
        raise ConfigurationError(f"a password has at least {LENGTH_MIN} characters; three or four words do well")
    if len(password) > _LENGTH_MAX:
        raise ConfigurationError(f"a password has at most {_LENGTH_MAX} characters")
    return _hasher.hash(password)


def is_right(stored: str | None, password: str) -> bool:
    """Whether it is the password; None as the hash stands for somebody who does not exist."""
    try:
        _hasher.verify(stored or _NOBODYS, password[:_LENGTH_MAX])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False
    return stored is not None

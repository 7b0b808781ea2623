"""Passwords: stored as argon2id hashes, verified in the same time whether or not the operator exists.

A hash takes a core for a tenth of a second and 64 MB, and anybody can cause one by trying to sign in. Therefore hashes
are computed in a small thread pool with a bounded queue: a flood of attempts slows down signing in and nothing else.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import argon2

from punchcard.errors import ConfigurationError, PunchcardError

LENGTH_MIN = 12
_LENGTH_MAX = 200
_THREADS = 2
_WAITING_MAX = 16
_hasher = argon2.PasswordHasher()
# The hash of a discarded random text, with the parameters of `_hasher`. Hashing one at every start would cost as much
# as a sign-in.
DUMMY_HASH = "$argon2id$v=19$m=65536,t=3,p=4$FKK2BpbLwtcbqrkgdb0aCA$vmffWMM1kaHi+98my8VC5s8RUiY6s7ZQJ5Sad1ZNhPM"

P = ParamSpec("P")
R = TypeVar("R")


class PasswordsBusyError(PunchcardError):
    """Too many passwords are being verified. Try again in a moment."""

    code = "passwords_busy"


class PasswordPool:
    """Computes password hashes outside the event loop, a few at a time.

    Args:
        threads: Number of hashes computed at the same time.
        waiting_max: Number of calls that may wait for a thread; further calls are refused.
    """

    def __init__(self, *, threads: int = _THREADS, waiting_max: int = _WAITING_MAX) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._pending = 0  # accessed by the event loop only
        self._pending_max = threads + waiting_max

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, called in a thread of the pool.

        Raises:
            PasswordsBusyError: Too many calls are waiting.
        """
        if self._pending >= self._pending_max:
            raise PasswordsBusyError("Too many people are signing in. Try again in a few seconds.")
        self._pending += 1
        # Not a plain `await`: if the client disconnects, the slot must stay taken until its hash is computed.
        future = self._executor.submit(function, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        return await asyncio.wrap_future(future)

    def _release(self) -> None:
        self._pending -= 1


def hash_password(password: str) -> str:
    """Return the hash of a password.

    Raises:
        ConfigurationError: The password is too short or too long.
    """
    if len(password) < LENGTH_MIN:
        raise ConfigurationError(f"Use at least {LENGTH_MIN} characters, for example three or four words.")
    if len(password) > _LENGTH_MAX:
        raise ConfigurationError(f"Use at most {_LENGTH_MAX} characters.")
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Return True if the password matches the hash.

    Args:
        stored: None for an operator who does not exist, "" for one who has no password.
    """
    try:
        _hasher.verify(stored or DUMMY_HASH, password[:_LENGTH_MAX])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False
    return bool(stored)

"""Passwords: kept as argon2id hashes, checked in about the same time whether or not there is somebody to check.

A hash takes a core for a tenth of a second and 64 MB, and anybody can ask for one by trying to sign in. So hashes are
computed in a small pool of threads of their own, and only so many may wait: a flood of attempts slows signing in down
and nothing else.
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
_DUMMY_HASH = _hasher.hash("there is no such operator")

P = ParamSpec("P")
R = TypeVar("R")


class PasswordsBusyError(PunchcardError):
    """Too many passwords are being checked. Try again in a moment."""

    code = "passwords_busy"


class PasswordPool:
    """Computes password hashes beside the event loop, a few at a time.

    Args:
        threads: Hashes computed at once.
        waiting_max: Calls that may wait for a thread; further ones are refused.
    """

    def __init__(self, *, threads: int = _THREADS, waiting_max: int = _WAITING_MAX) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._pending = 0  # touched by the event loop alone
        self._pending_max = threads + waiting_max

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, called in a thread of the pool.

        Raises:
            PasswordsBusyError: too many calls wait already.
        """
        if self._pending >= self._pending_max:
            raise PasswordsBusyError("Too many people are signing in at this moment. Try again in a few seconds.")
        self._pending += 1
        # Not as a plain `await`: a client that gives up must not free the place while its hash is still computed.
        future = self._executor.submit(function, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        return await asyncio.wrap_future(future)

    def _release(self) -> None:
        self._pending -= 1


def hash_password(password: str) -> str:
    """The hash to keep.

    Raises:
        ConfigurationError: the password is too short to be one, or too long to be honest.
    """
    if len(password) < LENGTH_MIN:
        raise ConfigurationError(f"a password has at least {LENGTH_MIN} characters; three or four words do well")
    if len(password) > _LENGTH_MAX:
        raise ConfigurationError(f"a password has at most {_LENGTH_MAX} characters")
    return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether it is the password; None as the hash stands for somebody who does not exist."""
    try:
        _hasher.verify(stored or _DUMMY_HASH, password[:_LENGTH_MAX])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, UnicodeEncodeError):
        return False
    return stored is not None

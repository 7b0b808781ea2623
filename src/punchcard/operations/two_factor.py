"""Two-factor authentication: codes of an authenticator app (TOTP, RFC 6238) and recovery codes. Passkeys are beside it.

A code is accepted once, in its own 30 seconds and those before and after. The secret is encrypted as the secrets of
destinations are.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyotp
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.store.access.audit import ChangedValue, record_operator_change
from punchcard.store.access.operators import Operator, count_failures, forget_failures, note_failure
from punchcard.store.access.second_factors import (
    accept_step,
    begin_second_factor,
    enable_second_factor,
    read_second_factor,
    remove_authenticator,
    remove_second_factors,
    replace_recovery_codes,
    use_recovery_code,
)
from punchcard.store.engine import Store
from punchcard.workspace.keyring import Keyring

FAILURES_MAX: Final = 5
"""Wrong codes in a quarter of an hour, after which no code is accepted: a million codes leave no room for guessing."""

_STEPS = (-1, 0, 1)  # clocks of phones differ
_RECOVERY_CODES = 10
_RECOVERY_GROUPS = 4
_RECOVERY_GROUP_CHARACTERS = 4
# 32 characters, without those that are mistaken for others: a code has 80 random bits.
_RECOVERY_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


class WrongCodeError(ConfigurationError):
    """The code is wrong, or it was used before."""

    code = "wrong_code"


class TooManyCodesError(WrongCodeError):
    """Too many wrong codes; further ones are refused for a while."""

    code = "too_many_codes"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What an authenticator app needs.

    Attributes:
        secret: In base32, to type.
        uri: The same as `otpauth://totp/…`, to scan.
    """

    secret: str
    uri: str


class TwoFactor:
    """Sets up and verifies second factors.

    Args:
        keyring: Encrypts the secrets.
    """

    def __init__(self, store: Store, keyring: Keyring, *, clock: Clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock

    def begin_setup(self, operator: Operator, *, workspace: str) -> Setup:
        """Return a new secret, which is not asked for until a code of it is confirmed.

        Args:
            workspace: Name of the workspace, by which people tell the entries of their authenticator app apart.

        Raises:
            ConfigurationError: The operator has a confirmed second factor.
        """
        secret = pyotp.random_base32()
        with self._store.unit_of_work() as work:
            if not begin_second_factor(work, operator.id, self._keyring.encrypt(secret), clock=self._clock):
                raise ConfigurationError("Two-factor authentication is on already. Turn it off first.")
        return _setup(secret, operator, workspace)

    def pending_setup(self, operator: Operator, *, workspace: str) -> Setup | None:
        """Return the secret that waits for its first code, None if there is none."""
        with self._store.reading() as work:
            factor = read_second_factor(work, operator.id)
        if factor is None or factor.enabled_at is not None:
            return None
        return _setup(self._keyring.decrypt(factor.secret), operator, workspace)

    def confirm_setup(self, operator: Operator, code: str, *, actor: str) -> Sequence[str]:
        """Turn two-factor authentication on; return the recovery codes, which cannot be shown again.

        Raises:
            WrongCodeError: The code is not one of the secret that waits for its first code.
        """
        self._note_attempt(operator)
        with self._store.unit_of_work() as work:
            if not self._accepts_totp(work, operator, code) or not enable_second_factor(
                work, operator.id, clock=self._clock
            ):
                raise WrongCodeError("This is not the current code. Check that the clock of the phone is right.")
            codes = issue_recovery_codes(work, operator)
            forget_failures(work, _subject(operator))
            change = ChangedValue("two_factor", before=False, after=True)
            record_operator_change(work, operator.id, change, actor=actor, at=self._clock.now())
        return codes

    def verify(self, operator: Operator, code: str) -> None:
        """Accept a code of the authenticator app, or a recovery code; each is accepted once.

        Raises:
            WrongCodeError: The code is wrong, or it was used before.
            TooManyCodesError: Too many codes were wrong.
        """
        self._note_attempt(operator)
        with self._store.unit_of_work() as work:
            factor = read_second_factor(work, operator.id)
            is_enabled = factor is not None and factor.enabled_at is not None
            accepts_totp = is_enabled and self._accepts_totp(work, operator, code)
            if not accepts_totp and not self._accepts_recovery_code(work, operator, code):
                raise WrongCodeError("This code is wrong, or it was used before.")
            forget_failures(work, _subject(operator))

    def replace_recovery_codes(self, operator: Operator, *, actor: str) -> Sequence[str]:
        """Return new recovery codes, which cannot be shown again; the earlier ones end."""
        with self._store.unit_of_work() as work:
            codes = issue_recovery_codes(work, operator)
            record_operator_change(work, operator.id, ChangedValue("recovery_codes"), actor=actor, at=self._clock.now())
        return codes

    def _note_attempt(self, operator: Operator) -> None:
        """Count an attempt as failed before the code is verified, so that concurrent attempts are counted, too."""
        with self._store.unit_of_work() as work:
            if count_failures(work, _subject(operator), clock=self._clock) >= FAILURES_MAX:
                raise TooManyCodesError("Too many wrong codes. Try again in 15 minutes.")
            note_failure(work, [_subject(operator)], clock=self._clock)

    def _accepts_totp(self, work: Connection, operator: Operator, code: str) -> bool:
        text = re.sub(r"\s", "", code)
        factor = read_second_factor(work, operator.id)
        if factor is None or not re.fullmatch(r"[0-9]{6}", text):
            return False
        totp = pyotp.TOTP(self._keyring.decrypt(factor.secret))
        current = totp.timecode(self._clock.now())
        return any(
            secrets.compare_digest(totp.generate_otp(current + step), text)
            and accept_step(work, operator.id, current + step)
            for step in _STEPS
        )

    def _accepts_recovery_code(self, work: Connection, operator: Operator, code: str) -> bool:
        if not use_recovery_code(work, operator.id, _plain_recovery_code(code)):
            return False
        actor = f"operator {operator.email}"
        record_operator_change(work, operator.id, ChangedValue("recovery_code_used"), actor=actor, at=self._clock.now())
        return True


def turn_off_authenticator(work: Connection, operator: Operator, *, actor: str, clock: Clock) -> bool:
    """Remove the authenticator app of an operator; return False if there is none. Passkeys stay."""
    forget_failures(work, _subject(operator))
    if not remove_authenticator(work, operator.id):
        return False
    change = ChangedValue("two_factor", before=True, after=False)
    record_operator_change(work, operator.id, change, actor=actor, at=clock.now())
    return True


def reset_second_factors(work: Connection, operator: Operator, *, actor: str, clock: Clock) -> bool:
    """Remove authenticator app, passkeys and recovery codes of an operator; return False if there is no factor."""
    forget_failures(work, _subject(operator))
    if not remove_second_factors(work, operator.id):
        return False
    change = ChangedValue("two_factor", before=True, after=False)
    record_operator_change(work, operator.id, change, actor=actor, at=clock.now())
    return True


def issue_recovery_codes(work: Connection, operator: Operator) -> Sequence[str]:
    """Give an operator new recovery codes in place of earlier ones; return them in plain text."""
    length = _RECOVERY_GROUPS * _RECOVERY_GROUP_CHARACTERS
    plain = ["".join(secrets.choice(_RECOVERY_ALPHABET) for _ in range(length)) for _ in range(_RECOVERY_CODES)]
    replace_recovery_codes(work, operator.id, plain)
    return ["-".join(re.findall(f".{{{_RECOVERY_GROUP_CHARACTERS}}}", code)) for code in plain]


def _setup(secret: str, operator: Operator, workspace: str) -> Setup:
    uri = pyotp.TOTP(secret).provisioning_uri(name=operator.email, issuer_name=f"Punchcard {workspace}")
    return Setup(secret=" ".join(re.findall(".{1,4}", secret)), uri=uri)


def _plain_recovery_code(code: str) -> str:
    return re.sub(r"[\s-]", "", code).lower()


def _subject(operator: Operator) -> str:
    return f"two-factor {operator.id}"

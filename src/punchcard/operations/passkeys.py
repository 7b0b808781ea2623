"""Passkeys (WebAuthn): creating them, and signing in with them, alone or as the second step after a password.

A browser uses a passkey only at the host name at which it was created. Its owner is verified on the device, by a PIN, a
finger or a face, so a passkey is two factors by itself. `webauthn` verifies what browsers send; it is imported when
the first response arrives, because most processes never get one.
"""

import json
import secrets
from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.destinations.network import is_address
from punchcard.errors import ConfigurationError
from punchcard.operations.sealed_values import seal, unseal
from punchcard.operations.two_factor import issue_recovery_codes
from punchcard.store.access.audit import ChangedValue, record_operator_change
from punchcard.store.access.operators import Operator, find_operator
from punchcard.store.access.passkeys import (
    Credential,
    Passkey,
    add_passkey,
    count_passkeys,
    find_passkey,
    has_passkeys_at,
    list_passkeys,
    note_passkey_use,
    passkey_of_credential,
    remove_passkey,
    rename_passkey,
    use_challenge,
)
from punchcard.store.access.second_factors import (
    count_recovery_codes,
    has_second_factor,
    remove_unneeded_recovery_codes,
)
from punchcard.store.engine import Store
from punchcard.workspace.keyring import Keyring

PASSKEYS_MAX: Final = 20
"""Passkeys of one operator."""

# The page of a sign-in may stay open for a while before somebody uses it; each challenge is accepted once.
_CHALLENGE_LENGTH: Final = timedelta(hours=1)
_DIALOG_MILLISECONDS: Final = 300_000
_CHALLENGE_BYTES: Final = 32
_RESPONSE_CHARACTERS_MAX: Final = 20_000
_SIGN_IN, _CREATE = "passkey sign-in", "passkey creation"  # what a sealed challenge is for
_ALGORITHMS: Final = (-7, -8, -257)  # ES256, EdDSA, RS256: what authenticators offer


class PasskeyError(ConfigurationError):
    """A passkey is not accepted."""

    code = "passkey_refused"


@dataclass(frozen=True, kw_only=True)
class RelyingParty:
    """The App as browsers know it when they look for passkeys.

    Attributes:
        id: Host name.
        origin: Scheme, host name and port, as browsers send it.
    """

    id: str
    origin: str

    @classmethod
    def at(cls, base_url: str) -> Self:
        """Return the relying party of the App at a URL."""
        url = urlsplit(base_url)
        host = url.hostname or ""
        port = f":{url.port}" if url.port not in (None, {"http": 80, "https": 443}.get(url.scheme)) else ""
        name = f"[{host}]" if ":" in host else host
        return cls(id=host, origin=f"{url.scheme}://{name}{port}")

    @property
    def problem(self) -> str:
        """Why browsers offer no passkeys here, "" if they do."""
        if is_address(self.id):
            return f"Passkeys need a host name, and this is {self.origin}. On this machine, open the App at localhost."
        if self.origin.startswith("https://") or self.id == "localhost" or self.id.endswith(".localhost"):
            return ""
        return f"Passkeys need HTTPS, and this is {self.origin}. Set up TLS, and the setting public_url."


@dataclass(frozen=True, kw_only=True)
class Ceremony:
    """What a page needs to let the browser create or use a passkey.

    Attributes:
        options: For `navigator.credentials`, as JSON, bytes as base64url.
        state: Sealed challenge, which comes back with the response.
    """

    options: str
    state: str


@dataclass(frozen=True, kw_only=True)
class CreatedPasskey:
    """A new passkey.

    Attributes:
        recovery_codes: In plain text, if this is the first second factor of the operator; else none.
    """

    passkey: Passkey
    recovery_codes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Passkeys:
    """Creates and verifies passkeys.

    Attributes:
        keyring: Seals challenges.
        party: The App at the address that people use.
    """

    store: Store
    keyring: Keyring
    party: RelyingParty
    clock: Clock

    def begin_creation(self, operator: Operator, *, workspace: str) -> Ceremony:
        """Return what the browser needs to create a passkey for an operator.

        Raises:
            PasskeyError: Browsers offer no passkeys here, or the operator has too many.
        """
        if self.party.problem:
            raise PasskeyError(self.party.problem)
        with self.store.reading() as work:
            existing = list_passkeys(work, operator.id)
        if len(existing) >= PASSKEYS_MAX:
            raise PasskeyError(f"You have {PASSKEYS_MAX} passkeys. Remove one that you do not use.")
        # Random, not the operator's id: authenticators replace a passkey with the same host name and handle, and two
        # Punchcards on localhost both have an operator with the id "owner".
        handle = existing[0].credential.user_handle if existing else _random_text()
        challenge = _random_text()
        options = {
            "rp": {"id": self.party.id, "name": f"Punchcard {workspace}"},
            "user": {"id": handle, "name": operator.email, "displayName": operator.name},
            "challenge": challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in _ALGORITHMS],
            "timeout": _DIALOG_MILLISECONDS,
            "attestation": "none",
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": True,
                "userVerification": "required",
            },
            "excludeCredentials": _descriptors(existing),
        }
        return self._ceremony(_CREATE, options, operator=operator.id, challenge=challenge, handle=handle)

    def create(self, operator: Operator, state: str, response: str, *, name: str, actor: str) -> CreatedPasskey:
        """Add the passkey that the browser has created.

        Args:
            state: Of the ceremony.
            response: JSON of the browser's `PublicKeyCredential`.

        Raises:
            PasskeyError: The response is not one to this ceremony.
        """
        values = self._open(_CREATE, state, operator)
        with _refusing_invalid_responses(self.party):
            from webauthn import verify_registration_response
            from webauthn.helpers import base64url_to_bytes
            from webauthn.helpers.cose import COSEAlgorithmIdentifier

            verified = verify_registration_response(
                credential=_parse(response),
                expected_challenge=base64url_to_bytes(values["challenge"]),
                expected_rp_id=self.party.id,
                expected_origin=self.party.origin,
                require_user_verification=True,
                supported_pub_key_algs=[COSEAlgorithmIdentifier(algorithm) for algorithm in _ALGORITHMS],
            )
        credential = Credential(
            credential_id=_base64url(verified.credential_id),
            public_key=_base64url(verified.credential_public_key),
            sign_count=verified.sign_count,
            user_handle=values["handle"],
            rp_id=self.party.id,
        )
        with self.store.unit_of_work() as work:
            self._use(work, values)
            is_first_factor = not has_second_factor(work, operator.id)
            if count_passkeys(work, operator.id) >= PASSKEYS_MAX:
                raise PasskeyError(f"You have {PASSKEYS_MAX} passkeys. Remove one that you do not use.")
            passkey = add_passkey(work, operator.id, name, credential, clock=self.clock)
            change = ChangedValue("passkey", after=passkey.name)
            record_operator_change(work, operator.id, change, actor=actor, at=self.clock.now())
            codes: Sequence[str] = ()
            if is_first_factor or not count_recovery_codes(work, operator.id):
                codes = issue_recovery_codes(work, operator)
        return CreatedPasskey(passkey=passkey, recovery_codes=codes)

    def offer_sign_in(self) -> Ceremony | None:
        """Return what the sign-in page needs, None if nobody has a passkey for this host name."""
        with self.store.reading() as work:
            if not has_passkeys_at(work, self.party.id):
                return None
        return self._begin_sign_in(operator=None, passkeys=())

    def offer_second_step(self, operator: Operator) -> Ceremony | None:
        """Return what the page after the password needs, None if the operator has no passkey for this host name."""
        with self.store.reading() as work:
            usable = [
                passkey for passkey in list_passkeys(work, operator.id) if passkey.credential.rp_id == self.party.id
            ]
        return self._begin_sign_in(operator=operator, passkeys=usable) if usable else None

    def sign_in(self, state: str, response: str, *, operator: Operator | None = None) -> Operator:
        """Return the operator of the passkey that the browser has used.

        Args:
            operator: Who has entered the password, None for a sign-in with the passkey alone.

        Raises:
            PasskeyError: The response is not one to this ceremony, or its passkey is not known, belongs to somebody
                else or may have been copied.
        """
        values = self._open(_SIGN_IN, state, operator)
        content = _parse(response)
        with self.store.reading() as work:
            passkey = passkey_of_credential(work, str(content.get("id")))
        if passkey is None:
            raise PasskeyError("This passkey is not known here. It may have been removed. Sign in another way.")
        if operator is not None and passkey.operator_id != operator.id:
            raise PasskeyError("This passkey belongs to another account.")
        if passkey.credential.rp_id != self.party.id:
            raise PasskeyError(f"This passkey was created at {passkey.credential.rp_id}, and works only there.")
        sign_count, handle = self._verify(passkey, content, challenge=values["challenge"])
        # After a password the operator is known; otherwise the handle names the person, and must be there.
        if handle != passkey.credential.user_handle and not (handle is None and operator is not None):
            raise PasskeyError("This passkey belongs to another account.")
        with self.store.unit_of_work() as work:
            self._use(work, values)
            owner = find_operator(work, passkey.operator_id)
            if owner is None:
                raise PasskeyError("The account of this passkey was removed.")
            before = passkey.credential.sign_count
            is_copied = bool(sign_count or before) and sign_count <= before
            if is_copied:
                change = ChangedValue("passkey_refused", after=passkey.name)
                actor = f"operator {owner.email}"
                record_operator_change(work, owner.id, change, actor=actor, at=self.clock.now())
            elif not note_passkey_use(work, passkey, sign_count, clock=self.clock):
                raise PasskeyError("This passkey was removed or used just now. Try again.")
        if is_copied:
            structlog.get_logger("punchcard.app").warning("passkey_counter_went_back", passkey=passkey.id)
            raise PasskeyError(
                "This passkey may have been copied: its counter went back. Sign in another way, and remove it."
            )
        return owner

    def _begin_sign_in(self, *, operator: Operator | None, passkeys: Sequence[Passkey]) -> Ceremony:
        challenge = _random_text()
        options = {
            "challenge": challenge,
            "rpId": self.party.id,
            "timeout": _DIALOG_MILLISECONDS,
            "userVerification": "required",
            "allowCredentials": _descriptors(passkeys),
        }
        return self._ceremony(_SIGN_IN, options, operator=operator.id if operator else "", challenge=challenge)

    def _ceremony(self, name: str, options: Mapping[str, object], **values: str) -> Ceremony:
        state = seal(self.keyring, name, values, length=_CHALLENGE_LENGTH, clock=self.clock)
        return Ceremony(options=json.dumps(options), state=state)

    def _open(self, name: str, state: str, operator: Operator | None) -> Mapping[str, str]:
        """Return the values of a ceremony that was begun for this operator."""
        values = unseal(self.keyring, name, state, clock=self.clock)
        if values is None or values["operator"] != (operator.id if operator else ""):
            raise PasskeyError("This page was open for too long, or was opened by somebody else. Try again.")
        return values

    def _use(self, work: Connection, values: Mapping[str, str]) -> None:
        if not use_challenge(work, values["challenge"], valid_for=_CHALLENGE_LENGTH, clock=self.clock):
            raise PasskeyError("This response was used before. Try again.")

    def _verify(self, passkey: Passkey, content: Mapping[str, object], *, challenge: str) -> tuple[int, str | None]:
        """Return the counter and the user handle of a response that the passkey has signed.

        Raises:
            PasskeyError: The response is invalid.
        """
        with _refusing_invalid_responses(self.party):
            from webauthn import verify_authentication_response
            from webauthn.helpers import base64url_to_bytes, parse_authentication_credential_json

            parsed = parse_authentication_credential_json(dict(content))
            verified = verify_authentication_response(
                credential=parsed,
                expected_challenge=base64url_to_bytes(challenge),
                expected_rp_id=self.party.id,
                expected_origin=self.party.origin,
                credential_public_key=base64url_to_bytes(passkey.credential.public_key),
                credential_current_sign_count=0,  # compared by `sign_in`, once the signature is known to be right
                require_user_verification=True,
            )
            handle = parsed.response.user_handle
            return verified.new_sign_count, None if handle is None else _base64url(handle)


def change_passkey_name(work: Connection, operator: Operator, id: str, name: str, *, actor: str, clock: Clock) -> bool:
    """Give a passkey of an operator another name; return False if the operator has no such passkey."""
    passkey = find_passkey(work, operator.id, id)
    if passkey is None:
        return False
    rename_passkey(work, operator.id, id, name)
    change = ChangedValue("passkey", before=passkey.name, after=name)
    record_operator_change(work, operator.id, change, actor=actor, at=clock.now())
    return True


def delete_passkey(work: Connection, operator: Operator, id: str, *, actor: str, clock: Clock) -> Passkey | None:
    """Remove a passkey of an operator, and return it; None if the operator has no such passkey."""
    passkey = find_passkey(work, operator.id, id)
    if passkey is None or not remove_passkey(work, operator.id, id):
        return None
    remove_unneeded_recovery_codes(work, operator.id)
    change = ChangedValue("passkey", before=passkey.name)
    record_operator_change(work, operator.id, change, actor=actor, at=clock.now())
    return passkey


@contextmanager
def _refusing_invalid_responses(party: RelyingParty) -> Iterator[None]:
    """Turn what the library and its parsers raise for invalid responses into one refusal; the log has the details."""
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        yield
    except (WebAuthnException, Base64Error, ValueError, KeyError, TypeError, AttributeError) as error:
        structlog.get_logger("punchcard.app").warning("passkey_refused", origin=party.origin, error=str(error))
        raise PasskeyError(f"The passkey was not accepted. Use it at {party.origin}, and try again.") from error


def _parse(response: str) -> dict[str, object]:
    try:
        content = json.loads(response) if len(response) <= _RESPONSE_CHARACTERS_MAX else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise PasskeyError("The browser has sent no passkey. Try again.")
    return content


def _descriptors(passkeys: Sequence[Passkey]) -> list[dict[str, str]]:
    return [{"type": "public-key", "id": passkey.credential.credential_id} for passkey in passkeys]


def _random_text() -> str:
    return _base64url(secrets.token_bytes(_CHALLENGE_BYTES))


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()

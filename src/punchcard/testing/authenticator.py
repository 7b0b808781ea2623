"""An authenticator in software: it creates passkeys and signs challenges as browser and device do together.

It shares no code with what the product verifies with, except the CBOR encoder.
"""

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_PRESENT, _VERIFIED, _HAS_CREDENTIAL = 0x01, 0x04, 0x40


@dataclass(kw_only=True)
class Authenticator:
    """A device of one person with one passkey at most.

    Attributes:
        origin: Of the page in the browser.
        verifies: Whether it verifies the person by PIN, finger or face.
        counts: Whether it counts signatures; many always send 0.
        sign_count: Signatures so far.
        sends_handle: Whether it sends the user handle, which it may leave out if the page has named the passkey.
    """

    origin: str
    verifies: bool = True
    counts: bool = True
    sign_count: int = 0
    sends_handle: bool = True
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes = b""
    rp_id: str = ""
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: str, *, kind: str = "webauthn.create") -> str:
        """Return the response to the options of a page that creates a passkey, as JSON.

        Args:
            kind: As the browser names the ceremony to the device.
        """
        content: dict[str, Any] = json.loads(options)
        self.user_handle, self.rp_id = _decode(content["user"]["id"]), content["rp"]["id"]
        numbers = self._key.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        credential = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(key)
        data = self._authenticator_data(_HAS_CREDENTIAL) + credential
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential({"clientDataJSON": self._client_data(kind, content), "attestationObject": attestation})

    def sign(self, options: str, *, kind: str = "webauthn.get") -> str:
        """Return the response to the options of a page that uses a passkey, as JSON."""
        if self.counts:
            self.sign_count += 1
        client_data, data = self._client_data(kind, json.loads(options)), self._authenticator_data()
        signature = self._key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"clientDataJSON": client_data, "authenticatorData": data, "signature": signature}
        return self._credential(response | ({"userHandle": self.user_handle} if self.sends_handle else {}))

    def _client_data(self, kind: str, options: dict[str, Any]) -> bytes:
        content = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps(content).encode()

    def _authenticator_data(self, flags: int = 0) -> bytes:
        flags |= _PRESENT | (_VERIFIED if self.verifies else 0)
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4, "big")

    def _credential(self, response: dict[str, bytes]) -> str:
        id_ = _encode(self.credential_id)
        texts = {name: _encode(content) for name, content in response.items()}
        return json.dumps({"id": id_, "rawId": id_, "type": "public-key", "response": texts})


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")

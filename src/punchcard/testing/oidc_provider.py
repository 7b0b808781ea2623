"""An identity provider on loopback: discovery, keys, PKCE and tokens with real signatures. It signs in at once.

It shares no code with the product's client, so that neither can hide the other's mistake.
"""

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT_ID = "punchcard"
CLIENT_SECRET = "a secret / of + the client"


class OidcProvider:
    """A running provider; as a context manager it is stopped at the end.

    Attributes:
        person: Claims of the person who is signed in.
        change_claims: Changes the claims of the next ID tokens.
        sign: Makes a token of header and claims.
        document: Members of the discovery document that differ.
        requests: Paths that were requested, in order.
    """

    def __init__(self) -> None:
        self.person: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.requests: list[str] = []
        self.change_claims: Callable[[dict[str, Any]], None] = lambda claims: None
        self.sign: Callable[[Mapping[str, Any], Mapping[str, Any]], str] = self.sign_rs256
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate_key()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="oidc-provider")
        self.reset()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def issuer(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reset(self) -> None:
        """Behave as a good provider again, with a person who is not known."""
        self.person = {"sub": "1", "email": "nobody@acme.example", "email_verified": True, "name": "Nobody"}
        self.document = {}
        self.change_claims = lambda claims: None
        self.sign = self.sign_rs256
        self.requests.clear()

    def rotate_key(self) -> None:
        """Replace the key by a new one with another id."""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_id = secrets.token_hex(4)

    def sign_rs256(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a token that is signed with the key."""
        content = f"{_encoded(header)}.{_encoded(claims)}"
        return f"{content}.{_base64(self._key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def sign_unsigned(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a token without a signature."""
        return f"{_encoded({**header, 'alg': 'none'})}.{_encoded(claims)}."

    def sign_tampered(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Return a token with claims other than those that were signed."""
        begin, _, signature = self.sign_rs256(header, claims).split(".")
        return f"{begin}.{_encoded({**claims, 'email': 'owner@acme.example'})}.{signature}"

    def _authorize(self, query: dict[str, str]) -> str:
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert {"openid", "email"} <= set(query["scope"].split())
        code = secrets.token_urlsafe()
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        query = self._codes.pop(form.get("code", ""), None)
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        client = (unquote(user), unquote(password))
        if not authorization:
            client = (form.get("client_id", ""), form.get("client_secret", ""))
        if client != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        challenge = _base64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            query is None
            or query["code_challenge"] != challenge
            or query["redirect_uri"] != form["redirect_uri"]
            or query["client_id"] != CLIENT_ID
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": query["nonce"]}
        claims |= self.person
        self.change_claims(claims)
        token = self.sign({"alg": "RS256", "kid": self.key_id, "typ": "JWT"}, claims)
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": token}

    def _keys(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (
            _base64(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e)
        )
        return {"keys": [{"kty": "RSA", "use": "sig", "kid": self.key_id, "n": modulus, "e": exponent}]}

    def _metadata(self) -> dict[str, Any]:
        endpoints = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "keys",
            "userinfo_endpoint": "userinfo",
        }
        return {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{path}" for name, path in endpoints.items()},
            **self.document,
        }

    def _handler(provider) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805  # `self` is the handler's
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                provider.requests.append(parts.path)
                if parts.path == "/authorize":
                    self.send_response(302)
                    self.send_header("Location", provider._authorize(dict(parse_qsl(parts.query))))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                bodies: dict[str, Callable[[], dict[str, Any]]] = {
                    "/.well-known/openid-configuration": provider._metadata,
                    "/keys": provider._keys,
                    "/userinfo": lambda: {"sub": "1", "email": "editor@acme.example", "email_verified": True},
                }
                body = bodies.get(parts.path)
                self._respond(*((200, body()) if body else (404, {})))

            def do_POST(self) -> None:
                provider.requests.append(self.path)
                content = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._respond(*provider._token(dict(parse_qsl(content)), self.headers.get("Authorization", "")))

            def _respond(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        return Handler


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _encoded(content: Mapping[str, Any]) -> str:
    return _base64(json.dumps(content).encode())

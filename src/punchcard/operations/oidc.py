"""Sign-in at an identity provider: OpenID Connect, authorization code flow with PKCE.

Sources: OpenID Connect Core 1.0, OpenID Connect Discovery 1.0, RFC 7636 (PKCE).
"""

import base64
import hashlib
import json
import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import jwt

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError, PunchcardError
from punchcard.store.access.token_store import Role

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SCOPE: Final = "openid email profile"
# Never a symmetric algorithm: with one, anybody who knows the public key could sign.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_CLOCK_DIFFERENCE_SECONDS: Final = 60
_TIMEOUT_SECONDS: Final = 10
_RESPONSE_BYTES_MAX: Final = 1 << 20
_METADATA_AGE_MAX: Final = timedelta(minutes=10)
_VERIFIER_BYTES: Final = 48


class OidcError(PunchcardError):
    """The sign-in at the identity provider has failed; the message says why."""

    code = "oidc_failed"


@dataclass(frozen=True, kw_only=True)
class OidcSettings:
    """An identity provider.

    Attributes:
        name: As the button on the sign-in page names it.
        issuer: URL below which its discovery document is.
        client_secret: "" for a public client, which only PKCE protects.
        allowed_domains: Domains of the emails that may sign in, lower-cased; none for any.
        new_user_role: Role of people who have no account, None to refuse them.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str
    allowed_domains: tuple[str, ...] = ()
    new_user_role: Role | None = None


@dataclass(frozen=True, kw_only=True)
class OidcRequest:
    """What a sign-in sends to the provider, and compares with what comes back.

    Attributes:
        state: Proves that the response belongs to this browser.
        nonce: Proves that the ID token belongs to this sign-in.
        verifier: Proves to the provider that the code is used by who requested it (PKCE).
    """

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "OidcRequest":
        """Return a request with new random values."""
        return cls(
            state=secrets.token_urlsafe(),
            nonce=secrets.token_urlsafe(),
            verifier=secrets.token_urlsafe(_VERIFIER_BYTES),
        )


@dataclass(frozen=True, kw_only=True)
class OidcIdentity:
    """A person as the provider knows them; the provider has verified the email.

    Attributes:
        email: Lower-cased.
    """

    email: str
    name: str


@dataclass(frozen=True, kw_only=True)
class _Metadata:
    """The discovery document of a provider, and its keys."""

    document: Mapping[str, Any]
    keys: jwt.PyJWKSet
    read_at: datetime


def read_oidc_settings(
    *, name: str, issuer: str, client_id: str, client_secret: str, allowed_domains: str, new_users: str
) -> OidcSettings:
    """Return the settings of a provider.

    Args:
        allowed_domains: Separated by blanks or commas.
        new_users: A role, "" to refuse people without an account.

    Raises:
        ConfigurationError: A value is invalid; the context has the `field`.
    """

    def refuse(field: str, message: str) -> ConfigurationError:
        return ConfigurationError(message, code="invalid_request", field=field)

    issuer = issuer.strip()
    if not _is_safe_url(issuer):
        raise refuse("issuer", "Enter a URL that begins with https://, without the path of the discovery document.")
    if not client_id.strip():
        raise refuse("client_id", "Enter the client id that the identity provider has given.")
    domains = tuple(domain.strip().lstrip("@").lower() for domain in allowed_domains.replace(",", " ").split())
    if any("." not in domain or "@" in domain for domain in domains):
        raise refuse("allowed_domains", "Enter domains such as example.com, separated by blanks.")
    if new_users and new_users not in set(Role):
        raise refuse("new_users", f"Choose one of {', '.join(Role)}, or nothing.")
    if new_users and not domains:
        raise refuse("allowed_domains", "Name the domains, or everybody with an account at the provider gets one here.")
    return OidcSettings(
        name=name.strip() or "single sign-on",
        issuer=issuer,
        client_id=client_id.strip(),
        client_secret=client_secret.strip(),
        allowed_domains=domains,
        new_user_role=Role(new_users) if new_users else None,
    )


class OidcClient:
    """Talks to identity providers. Thread-safe; the documents of a provider are read every ten minutes."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: dict[str, _Metadata] = {}

    def check(self, settings: OidcSettings) -> None:
        """Read the discovery document and the keys of a provider. Waits for the network.

        Raises:
            OidcError: They cannot be read, or are not those of this issuer.
        """
        self._read_metadata(settings)

    def authorization_url(self, settings: OidcSettings, request: OidcRequest, *, redirect_uri: str) -> str:
        """Return the page of the provider at which a person signs in.

        Raises:
            OidcError: The provider cannot be reached.
        """
        endpoint = _endpoint(self._cached_metadata(settings).document, "authorization_endpoint")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(request.verifier.encode()).digest()).rstrip(b"=")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": settings.client_id,
                "redirect_uri": redirect_uri,
                "scope": _SCOPE,
                "state": request.state,
                "nonce": request.nonce,
                "code_challenge": challenge.decode(),
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def identify(self, settings: OidcSettings, request: OidcRequest, *, code: str, redirect_uri: str) -> OidcIdentity:
        """Exchange the code that the provider has sent, and verify who it is.

        Raises:
            OidcError: The code or the ID token is not valid, or the person may not sign in here.
        """
        document = self._cached_metadata(settings).document
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": request.verifier,
        }
        tokens = _post(_endpoint(document, "token_endpoint"), *_authenticated(settings, document, form))
        claims = self._verified_claims(settings, tokens.get("id_token"))
        if not secrets.compare_digest(str(claims.get("nonce", "")), request.nonce):
            raise OidcError("The ID token belongs to another sign-in. Try again.")
        if "email" not in claims and "userinfo_endpoint" in document:
            headers = {"Authorization": f"Bearer {tokens.get('access_token', '')}"}
            details = _get(_endpoint(document, "userinfo_endpoint"), headers)
            if details.get("sub") != claims["sub"]:
                raise OidcError("The identity provider has sent details of another person.")
            claims = {**details, **claims}
        return _identity(settings, claims)

    def _verified_claims(self, settings: OidcSettings, token: object) -> dict[str, Any]:
        if not isinstance(token, str):
            raise OidcError("The identity provider has sent no ID token.")
        try:
            key = self._signing_key(settings, token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(_ALGORITHMS),
                audience=settings.client_id,
                issuer=settings.issuer,
                leeway=_CLOCK_DIFFERENCE_SECONDS,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except jwt.PyJWTError as error:
            raise OidcError(f"The ID token is not valid: {error}.") from error
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != settings.client_id:
            raise OidcError("The ID token was issued to another client.")
        return claims

    def _signing_key(self, settings: OidcSettings, token: str) -> jwt.PyJWK:
        id_ = jwt.get_unverified_header(token).get("kid")
        for read in (self._cached_metadata, self._read_metadata):  # a key that is not known may be a new one
            keys = [key for key in read(settings).keys.keys if key.public_key_use in (None, "sig")]
            matches = [key for key in keys if id_ is None or key.key_id == id_]
            if len(matches) == 1:
                return matches[0]
        raise OidcError("The ID token was signed with an unknown key.")

    def _cached_metadata(self, settings: OidcSettings) -> _Metadata:
        with self._lock:
            cached = self._metadata.get(settings.issuer)
        if cached is not None and abs(self._clock.now() - cached.read_at) < _METADATA_AGE_MAX:
            return cached
        return self._read_metadata(settings)

    def _read_metadata(self, settings: OidcSettings) -> _Metadata:
        document = _get(f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != settings.issuer:
            raise OidcError(f"The discovery document belongs to the issuer {document.get('issuer')!r}.")
        for endpoint in ("authorization_endpoint", "token_endpoint"):
            _endpoint(document, endpoint)
        try:
            keys = jwt.PyJWKSet.from_dict(dict(_get(_endpoint(document, "jwks_uri"))))
        except jwt.PyJWTError as error:
            raise OidcError(f"The keys of the identity provider cannot be used: {error}.") from error
        metadata = _Metadata(document=document, keys=keys, read_at=self._clock.now())
        with self._lock:
            self._metadata[settings.issuer] = metadata
        return metadata


def _identity(settings: OidcSettings, claims: Mapping[str, Any]) -> OidcIdentity:
    email = str(claims.get("email") or "").strip().lower()
    if not email:
        raise OidcError("The identity provider has sent no email.")
    if claims.get("email_verified") not in (True, "true"):
        raise OidcError(f"The identity provider has not verified the email {email}.")
    if settings.allowed_domains and email.rpartition("@")[2] not in settings.allowed_domains:
        raise OidcError(f"Only people of {', '.join(settings.allowed_domains)} may sign in, not {email}.")
    return OidcIdentity(email=email, name=str(claims.get("name") or email.partition("@")[0]))


def _authenticated(
    settings: OidcSettings, document: Mapping[str, Any], form: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the form and the headers of a token request, with the secret where the provider expects it."""
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if settings.client_secret and "client_secret_basic" in methods:
        pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
        return form, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    secret = {"client_secret": settings.client_secret} if settings.client_secret else {}
    return {**form, "client_id": settings.client_id, **secret}, {}


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    url = document.get(name)
    if not isinstance(url, str) or not _is_safe_url(url):
        raise OidcError(f"The discovery document has no usable {name}.")
    return url


def _is_safe_url(url: str) -> bool:
    """Return whether what is sent there is protected: by TLS, or because it stays on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # both raise for what cannot be read
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


def _get(url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    return _read_json(urllib.request.Request(url, headers={"Accept": "application/json", **(headers or {})}))


def _post(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Mapping[str, Any]:
    all_headers = {"Accept": "application/json", **headers}
    return _read_json(urllib.request.Request(url, data=urlencode(form).encode(), headers=all_headers))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead to an address without TLS, and take the secret along."""

    def redirect_request(self, *args: object) -> None:
        """Refuse."""
        return


_open: Callable[..., Any] = urllib.request.build_opener(_NoRedirect).open


def _read_json(request: urllib.request.Request) -> Mapping[str, Any]:
    host = urlsplit(request.full_url).hostname
    try:
        with _open(request, timeout=_TIMEOUT_SECONDS) as response:
            content = response.read(_RESPONSE_BYTES_MAX)
        decoded = json.loads(content)
    except urllib.error.HTTPError as error:
        with error:
            reason = _error_reason(error.read(_RESPONSE_BYTES_MAX))
        raise OidcError(f"{host} responded with {error.code}{reason}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise OidcError(f"{host} cannot be used: {getattr(error, 'reason', None) or error}.") from error
    if not isinstance(decoded, dict):
        raise OidcError(f"{host} has not sent a JSON object.")
    return decoded


def _error_reason(content: bytes) -> str:
    """Return the error code of RFC 6749 in a response, "" if it has none."""
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    code = decoded.get("error") if isinstance(decoded, dict) else None
    return f" ({code})" if isinstance(code, str) and code.isidentifier() else ""

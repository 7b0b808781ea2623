"""Random secrets of cookies, links and codes. The store has only their digests, by which they are looked up."""

import hashlib
import secrets

_SECRET_BYTES = 32


def new_secret() -> str:
    """Return a random text for a cookie or a link."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def secret_digest(secret: str) -> str:
    """Return the 64 hex digits under which a secret is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

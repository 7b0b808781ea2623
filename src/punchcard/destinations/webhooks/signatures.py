"""Signs request bodies with a shared secret: as Segment does, or as Standard Webhooks says. Pure."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from punchcard.destinations.webhooks.settings import STANDARD_SECRET_PREFIX, WebhooksSettings


def signature_headers(settings: WebhooksSettings, body: bytes, *, request_id: str, at: int) -> Mapping[str, str]:
    """Return the headers that sign a body; none without a shared secret.

    Args:
        request_id: The same in every try of the same events.
        at: Seconds since 1970.
    """
    secret = settings.shared_secret
    if not secret:
        return {}
    if not settings.is_standard:
        # SHA-1 because that is what receivers of Segment's webhooks verify; as an HMAC it is not known to be broken.
        return {"X-Signature": hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()}
    key = secret.encode()
    if secret.startswith(STANDARD_SECRET_PREFIX):
        key = base64.b64decode(secret.removeprefix(STANDARD_SECRET_PREFIX))
    signed = f"{request_id}.{at}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": request_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{digest}"}

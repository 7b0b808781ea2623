"""Signatures as receivers verify them; the expected values were made with other tools."""

import base64
import hashlib
import hmac

from punchcard.destinations.webhooks.settings import WebhooksSettings
from punchcard.destinations.webhooks.signatures import signature_headers

# printf '%s' '{"a":1}' | openssl dgst -sha1 -hmac secret
SEGMENT = "f8446672f033e4b2beafc5ca3a71eafcd2cafb6e"


def headers(settings: WebhooksSettings, body: bytes = b'{"a":1}') -> dict[str, str]:
    return dict(signature_headers(settings, body, request_id="m1", at=1_700_000_000))


def test_nothing_is_signed_without_a_secret() -> None:
    assert headers(WebhooksSettings(url="https://example.com")) == {}


def test_segments_signature_is_the_hexadecimal_hmac_of_the_body() -> None:
    settings = WebhooksSettings(url="https://example.com", shared_secret="secret")
    assert headers(settings) == {"X-Signature": SEGMENT}
    assert headers(settings, b'{"a":2}') != headers(settings)


def test_standard_webhooks_sign_id_time_and_body() -> None:
    # The example of the specification of Standard Webhooks.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    settings = WebhooksSettings(url="https://example.com", shared_secret=secret, is_standard=True)
    body = b'{"test": 2432232314}'
    signed = dict(signature_headers(settings, body, request_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=1614265330))
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_without_the_prefix_is_used_as_it_stands() -> None:
    settings = WebhooksSettings(url="https://example.com", shared_secret="plain", is_standard=True)
    key = hmac.new(b"plain", b'm1.1700000000.{"a":1}', hashlib.sha256).digest()
    assert headers(settings)["webhook-signature"] == "v1," + base64.b64encode(key).decode()

"""Segment's cloud as the caller of the partner endpoint, for tests."""

import base64
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from punchcard.testing.partner.configuration import FORWARDED_SETTINGS, PARTNER_PATH
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess

_numbers = count(1)


def new_id(word: str) -> str:
    """Return an id that no other test uses."""
    return f"{word}-{next(_numbers)}"


def event(message_id: str, name: str = "Checked In", **more: Any) -> dict[str, Any]:
    """Return an event as Segment's partners receive it."""
    return {
        "type": "track",
        "channel": "server",
        "userId": "ann",
        "event": name,
        "messageId": message_id,
        "properties": {"email": f"{message_id}@example.com"},
        "context": None,
        "integrations": None,
        "projectId": "PROJ",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "originalTimestamp": "2026-01-01 00:00:00.000000001 +0000 UTC m=+1.5",
        **more,
    }


def partner(
    product: ProductProcess,
    body: object,
    *,
    key: str = SandboxProcess.token,
    settings: object = FORWARDED_SETTINGS,
    headers: Mapping[str, str] | None = None,
    path: str = PARTNER_PATH,
) -> tuple[int, Any]:
    """Call the partner endpoint; return status and body of the response."""
    sent = {
        "Authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}",
        "X-Segment-Settings": base64.b64encode(json.dumps(settings).encode()).decode(),
        "User-Agent": "Segment.io/1.0",
        **(headers or {}),
    }
    return product.call("POST", path, body=body, headers=sent)


def booked(sandbox: SandboxProcess, email: str) -> list[str]:
    """Return the quantities that the customer has received."""
    return [transaction["quantity"] for transaction in sandbox.transactions() if transaction["email"] == email]


def message_of(response: tuple[int, Any]) -> str:
    """Return the message of a refusal, which has no other member.

    Raises:
        ValueError: The response is not a refusal.
    """
    status, body = response
    if status < 400 or set(body) != {"message"}:
        raise ValueError(f"This is not a refusal: {status} {body}.")
    return str(body["message"])

"""Events as a shop's website sends them: about 1.1 KB each, one in fifty an order that earns points."""

import json
import uuid
from collections.abc import Iterator

EVENTS_PER_BODY = 100
MAPPED_EVERY = 50
NAMES = ("Product Viewed", "Product List Viewed", "Product Added", "Cart Viewed", "Page Scrolled")


def bodies(count: int, *, seed: int = 0) -> Iterator[bytes]:
    """Request bodies of 100 events, every event with its own message id and every order with its own order id."""
    templates = [_template(number, seed) for number in range(20)]
    for number in range(count):
        text = templates[number % len(templates)]
        base = uuid.UUID(int=(seed << 96) | number << 16).hex
        yield text.replace(b"BODYNUMBER", base.encode())


def one_event(number: int) -> bytes:
    """One track call of about 1.1 KB as its own request body."""
    return json.dumps(_event(number, f"single-{number}")).encode()


def _template(number: int, seed: int) -> bytes:
    batch = [_event(number * EVENTS_PER_BODY + index, f"BODYNUMBER-{index:04}") for index in range(EVENTS_PER_BODY)]
    return json.dumps({"batch": batch, "sentAt": "2026-01-02T03:04:06.000Z", "writeKey": "wk_bench"}).encode()


def _event(number: int, message_id: str) -> dict[str, object]:
    is_order = number % MAPPED_EVERY == 0
    person = number % 5_000
    properties: dict[str, object] = {
        "email": f"person{person}@example.com",
        "currency": "USD",
        "value": 12.5 + number % 90,
        "products": [
            {"product_id": f"sku-{number % 977}", "name": "Trail shoe, größe 42", "price": 89.9, "quantity": 1},
            {"product_id": f"sku-{number % 733}", "name": "Water bottle", "price": 12.5, "quantity": 2},
        ],
    }
    if is_order:
        properties |= {"order_id": f"order-{message_id}", "revenue": 102.4}
    return {
        "type": "track",
        "event": "Order Completed" if is_order else NAMES[number % len(NAMES)],
        "messageId": message_id,
        "userId": f"user-{person}",
        "anonymousId": f"anonymous-{person}",
        "timestamp": "2026-01-02T03:04:05.123Z",
        "properties": properties,
        "context": {
            "library": {"name": "analytics.js", "version": "next-1.70.0"},
            "locale": "en-US",
            "timezone": "America/Los_Angeles",
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari",
            "page": {
                "path": f"/products/{number % 977}",
                "referrer": "https://shop.example.com/",
                "search": "?utm_source=newsletter",
                "title": f"Product {number % 977}",
                "url": f"https://shop.example.com/products/{number % 977}?utm_source=newsletter",
            },
            "campaign": {"name": "spring", "source": "newsletter", "medium": "email"},
        },
        "integrations": {},
    }

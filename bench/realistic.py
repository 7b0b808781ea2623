"""Events that differ as those of real senders do: people, products, pages and browsers are drawn by chance."""

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

MAPPED_EVERY = 10
"""One event in so many is an order."""
_SEED = 17
_NAMES = ("Product Viewed", "Product List Viewed", "Product Added", "Cart Viewed", "Page Scrolled", "Search Performed")
_WORDS_TEXT = (
    "trail road river summit canyon harbor meadow cedar willow granite copper amber slate ivory crimson cobalt "
    "light storm winter summer urban classic pro lite max mini jacket shoe boot bottle pack tent lamp glove sock "
    "shirt short cap scarf towel mat band rope cable filter stove cup plate fork chair table shelf clock frame"
)
_WORDS = _WORDS_TEXT.split()
_FIRST_TEXT = "Ann Ben Chloe David Ella Finn Grace Hugo Ida Jonas Kim Lena Max Nora Oscar Paula Quinn Rosa Sam Tara"
_LAST_TEXT = "Abbott Baker Cruz Dietz Evans Fischer Garcia Huber Ito Jensen Klein Lopez Meyer Novak Olsen Park Rossi"
_FIRST, _LAST = _FIRST_TEXT.split(), _LAST_TEXT.split()
_SYSTEMS = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
    "iPhone; CPU iPhone OS 17_5 like Mac OS X",
    "Linux; Android 14; Pixel 8",
)
_ZONES = ("America/Los_Angeles", "America/New_York", "Europe/Berlin", "Europe/London", "Asia/Tokyo")


def realistic_bodies(events: int, *, events_per_body: int) -> Iterator[bytes]:
    """Return request bodies of so many events in all; of single calls if each has one event."""
    chance = random.Random(_SEED)  # the same events in every run
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    batch: list[dict[str, object]] = []
    for number in range(events):
        at += timedelta(milliseconds=chance.randrange(1, 4_000))
        batch.append(_event(number, chance, at))
        if len(batch) == events_per_body:
            content = batch[0] if events_per_body == 1 else {"batch": batch, "sentAt": _text(at)}
            yield json.dumps(content).encode()
            batch = []


def _event(number: int, chance: random.Random, at: datetime) -> dict[str, object]:
    is_order = number % MAPPED_EVERY == 0
    first, last, person = chance.choice(_FIRST), chance.choice(_LAST), chance.randrange(40_000)
    products = [_product(chance) for _ in range(chance.randrange(1, 4))]
    page = "-".join(chance.sample(_WORDS, 3))
    version = f"{chance.randrange(110, 132)}.0.{chance.randrange(7_000)}.{chance.randrange(200)}"
    properties: dict[str, object] = {
        "email": f"{first}.{last}{person}@example.com".lower(),
        "currency": "USD",
        "value": chance.randrange(500, 20_000) / 100,
        "products": products,
    }
    if is_order:
        properties |= {"order_id": f"{chance.getrandbits(40):x}", "revenue": chance.randrange(500, 50_000) / 100}
    return {
        "type": "track",
        "event": "Order Completed" if is_order else chance.choice(_NAMES),
        "messageId": f"ajs-next-{uuid.UUID(int=chance.getrandbits(128))}",
        "userId": f"{chance.getrandbits(48):x}",
        "anonymousId": str(uuid.UUID(int=chance.getrandbits(128))),
        "timestamp": _text(at),
        "properties": properties,
        "context": {
            "library": {"name": "analytics.js", "version": "next-1.70.0"},
            "locale": "en-US",
            "timezone": chance.choice(_ZONES),
            "userAgent": f"Mozilla/5.0 ({chance.choice(_SYSTEMS)}) AppleWebKit/537.36 Chrome/{version} Safari/537.36",
            "page": {
                "path": f"/products/{page}",
                "url": f"https://shop.example.com/products/{page}?gclid={chance.getrandbits(96):x}",
                "title": " ".join(word.capitalize() for word in page.split("-")),
            },
        },
    }


def _product(chance: random.Random) -> dict[str, object]:
    return {
        "product_id": f"{chance.randrange(10**6):06}",
        "name": " ".join(chance.sample(_WORDS, 2)),
        "price": chance.randrange(300, 30_000) / 100,
        "quantity": chance.randrange(1, 4),
    }


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

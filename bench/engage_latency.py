"""How long after its receipt an event's identify is queued: 1,000 events a second, twenty audiences, real processes."""

import base64
import json
import sqlite3
import threading
import time
import urllib.request

from bench.delivery import settings_for
from bench.product import WRITE_KEY, product
from bench.report import percentile
from bench.size import size

_PER_SECOND = size(1_000, 100)
_SECONDS = size(30, 5)
_WARM_UP = size(5, 1)
_BATCH = 100
_POLL_SECONDS = 0.05


def measure(definitions: tuple[str, ...]) -> tuple[list[float], int]:
    """Seconds from sending to the queued identify of each new member, and how many events there were.

    Every event is a first order of somebody new, so that each enters an audience; what is queued waits (paused).
    """
    audiences = [
        {"name": f"Audience {number}", "definition": text, "destinations": ["perkville"]}
        for number, text in enumerate(("event('Order Completed').within(30 days).count() >= 1", *definitions[1:]))
    ]
    settings, options = settings_for("http://127.0.0.1:9")
    with product(settings, options, more={"audiences": audiences}) as running:
        store = sqlite3.connect(f"file:{running.data / 'punchcard.db'}?mode=ro", uri=True)
        with sqlite3.connect(running.data / "punchcard.db", timeout=10) as writing:
            writing.execute("INSERT INTO sync_pauses VALUES ('perkville', 0, 'bench')")
        sent: list[float] = []
        sender = threading.Thread(target=_send, args=(running.url, sent))
        sender.start()
        seen = 0
        latencies: list[float] = []
        total = _PER_SECOND * _SECONDS
        end = time.perf_counter() + _SECONDS + 60
        query = "SELECT count(*) FROM sync_queue WHERE destination = 'perkville' AND key = 'audience_0'"
        while seen < total and time.perf_counter() < end:
            time.sleep(_POLL_SECONDS)
            count = store.execute(query).fetchone()[0]
            now = time.perf_counter()
            # People are queued in the order of the log, so the n-th queued one was the n-th sent.
            latencies += [now - sent[number] for number in range(seen, count)]
            seen = count
        sender.join()
        store.close()
    return latencies[_WARM_UP * _PER_SECOND :], total


def _send(url: str, sent: list[float]) -> None:
    key = base64.b64encode(f"{WRITE_KEY}:".encode()).decode()
    headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}
    begun = time.perf_counter()
    for batch in range(_PER_SECOND * _SECONDS // _BATCH):
        time.sleep(max(0.0, begun + batch * _BATCH / _PER_SECOND - time.perf_counter()))
        events = [_event(batch * _BATCH + number) for number in range(_BATCH)]
        body = json.dumps({"batch": events}).encode()
        at = time.perf_counter()
        sent += [at] * _BATCH
        request = urllib.request.Request(f"{url}/v1/batch", data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=30):
            pass


def _event(number: int) -> dict[str, object]:
    properties = {"order_id": f"o{number}", "revenue": 60.5, "sku": "sku-1", "email": f"p{number}@example.com"}
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": f"user-{number}",
        "messageId": f"bench-{number}",
        "properties": properties,
    }


def report(definitions: tuple[str, ...]) -> tuple[float, float, int, int]:
    """p50 and p95 in seconds, how many were measured, and how many events there were."""
    latencies, total = measure(definitions)
    return percentile(latencies, 0.5), percentile(latencies, 0.95), len(latencies), total

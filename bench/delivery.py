"""Delivery against a null partner: transactions a second with every attempt on record, limit off."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import uvloop

from bench.report import Figure, show
from bench.size import size
from punchcard.clock import SystemClock
from punchcard.delivery.loop import DestinationDelivery
from punchcard.delivery.stages import DeliveryTarget
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.http_client import HttpClient
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState, NewEffect
from punchcard.store.engine import Store

_EFFECTS = size(10_000, 200)
_ROUNDS = size(3, 1)
_IN_FLIGHT = 64
_DELIVERED = ledger.LedgerQuery(destination="perkville", states=[EffectState.DELIVERED])


@dataclass(frozen=True)
class NullPartnerProcess:
    """A null partner in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def posts(self) -> tuple[int, float]:
        """Return how many POSTs have come, and when the last did on the clock of `time.perf_counter`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        number, last = self.process.stdout.readline().split()
        return int(number), float(last)


@contextmanager
def null_partner() -> Iterator[str]:
    """A null partner in a process of its own; yields its URL."""
    with null_partner_process() as partner:
        yield partner.url


@contextmanager
def null_partner_process() -> Iterator[NullPartnerProcess]:
    """A null partner that can say what it has received."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.null_partner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield NullPartnerProcess(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def settings_for(url: str) -> tuple[dict[str, object], dict[str, object]]:
    """Perkville settings and options that point at a local partner, with no limit."""
    settings: dict[str, object] = {
        "apiKey": "bench",
        "businessId": "41",
        "locationId": "7",
        "sendEmail": False,
        "eventToPerkMap": {"Order Completed": "123456"},
    }
    return settings, {"apiBaseUrl": url, "requestsPerSecond": 0, "concurrency": _IN_FLIGHT}


def main() -> None:
    """Measure and print."""
    with null_partner() as url:
        ceiling = max(uvloop.run(_bare_posts(url)) for _ in range(2))
        rounds = [uvloop.run(_deliver(url)) for _ in range(_ROUNDS)]
    show(
        Figure(
            name="delivery, every attempt recorded",
            unit="trans/s",
            values=[rate for rate, _ in rounds],
            target=8_000,
            ceiling=ceiling,
            ceiling_name="bare POSTs",
        )
    )
    show(
        Figure(
            name="delivery, CPU of an award",
            unit="µs",
            values=[cpu_micros for _, cpu_micros in rounds],
            target=150,
            at_most=True,
        )
    )


async def _bare_posts(url: str) -> float:
    """Ceiling: the same requests with nothing recorded."""
    body = b'{"perk": "/v2/perks/123456/", "quantity": "9.99"}'
    client = HttpClient(url, headers={}, connections_max=_IN_FLIGHT)

    async def post_bodies() -> None:
        for _ in range(_EFFECTS // _IN_FLIGHT):
            await client.request("POST", "/v2/transactions/", seconds=60, body=body, body_bytes_max=10_000)

    begun = time.perf_counter()
    await asyncio.gather(*(post_bodies() for _ in range(_IN_FLIGHT)))
    rate = _EFFECTS / (time.perf_counter() - begun)
    await client.close()
    return rate


async def _deliver(url: str) -> tuple[float, float]:
    """Return the awards a second, and the CPU of all threads for one, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'punchcard.db'}")
        _fill(store)
        partner = CATALOG["perkville"]
        settings = partner.read_settings(*settings_for(url))
        target = DeliveryTarget(
            slug="perkville",
            partner=partner,
            settings=settings,
            options=partner.delivery_options(settings),
            fingerprint="bench",
        )
        delivery = DestinationDelivery(
            "perkville", store=store, clock=SystemClock(), current=lambda: target, poll_seconds=1
        )
        stopping = asyncio.Event()
        collect_rarely()  # as the worker process does
        begun, cpu_begun = time.perf_counter(), time.process_time()
        running = asyncio.create_task(delivery.run(stopping, grace_seconds=5))
        while await asyncio.to_thread(_delivered, store) < _EFFECTS:
            await asyncio.sleep(0.05)
        seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
        stopping.set()
        await running
        store.close()
        return _EFFECTS / seconds, cpu_seconds / _EFFECTS * 1e6


def _delivered(store: Store) -> int:
    with store.reading() as work:
        return ledger.count(work, _DELIVERED)


def _fill(store: Store) -> None:
    now = datetime.now(UTC)
    with store.unit_of_work() as work:
        outbox.add(
            work,
            [
                NewEffect(
                    destination="perkville",
                    effect_key=f"SEG:bench:ORDER:{number}:order-completed",
                    kind="transaction",
                    source="bench",
                    message_id=f"m{number}",
                    event_name="Order Completed",
                    log_position=1,
                    event_index=number,
                    received_at=now,
                    customer=f"c{number % 5000}@example.com",
                    email=f"c{number % 5000}@example.com",
                    item="123456",
                    requested_quantity=Decimal("9.99"),
                    attributes=None,
                    order_id=str(number),
                    is_refund=False,
                )
                for number in range(_EFFECTS)
            ],
            now=now,
        )


if __name__ == "__main__":
    main()

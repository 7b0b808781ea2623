"""How long a reconciliation of 100,000 transactions takes of our own time.

    python -m bench.reconcile

A process of its own plays Perkville: it answers pages of transactions that it has made before. Our own time is the
processor time of the process that reads them through the client, keeps them, and compares them with the ledger.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import uvloop
from sqlalchemy import update

from bench.delivery import settings_for
from bench.report import Figure, show
from bench.size import size
from punchcard.clock import SystemClock
from punchcard.delivery.request_permits import OwnPermits
from punchcard.delivery.stages import DeliveryTarget
from punchcard.destinations.catalog import CATALOG
from punchcard.operations.reconciliation_runner import (
    ReconciledDestination,
    ReconciliationPlan,
    ReconciliationRunner,
)
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState, NewEffect
from punchcard.store.delivery.schema import effects
from punchcard.store.engine import Store
from punchcard.store.operations import reconciliations
from punchcard.store.operations.reconciliation_differences import count_differences
from punchcard.store.operations.reconciliations import ReconciliationStatus

_TRANSACTIONS = size(100_000, 2_000)
_MISSING_EVERY = 1_000
_CUSTOMERS = 5_000
_PER_UNIT = 5_000
_SECONDS_MAX = 10.0
_MEGABYTES_MAX = 1_000
_SERVE = "--serve"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="reconcile-bench-") as folder, _partner() as url:
        store = Store(f"sqlite:///{Path(folder) / 'punchcard.db'}")
        _fill(store)
        begun = time.perf_counter()
        begun_cpu = time.process_time()
        differences = uvloop.run(_reconcile(store, url))
        own, seconds = time.process_time() - begun_cpu, time.perf_counter() - begun
        store.close()
    if differences != _TRANSACTIONS // _MISSING_EVERY:
        raise AssertionError(f"{differences} differences")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    name = f"reconcile {_TRANSACTIONS:,} transactions, our own time"
    show(Figure(name=name, unit="s", values=[own], target=_SECONDS_MAX, at_most=True))
    show(Figure(name="  from the request to the report", unit="s", values=[seconds]))
    memory = Figure(name="  peak memory", unit="MB", values=[megabytes], target=_MEGABYTES_MAX, at_most=True)
    show(memory)


async def _reconcile(store: Store, url: str) -> int:
    partner = CATALOG["perkville"]
    settings = partner.read_settings(*settings_for(url))
    target = DeliveryTarget(
        slug="perkville",
        partner=partner,
        settings=settings,
        options=partner.delivery_options(settings),
        fingerprint="bench",
    )
    destination = ReconciledDestination(target=target, scopes=frozenset({"bench", "perkville"}), zone=ZoneInfo("UTC"))
    clock = SystemClock()
    runner = ReconciliationRunner(
        "perkville",
        store=store,
        clock=clock,
        current=lambda: destination,
        permits=OwnPermits(0, clock),
        plan=ReconciliationPlan(),
    )
    with store.unit_of_work() as work:
        requested = reconciliations.add_reconciliation(
            work, "perkville", since=clock.now() - timedelta(days=30), requested_by="bench", now=clock.now()
        )
    await runner.run_once(asyncio.Event())
    with store.reading() as work:
        finished = reconciliations.reconciliation_by_id(work, "perkville", requested.id)
    if finished is None or finished.status is not ReconciliationStatus.FINISHED:
        raise AssertionError(f"not finished: {finished}")
    if finished.totals.ledger_count != _TRANSACTIONS:
        raise AssertionError(f"compared {finished.totals}")
    with store.reading() as work:
        return sum(count_differences(work, [requested.id])[requested.id].values())


def _fill(store: Store) -> None:
    """Fill the ledger with delivered awards."""
    now = datetime.now(UTC)
    received_at = now - timedelta(days=3)
    for begin in range(0, _TRANSACTIONS, _PER_UNIT):
        with store.unit_of_work() as work:
            outbox.add(
                work,
                [_effect(number, received_at) for number in range(begin, min(begin + _PER_UNIT, _TRANSACTIONS))],
                now=received_at,
            )
    with store.unit_of_work() as work:
        delivered = {"state": EffectState.DELIVERED, "is_open": False, "finished_at": received_at, "attempts": 1}
        work.execute(update(effects).values(**delivered, quantity=effects.c.requested_quantity))


def _effect(number: int, received_at: datetime) -> NewEffect:
    email = f"person{number % _CUSTOMERS}@example.com"
    return NewEffect(
        destination="perkville",
        effect_key=f"SEG:bench:ORDER:{number}:order-completed",
        kind="transaction",
        source="bench",
        message_id=f"m{number}",
        event_name="Order Completed",
        log_position=number + 1,
        event_index=0,
        received_at=received_at,
        customer=email,
        email=email,
        item="123456",
        requested_quantity=Decimal("9.99"),
        attributes=None,
        order_id=str(number),
        is_refund=False,
    )


@contextmanager
def _partner() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.reconcile", _SERVE]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _objects() -> list[str]:
    """Return the transactions of the ledger but some, as Perkville lists them."""
    booked = (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%S")
    return [
        json.dumps(
            {
                "transaction_id": number + 1,
                "title": "Order",
                "classification": "EARN",
                "points": 1,
                "quantity": "9.99",
                "transaction_dt": booked,
                "transaction_status": "ACTIVE",
                "user": f"/v2/users/{number % _CUSTOMERS + 1}/",
                "perk": "/v2/perks/123456/",
                "business": "/v2/businesses/41/",
                "trans_source_id": f"SEG:bench:ORDER:{number}:order-completed",
                "resource_uri": f"/v2/transactions/{number + 1}/",
            }
        )
        for number in range(_TRANSACTIONS)
        if number % _MISSING_EVERY
    ]


class _Partner(asyncio.Protocol):
    """Answers each list of transactions with the page that it asks for, and each user with their address."""

    def __init__(self, objects: list[str]) -> None:
        self._objects = objects
        self._pending = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            target = urlsplit(self._pending.split(b" ", 2)[1].decode())
            self._pending = self._pending[end + 4 :]
            body = self._user(target.path) if "/users/" in target.path else self._page(parse_qs(target.query))
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)

    def _page(self, query: dict[str, list[str]]) -> bytes:
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        listed = ", ".join(self._objects[offset : offset + limit])
        meta = f'{{"limit": {limit}, "offset": {offset}, "total_count": {len(self._objects)}}}'
        return f'{{"meta": {meta}, "objects": [{listed}]}}'.encode()

    def _user(self, path: str) -> bytes:
        number = int(path.strip("/").rpartition("/")[2]) - 1
        return f'{{"user_id": {number + 1}, "emails": [{{"email": "person{number}@example.com"}}]}}'.encode()


async def _serve() -> None:
    objects = _objects()
    server = await asyncio.get_running_loop().create_server(lambda: _Partner(objects), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    if _SERVE in sys.argv:
        uvloop.run(_serve())
    else:
        main()

"""The promise, with real processes: whatever dies and whatever Perkville does, each award stands exactly once.

Segment's own Python library sends. Meanwhile worker, serving process and sandbox are SIGKILLed at random and the
sandbox loses answers, resets connections, answers 503, 429 and HTML. At the end the sandbox's ledger decides.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.ports import reserved_port
from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

_CUSTOMERS = 150
_FAULTS: tuple[dict[str, object], ...] = (
    {},
    {"status": 503, "rate": 0.3},
    {"status": 429, "rate": 0.2, "retryAfter": 1},
    {"afterCommit": True, "rate": 0.3},
    {"afterCommit": True, "reset": True, "rate": 0.3},
    {"reset": True, "rate": 0.3},
    {"html": True, "status": 503, "rate": 0.3},
    {"status": 500, "rate": 0.3},
    {"latencyMs": 40},
)


@dataclass
class _Sent:
    """What was sent, and so what must stand at the end: quantity by effect key."""

    expected: dict[str, Decimal] = field(default_factory=dict)
    undelivered: list[dict[str, object]] = field(default_factory=list)  # batches that the library gave up on


def _events(awards: int, seed: int) -> Iterator[tuple[str, str, dict[str, object], str, str, Decimal]]:
    """Events with the effect key and quantity that each of them earns; refunds follow their orders."""
    chance = random.Random(seed)
    orders: list[tuple[str, str, Decimal]] = []
    for number in range(awards):
        message_id = f"message-{seed}-{number}"
        customer = f"customer{chance.randrange(_CUSTOMERS)}@example.com"
        draw = chance.random()
        if draw < 0.15 and orders:
            customer, order, amount = orders.pop(chance.randrange(len(orders)))
            properties: dict[str, object] = {"email": customer, "order_id": order, "total": float(amount)}
            key = f"SEG:perkville:REFUND:{order}:{message_id}"
            yield message_id, "Order Refunded", properties, customer, key, -amount
        elif draw < 0.55:
            order = f"order-{seed}-{number}"
            amount = Decimal(chance.randrange(100, 9999)) / 100
            orders.append((customer, order, amount))
            properties = {"email": customer, "order_id": order, "revenue": float(amount)}
            yield (
                message_id,
                "Order Completed",
                properties,
                customer,
                f"SEG:perkville:ORDER:{order}:order-completed",
                amount,
            )
        else:
            key = f"SEG:website:EVENT:{message_id}"
            yield message_id, "Checked In", {"email": customer}, customer, key, Decimal(1)


def _send_all(url: str, awards: int, seed: int, sent: _Sent, done: threading.Event) -> None:
    """Everything in order through one client; every tenth event is sent twice, as a nervous sender does."""

    def give_back(_error: object, batch: list[dict[str, object]]) -> None:
        sent.undelivered.extend(batch)

    client = Client(WRITE_KEY, host=url, on_error=give_back, upload_size=20, upload_interval=0.1, max_retries=30)
    try:
        for number, (message_id, event, properties, customer, key, quantity) in enumerate(_events(awards, seed)):
            sent.expected[key] = quantity
            for _ in range(2 if number % 10 == 0 else 1):
                client.track(user_id=customer, event=event, properties=properties, message_id=message_id)
            if number % 20 == 0:
                time.sleep(0.05)
        client.shutdown()
    finally:
        done.set()


def _wreak_havoc(
    product: ProductProcess, sandbox: SandboxProcess, chance: random.Random
) -> tuple[ProductProcess, SandboxProcess]:
    """One misfortune; returns the processes that run afterwards, on the same ports."""
    draw = chance.random()
    if draw < 0.35:
        product.kill_worker()
    elif draw < 0.55:
        port = product.port
        product.kill()
        product = ProductProcess(product.folder, port=port)
    elif draw < 0.65:
        port = sandbox.port
        sandbox.kill()
        time.sleep(0.3)
        sandbox = SandboxProcess(product.folder / "sandbox", port=port)
    else:
        sandbox.faults(chance.choice(_FAULTS))
    return product, sandbox


def _check(folder: Path, awards: int, seed: int, *, simulates: bool = False) -> None:
    with reserved_port() as product_port, reserved_port() as sandbox_port:
        _check_on(product_port, sandbox_port, folder, awards, seed, simulates=simulates)


def _check_on(product_port: int, sandbox_port: int, folder: Path, awards: int, seed: int, *, simulates: bool) -> None:
    chance = random.Random(seed)
    sandbox = SandboxProcess(folder / "sandbox", port=sandbox_port)
    product = ProductProcess(
        folder, configuration(perkville_url=sandbox.url, options={"retryAttemptsMax": 100}), port=product_port
    )
    sent = _Sent()
    done = threading.Event()
    sending = threading.Thread(target=_send_all, args=(product.url, awards, seed, sent, done))
    try:
        sending.start()
        while not done.wait(chance.uniform(0.3, 1.2)):
            product, sandbox = _wreak_havoc(product, sandbox, chance)
        for _ in range(6):
            product, sandbox = _wreak_havoc(product, sandbox, chance)
            time.sleep(0.5)
        sandbox.faults({})
        assert not sent.undelivered, f"seed {seed}: the sender gave up on {len(sent.undelivered)} events"
        _wait_until_idle(product, sandbox, len(sent.expected), seconds=600 + awards / 10)
        stands = sandbox.transactions()
        _, parked = product.call("GET", "/api/destinations/perkville/transactions?state=parked&count=5")
        simulated = _simulate(product, len(sent.expected)) if simulates else None
    finally:
        sending.join()
        product.stop()
        sandbox.stop()
    times = Counter(stand["trans_source_id"] for stand in stands)
    assert {key: count for key, count in times.items() if count > 1} == {}, f"seed {seed}: doubled"
    result = {stand["trans_source_id"]: Decimal(stand["quantity"]) for stand in stands}
    missing = {key: quantity for key, quantity in sent.expected.items() if key not in result}
    assert missing == {}, f"seed {seed}: missing; parked are {parked}"
    assert result == sent.expected, f"seed {seed}: other amounts than sent"
    if simulated is not None:
        rows = [row for row in simulated["byEvent"] if row["awards"] or row["actualAwards"]]
        differing = [
            row for row in rows if (row["awards"], row["quantity"]) != (row["actualAwards"], row["actualQuantity"])
        ]
        assert differing == [], f"seed {seed}: the simulation of the current configuration differs from the ledger"
        assert sum(row["awards"] for row in rows) == len(sent.expected), f"seed {seed}"
        assert sum(Decimal(row["quantity"]) for row in rows) == sum(sent.expected.values()), f"seed {seed}"


def _simulate(product: ProductProcess, awards: int) -> dict[str, Any]:
    """Simulate the current configuration, once the lake has all events; return the finished simulation."""
    path = "/api/destinations/perkville/simulations"

    def run() -> dict[str, Any]:
        _, body = product.call("POST", f"{path}?wait=0", body={"since": "30d"})
        started = body["data"]["simulation"]["id"]

        def read() -> dict[str, Any]:
            simulation: dict[str, Any] = product.call("GET", f"{path}/{started}")[1]["data"]["simulation"]
            return simulation

        wait_until(lambda: read()["status"] not in ("queued", "running"), read)
        finished = read()
        assert finished["status"] == "finished", finished
        return finished

    simulation = run()
    for _ in range(10):
        if simulation["totals"]["awards"] >= awards:
            break
        time.sleep(2)  # the lake gets events within seconds
        simulation = run()
    return simulation


def _wait_until_idle(product: ProductProcess, sandbox: SandboxProcess, count: int, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(sandbox.transactions()) >= count and _open(product) == 0:
            time.sleep(2)  # a doubled one would come now
            return
        time.sleep(0.5)


def _open(product: ProductProcess) -> int:
    waiting = 0
    for state in ("pending", "retrying", "unknown"):
        status, page = product.call("GET", f"/api/destinations/perkville/transactions?state={state}&count=1")
        waiting += page["data"]["pagination"]["totalEntries"] if status == 200 else 1
    return waiting


@pytest.mark.timeout(1800)
def test_every_award_stands_exactly_once_whatever_dies(tmp_path: Path) -> None:
    _check(tmp_path, awards=2_000, seed=20260102)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_tens_of_thousands_of_awards_stand_exactly_once(tmp_path: Path) -> None:
    _check(tmp_path, awards=20_000, seed=random.SystemRandom().randrange(10**9), simulates=True)

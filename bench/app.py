"""The App's pages over a full ledger and lake: server time of each, the debugger's delay, what they cost ingest.

    python -m bench.app [EVENTS, by default 10000000] [TRANSACTIONS, by default 1000000]

Builds both in a temporary folder (about 2 GB), starts `punchcard up` on it, signs in and asks as a browser does.
"""

import asyncio
import gzip
import http.client
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from sqlalchemy import Connection, insert, update

from bench import ingest
from bench.big_store import sum_counts
from bench.lake_lookup import event_body, uuids
from bench.product import WRITE_KEY, Product, own_cpu_seconds, product
from bench.report import percentile
from bench.size import size
from bench.workload import bodies
from punchcard.clock import from_micros, to_micros
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.store.delivery import outbox
from punchcard.store.delivery.counts import MINUTE_MICROS, RECEIVED, CountKey, Ended, add_counts, count_ends
from punchcard.store.delivery.effects import EffectState, NewEffect
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus, to_json
from punchcard.store.routing.positions import LAKE, ROUTING, advance

_EVENTS = size(10_000_000, 20_000)
_TRANSACTIONS = size(1_000_000, 2_000)
_BATCH = size(100_000, 10_000)
_PER_RECORD = 100
_DAYS = 30
_BODIES = size(20_000, 500)
_REQUESTS = size(30, 2)
_LIVE_BODIES = size(1_000, 50)
_ROUNDS = size(3, 1)
_PASSWORD = "correct horse battery"
_PAGES = (
    "/",
    "/?time=30d",
    "/customers?q=user-1",
    "/customers/user-77@example.com",
    "/events",
    "/events?time=30d",
    "/events?time=30d&destination=perkville&status=refused&reason=not_allowlisted",
    "/events?time=30d&name=Never+Seen",
    "/sources",
    "/sources/bench",
    "/sources/bench/debugger",
    "/destinations",
    "/destinations/perkville",
    "/destinations/perkville?time=30d",
    "/destinations/perkville/settings",
    "/destinations/perkville/filters",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/destinations/perkville/transactions?state=delivered&time=30d",
    "/destinations/perkville/transactions?q=user-77@example.com",
    "/destinations/perkville/transactions?q=order-500000",
    "/settings",
    "/settings/audit",
)


def main(events: int = _EVENTS, transactions: int = _TRANSACTIONS) -> None:
    """Measure and print."""
    settings = {
        "apiKey": "token",
        "businessId": "41",
        "locationId": "7",
        "sendEmail": False,
        "eventToPerkMap": {"Order Completed": "123456"},
    }
    # Nobody listens there: a page that asks Perkville is answered at once that it is away.
    options: dict[str, object] = {"apiBaseUrl": "http://127.0.0.1:9"}
    with product(settings, options, prepare=lambda data: _fill(data, events, transactions)) as running:
        cookie = _become_owner(running.url)
        print(f"{events:,} events in the lake, {transactions:,} transactions in the ledger")
        every: list[float] = []
        for path in _PAGES:
            times, size = _page(running.url, path, cookie)
            every += times
            print(
                f"{path:75} {statistics.median(times) * 1e3:6.0f} ms p50 {percentile(times, 0.95) * 1e3:6.0f} ms p95"
                f" {size / 1024:5.1f} KB gzipped"
            )
        print(f"all pages: {percentile(every, 0.95) * 1e3:.0f} ms p95 (target: 150)")
        _first_visit(running.url)
        delays = asyncio.run(_debugger(running.url, cookie))
        print(
            f"debugger at 1,000 events/s: {statistics.median(delays) * 1e3:.0f} ms p50, "
            f"{percentile(delays, 0.95) * 1e3:.0f} ms p95, {max(delays) * 1e3:.0f} ms at most, {len(delays):,} seen "
            "(target: below 1,000)"
        )
        _slow_down(running, cookie)


def _fill(data: Path, events: int, transactions: int) -> None:
    begun = time.perf_counter()
    store = Store(f"sqlite:///{data / 'punchcard.db'}")
    writer = LakeWriter(str(data / "lake"))
    chance = random.Random(1)
    texts = [event_body(chance) for _ in range(_BODIES)]
    wires = [msgspec.json.Decoder(WireEvent).decode(text) for text in texts]
    refused = to_json(
        [EventResult("perkville", EventStatus.REFUSED, "not_allowlisted", "this event is not in eventToPerkMap")]
    )
    end = to_micros(datetime.now(UTC))
    begin = end - to_micros(from_micros(0) + timedelta(days=_DAYS))
    orders = count()
    each = max(1, events // max(1, transactions))
    for first in range(0, events, _BATCH):
        at = begin + (end - begin) * first // events
        received = from_micros(at)
        ids, results = uuids(_BATCH), [refused] * _BATCH
        new: list[NewEffect] = []
        for number in range(0, _BATCH, each):
            order = next(orders)
            if order >= transactions:
                break
            key = f"SEG:bench:ORDER:order-{order}:order-completed"
            results[number] = to_json([EventResult("perkville", EventStatus.PENDING, effect_key=key)])
            new.append(_effect(order, key, ids[number], received, position=first // _PER_RECORD + 1))
        rows = LakeRows()
        for start in range(0, _BATCH, _PER_RECORD):
            rows.add_record(
                [
                    Event(
                        EventType.TRACK,
                        MessageId(ids[index]),
                        received,
                        received,
                        wires[(first + index) % _BODIES],
                        texts[(first + index) % _BODIES],
                    )
                    for index in range(start, start + _PER_RECORD)
                ],
                source="bench",
                received_at=at,
                position=(first + start) // _PER_RECORD + 1,
                results=results[start : start + _PER_RECORD],
            )
        writer.append(rows, first_position=first // _PER_RECORD + 1, last_position=(first + _BATCH) // _PER_RECORD)
        _keep(store, new, at, wires)
    with store.unit_of_work() as work:
        for consumer in (ROUTING, LAKE):
            advance(work, consumer, expected=0, to=events // _PER_RECORD)
    sum_counts(store, now=datetime.now(UTC))
    store.close()
    print(f"filled in {time.perf_counter() - begun:.0f} s", flush=True)


def _effect(order: int, key: str, message_id: str, received: datetime, *, position: int) -> NewEffect:
    email = f"user-{order % 100_000}@example.com"
    return NewEffect(
        destination="perkville",
        effect_key=key,
        kind="transaction",
        source="bench",
        message_id=message_id,
        event_name="Order Completed",
        log_position=position,
        event_index=0,
        received_at=received,
        customer=email,
        email=email,
        item="123456",
        requested_quantity=Decimal("9.99"),
        attributes=None,
        order_id=f"order-{order}",
        is_refund=False,
    )


def _keep(store: Store, new: Sequence[NewEffect], at: int, wires: Sequence[WireEvent]) -> None:
    """Write what routing and delivery would have kept of these events."""
    received = from_micros(at)
    bucket = at - at % MINUTE_MICROS
    counts: dict[CountKey, int] = {}
    for name, number in Counter(wire.event or "" for wire in wires).items():
        base = CountKey(bucket, "bench", "", "track", name, RECEIVED, "")
        share = number * _BATCH // len(wires)
        counts |= {
            base: share,
            base._replace(destination="perkville", status="refused", reason="not_allowlisted"): share,
        }
    counts[CountKey(bucket, "bench", "perkville", "track", "Order Completed", "pending", "")] = len(new)
    with store.unit_of_work() as work:
        add_counts(work, counts)
        if new:
            outbox.add(work, new, now=received)
            _deliver(work, new, received)


def _deliver(work: Connection, new: Sequence[NewEffect], at: datetime) -> None:
    stored = list(outbox.effects_by_key(work, "perkville", [effect.effect_key for effect in new]).values())
    delivered = {"state": EffectState.DELIVERED, "is_open": False, "attempts": 1, "finished_at": at}
    work.execute(update(effects).where(effects.c.is_open.is_(True)).values(**delivered))
    times = {"started_at": at, "finished_at": at}
    attempt = {"number": 1, "action": "send", "status": 201, "outcome": "delivered", **times}
    work.execute(insert(delivery_attempts), [{"effect_id": effect.id, **attempt} for effect in stored])
    ended = [
        Ended(
            id=effect.id,
            attempts=1,
            source=effect.source,
            destination=effect.destination,
            event_type=effect.event_type,
            event_name=effect.event_name,
            state=EffectState.DELIVERED,
            reason=None,
            item=effect.item,
            quantity="9.99",
            received_micros=to_micros(at),
            finished_micros=to_micros(at) + 40_000,
            replay=None,
        )
        for effect in stored
    ]
    count_ends(work, ended, sign=1)


def _become_owner(url: str) -> str:
    form = {
        "name": "Bench",
        "email": "bench@example.com",
        "password": _PASSWORD,
        "workspace": "Bench",
        "timezone": "UTC",
    }
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(
        "POST",
        "/welcome",
        urlencode(form),
        {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"},
    )
    response = connection.getresponse()
    match = re.search(r"punchcard_session=[^;]+", response.getheader("set-cookie") or "")
    if match is None:
        raise RuntimeError(f"nobody could sign in: {response.status}")
    return match[0]


def _page(url: str, path: str, cookie: str) -> tuple[list[float], int]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    times = []
    for number in range(_REQUESTS + 1):
        begun = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        if number:  # the first one imports, opens files and the like
            times.append(time.perf_counter() - begun)
    return times, len(gzip.compress(body))


def _first_visit(url: str) -> None:
    """What a browser loads for the first page: the page and all it names, compressed."""
    with urllib.request.urlopen(f"{url}/sign-in") as response:
        page = response.read().decode()
    total = len(gzip.compress(page.encode()))
    for path in sorted(set(re.findall(r"/assets/[\w.]+", page))):
        request = urllib.request.Request(url + path, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            total += len(response.read())
    print(f"first page: {total / 1024:.0f} KB compressed (target: below 300)")


async def _debugger(url: str, cookie: str) -> list[float]:
    """How long after its request left each event was on the debugger's page."""
    sent: dict[str, float] = {}
    delays: dict[str, float] = {}

    async def watch(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/sources/bench/live", headers={"Cookie": cookie}) as stream:
            async for line in stream.content:
                now = time.perf_counter()
                for message_id in re.findall(r"live-\d+", line.decode()):
                    if message_id in sent:
                        delays.setdefault(message_id, now - sent[message_id])

    async with aiohttp.ClientSession(read_bufsize=1 << 24) as session:
        watching = asyncio.create_task(watch(session))
        await asyncio.sleep(1)
        headers = {"Authorization": aiohttp.encode_basic_auth(WRITE_KEY, "")}
        began = time.perf_counter()
        for body in range(_LIVE_BODIES):
            await asyncio.sleep(max(0.0, began + body * 0.01 - time.perf_counter()))
            batch = [
                {"type": "track", "event": "Page Seen", "userId": "u", "messageId": f"live-{body * 10 + number}"}
                for number in range(10)
            ]
            now = time.perf_counter()
            sent.update({str(event["messageId"]): now for event in batch})
            async with session.post(f"{url}/v1/batch", json={"batch": batch}, headers=headers) as response:
                await response.read()
        await asyncio.sleep(2)
        watching.cancel()
    return list(delays.values())


class _Load(NamedTuple):
    """Ingest under full load: requests a second, processor time a second of serving and of the operator's client."""

    rate: float
    server: float
    operator: float


def _slow_down(running: Product, cookie: str) -> None:
    """Ingest alone and beside an operator, in turn: what pages, the debugger and their client cost."""
    requests = [ingest.request_of("batch", body) for body in bodies(200)]
    for label, paths, watches in (
        ("a page a second", _PAGES, False),
        ("an open debugger", (), True),
        ("a page a second and an open debugger", _PAGES, True),
    ):
        alone, beside = [], []
        for _ in range(_ROUNDS):
            alone.append(_load(running, requests, None))
            with _operator(running.url, cookie, paths, watches=watches) as pid:
                beside.append(_load(running, requests, pid))
        rate = statistics.median(load.rate for load in alone)
        own_cost = statistics.median(load.server / load.rate for load in alone)
        other_cost = statistics.median(load.server - load.rate * own_cost for load in beside)
        print(
            f"ingest beside {label}: {statistics.median(load.rate for load in beside) / rate * 100:.0f} % of "
            f"{rate:,.0f} requests/s of 100 events (target: 95); it takes {other_cost * 100:.0f} % of a core in the "
            f"server, {statistics.median(load.operator for load in beside) * 100:.0f} % in its client; "
            f"a request of ingest {own_cost * 1e6:.0f} µs"
        )


def _load(running: Product, requests: Sequence[bytes], operator_pid: int | None) -> _Load:
    pids = [running.pid] if operator_pid is None else [running.pid, operator_pid]
    begun, cpu_begun = time.perf_counter(), [own_cpu_seconds(pid) for pid in pids]
    rate = asyncio.run(ingest.load(running.url, requests))[0]
    seconds = time.perf_counter() - begun
    shares = [(own_cpu_seconds(pid) - before) / seconds for pid, before in zip(pids, cpu_begun, strict=True)]
    return _Load(rate, shares[0], sum(shares[1:]))


@contextmanager
def _operator(url: str, cookie: str, paths: Sequence[str], *, watches: bool) -> Iterator[int]:
    """A process that opens pages and watches the debugger; its id."""
    script = (
        "import http.client, itertools, sys, threading, time\n"
        "host, cookie, watches, paths = sys.argv[1], sys.argv[2], sys.argv[3] == 'True', sys.argv[4:]\n"
        "def watch():\n"
        "    c = http.client.HTTPConnection(host)\n"
        "    c.request('GET', '/sources/bench/live', headers={'Cookie': cookie})\n"
        "    r = c.getresponse()\n"
        "    while r.read1(65536): pass\n"
        "if watches: threading.Thread(target=watch, daemon=True).start()\n"
        "c = http.client.HTTPConnection(host)\n"
        "for path in itertools.cycle(paths or ['']):\n"
        "    if path:\n"
        "        c.request('GET', path, headers={'Cookie': cookie, 'Accept': 'text/html'}); c.getresponse().read()\n"
        "    time.sleep(1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, urlsplit(url).netloc, cookie, str(watches), *paths])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""Audiences and computed traits over 10 million events of a million people, against the same questions by hand.

    python -m bench engage

Builds the facts in a temporary folder (about 2 GB). What is asked by hand is DuckDB SQL over the same tables, as
somebody would write it who knows them; both run in turn, and the ratio is of medians.
"""

import gc
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.report import Figure, show
from bench.size import size
from punchcard.clock import to_micros
from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.computations.sql import ComputationQuery, statement
from punchcard.engage.computing import RequestedComputation, apply, compute, group_by_dependency, touched_by_time
from punchcard.engage.fact_store import FactStore
from punchcard.engage.facts import FactRows

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = 86_400_000_000
ROUNDS = size(7, 1)
NEW_EVENTS = size(10_000, 500)
_EVENTS = size(10_000_000, 20_000)
_PEOPLE = size(1_000_000, 2_000)

AUDIENCE = (
    "event('Order Completed').within(30 days).count() >= 2"
    " AND event('Order Completed').within(30 days).sum(property('revenue')) > 100"
)
MANY = "event('Order Completed').count() >= 1"  # half of all people
TRAITS = (
    "event('Order Completed').count()",
    "event('Order Completed').sum(property('revenue'))",
    "event('Order Completed').max(property('revenue'))",
    "event('Order Completed').last(property('sku'))",
    "event('Order Completed').mode(property('sku'))",
)
TWENTY = tuple(
    [f"event('Order Completed').within({days} days).count() >= {days % 3 + 1}" for days in (1, 3, 7, 14, 21, 30, 45)]
    + [f"event('Order Completed').within({days} days).sum(property('revenue')) > {days * 10}" for days in (7, 14, 30)]
    + [f"event('Product Viewed').where( property('sku') = 'sku-{n}' ).within(7 days).count() >= 1" for n in range(4)]
    + [f"NOT ( event('Checked In').within({days} days).count() >= 1 )" for days in (14, 30)]
    + [
        "event('Cart Viewed').where( NOT ( event('Order Completed').within(parent: 1 day).count() >= 1 ) )"
        ".within(2 days).count() >= 1",
        "event('Page Viewed').within(7 days).count() >= 20",
        "event('Checked In').within(30 days).count() >= 8 OR event('Order Completed').within(30 days).count() >= 5",
        "event('Checked In').within(7 days).unique(property('sku')).count() >= 3",
    ]
)


def main(events: int = _EVENTS, people: int = _PEOPLE) -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        facts = FactStore(Path(folder) / "engage.duckdb")
        begun = time.perf_counter()
        fill(facts, events, people)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        seconds_taken = time.perf_counter() - begun
        print(
            f"{events:,} events of {people:,} people: {size / 1e6:,.0f} MB, made in {seconds_taken:.0f} s", flush=True
        )
        full(facts)
        incremental(facts, people)
        facts.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        show(Figure(name="peak memory of this process", unit="MB", values=[peak], target=3_000, at_most=True))
    first()
    identity()
    latency()


def fill(facts: FactStore, events: int, people: int) -> None:
    """Events of 60 days, one in eight an order, in the order in which they happened."""
    now = to_micros(NOW)
    often = ["Order Completed", *3 * ["Page Viewed"], *2 * ["Product Viewed"], "Cart Viewed", "Checked In"]
    order = "CASE WHEN event = 'Order Completed' THEN CAST(cents AS DECIMAL(38, 9)) / 100 END"
    text = (
        '\'{"order_id":"o\' || seq || \'","revenue":\' || (cents / 100.0)'
        ' || \',"currency":"USD","sku":"sku-\' || (cents % 50) || \'"}\''
    )
    step = 1_000_000
    for begin in range(0, events, step):
        facts.run(
            f"""
            INSERT INTO facts SELECT profile, happened, seq, event, 'web', {text}, NULL, {order}, NULL, NULL
            FROM (
              SELECT CAST(1 + hash(i) % {people} AS BIGINT) AS profile,
                CAST({now} - 60 * {DAY} + i * CAST(60.0 * {DAY} / {events} AS BIGINT) AS BIGINT) AS happened, i AS seq,
                {often}[CAST(1 + hash(i * 7 + 1) % 8 AS INTEGER)] AS event,
                CAST(hash(i * 3 + 2) % 20000 AS BIGINT) AS cents
              FROM range({begin}, {min(begin + step, events)}) AS r(i)
            )
            """
        )
    facts.run(f"INSERT INTO people SELECT i, true FROM range(1, {people + 1}) AS r(i)")
    facts.run("CHECKPOINT")


def full(facts: FactStore) -> None:
    """Full computations, by compiled and by handwritten SQL."""
    now = to_micros(NOW)
    handwritten = f"""
        SELECT profile FROM facts WHERE event = 'Order Completed' AND happened > {now - 30 * DAY} AND happened <= {now}
        GROUP BY profile HAVING count(*) >= 2 AND sum(revenue) > 100
    """
    compiled = statement([ComputationQuery(definition=parse_audience(AUDIENCE))], now=now)
    same(facts, f"SELECT profile FROM ({compiled})", handwritten)
    compare(
        facts,
        "count-and-sum audience",
        f"SELECT count(*) FROM ({compiled})",
        f"SELECT count(*) FROM ({handwritten})",
        2.0,
    )
    handwritten = f"""
        WITH orders AS (
            SELECT profile, count(*) AS orders, sum(revenue) AS spent, max(revenue) AS most,
                arg_max(json_extract_string(properties, '$.sku'), happened) AS newest
            FROM facts WHERE event = 'Order Completed' AND happened <= {now} GROUP BY profile
        ), counted AS (
            SELECT profile, json_extract_string(properties, '$.sku') AS sku, count(*) AS n
            FROM facts WHERE event = 'Order Completed' AND happened <= {now} GROUP BY ALL HAVING count(*) >= 2
        ), often AS (SELECT profile, arg_max(sku, n) AS sku FROM counted GROUP BY profile)
        SELECT * FROM orders LEFT JOIN often USING (profile)
    """
    compiled = statement([ComputationQuery(definition=parse_trait(trait)) for trait in TRAITS], now=now)
    sums = "SELECT count(*), sum(c0), sum(c1), sum(c2), count(c3), count(c4) FROM"
    handwritten_sums = "SELECT count(*), sum(orders), sum(spent), sum(most), count(newest), count(sku) FROM"
    same(facts, f"{sums} ({compiled})", f"{handwritten_sums} ({handwritten})")
    compare(facts, "five computed traits", f"{sums} ({compiled})", f"{handwritten_sums} ({handwritten})", 1.5)


def same(facts: FactStore, left: str, right: str) -> None:
    """Exit unless both statements return the same rows."""
    if sorted(facts.rows(left)) != sorted(facts.rows(right)):
        sys.exit("the compiled and the handwritten statement return different rows")


def compare(facts: FactStore, name: str, compiled: str, handwritten: str, target: float) -> None:
    """Both in turn."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: facts.rows(compiled)))
        theirs.append(seconds(lambda: facts.rows(handwritten)))
    handwritten_ms = statistics.median(theirs) * 1e3
    name = f"{name} (handwritten {handwritten_ms:,.0f} ms)"
    show(Figure(name=name, unit="ms", values=[our * 1e3 for our in ours], target=handwritten_ms * target, at_most=True))
    print(f"    ratio {statistics.median(ours) * 1e3 / handwritten_ms:.2f}, target {target}", flush=True)


def incremental(facts: FactStore, people: int) -> None:
    """What 10,000 new events cost, with one audience and with twenty."""
    several = [
        RequestedComputation(key=f"a{n}", kind="audience", definition=parse_audience(text))
        for n, text in enumerate(TWENTY)
    ]
    now = to_micros(NOW)
    kinds = {computation.key: computation.kind for computation in several}
    for count in (1, 20):
        for computation in several[:count]:
            apply(facts, compute(facts, [computation], now=now, only_touched=False), kinds)
        times = []
        for number in range(ROUNDS):
            now += 1_000_000
            rows = new_events(number + 100 * count, now, people)
            gc.collect()
            begun = time.perf_counter()
            one_step(facts, several[:count], rows, now, kinds)
            times.append(time.perf_counter() - begun)
        differences = sum(
            len(compute(facts, [computation], now=now, only_touched=False)) for computation in several[:count]
        )
        print(f"    differences to full computations: {differences}", flush=True)
        show(
            Figure(
                name=f"step of {NEW_EVENTS:,} events, {count} audience{'s' if count > 1 else ''}",
                unit="ms",
                values=[time * 1e3 for time in times],
                target=250 if count == 1 else 1_500,
                at_most=True,
            )
        )


def one_step(
    facts: FactStore, audiences: list[RequestedComputation], rows: FactRows, now: int, kinds: dict[str, str]
) -> None:
    """Add facts and compute whom they touch."""
    with facts.unit_of_work():
        facts.add_facts(rows)
        facts.touch({*rows.profiles, *touched_by_time(facts, audiences, begin=now - 1_000_000, end=now)})
        for level in group_by_dependency(audiences):
            apply(facts, compute(facts, level, now=now, only_touched=True), kinds)


def new_events(seed: int, now: int, people: int) -> FactRows:
    """Events of as many people."""
    rows = FactRows()
    for number in range(NEW_EVENTS):
        rows.profiles.append(1 + (number * 7919 + seed * 104_729) % people)
        rows.happened.append(now - number)
        rows.seqs.append(10**12 + seed * NEW_EVENTS + number)
        rows.events.append("Order Completed" if number % 8 == 0 else "Page Viewed")
        rows.sources.append("web")
        rows.properties.append(b'{"revenue":60.5,"sku":"sku-1"}')
        rows.contexts.append(None)
    return rows


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    gc.collect()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def first() -> None:
    """A new audience over a million people, until it is live and everybody is queued."""
    from bench.engage_first import measure

    for definition in (AUDIENCE, MANY):
        took = measure(2 * _PEOPLE, _PEOPLE, definition)
        name = f"new audience of {took.size:,} members until live"
        show(Figure(name=name, unit="s", values=[took.seconds], at_most=True))
        show(Figure(name="  others wait at most", unit="s", values=[took.step_seconds], at_most=True))


def identity() -> None:
    """Events resolved against a real store, on one core."""
    from bench.engage_identity import measure

    rates = measure()
    show(Figure(name="identity resolution, store included", unit="ev/CPU-s", values=rates, target=20_000))


def latency() -> None:
    """From the Tracking API to the queue of sync calls to Perkville."""
    from bench.engage_latency import report

    median, high, measured, total = report(TWENTY)
    name = f"event to queued identify, p95 (p50 {median:.1f} s; {measured:,} of {total:,})"
    show(Figure(name=name, unit="s", values=[high], target=5, at_most=True))

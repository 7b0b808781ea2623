"""The event log in Kafka beside the one in SQLite, in turns: ingest of 100-event bodies over HTTP.

In Kafka it is whole, then divided into partitions. Three brokers and the sender take their share of the machine: the
rates are lower bounds. Without Java or the broker's jar files, nothing is measured.
"""

import os
import statistics
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack, closing

import uvloop

from bench.ingest import load, request_of
from bench.partitions import kafka_brokers, open_divided
from bench.postgres import new_database, postgres_server
from bench.product import Product, cpu_seconds, product
from bench.report import Figure, percentile, show
from bench.size import size
from bench.workload import EVENTS_PER_BODY, bodies
from punchcard.store.engine import Store

_BODIES = 200
_ROUNDS = size(3, 1)
_BROKERS = size(3, 1)
_PARTITIONS = 4
_TARGET_EVENTS = 150_000
_SQLITE = "in SQLite"


def main() -> None:
    """Measure and print."""
    with ExitStack() as stack:
        cluster = kafka_brokers(stack, _BROKERS)
        if cluster is None:
            return
        server_url = stack.enter_context(postgres_server())
        divided = _settings(new_database(server_url), cluster.url("divided"), PUNCHCARD_LOG_PARTITIONS=str(_PARTITIONS))
        with closing(Store(divided["PUNCHCARD_DATABASE_URL"])) as store:
            open_divided(divided["PUNCHCARD_LOG_URL"], store, _PARTITIONS).close()
        _ingest(
            {
                _SQLITE: _settings(new_database(server_url), ""),
                "in Kafka": _settings(new_database(server_url), cluster.url("whole")),
                f"in Kafka, {_PARTITIONS} partitions": divided,
            }
        )


def _settings(store_url: str, log_url: str, **more: str) -> dict[str, str]:
    log = {"PUNCHCARD_LOG_URL": log_url} if log_url else {}
    return {"PUNCHCARD_DATABASE_URL": store_url, "PUNCHCARD_SECRET_KEY": "bench", **log, **more}


def _ingest(settings: Mapping[str, Mapping[str, str]]) -> None:
    requests = [request_of("batch", body) for body in bodies(_BODIES)]
    rates: defaultdict[str, list[float]] = defaultdict(list)
    waits: defaultdict[str, list[float]] = defaultdict(list)
    micros: defaultdict[str, list[float]] = defaultdict(list)
    os.sync()
    with ExitStack() as stack:
        running: dict[str, Product] = {
            name: stack.enter_context(product({}, {}, serves_only=True, environment=environment))
            for name, environment in settings.items()
        }
        for _ in range(_ROUNDS):  # taking turns, so that a noisy moment hits all
            for name, serving in running.items():
                used, before = cpu_seconds(serving.pid), _appended(serving)
                rate, seconds = uvloop.run(load(serving.url, requests))
                used = cpu_seconds(serving.pid) - used
                rates[name].append(rate * EVENTS_PER_BODY)
                waits[name].append(percentile(seconds, 0.99) * 1_000)
                micros[name].append(used / (_appended(serving) - before) / EVENTS_PER_BODY * 1e6)
    for name in rates:
        _show(name, rates, waits, micros)


def _show(
    name: str, rates: Mapping[str, list[float]], waits: Mapping[str, list[float]], micros: Mapping[str, list[float]]
) -> None:
    """Print the figures of a log, beside those of the one in SQLite."""
    is_local = name == _SQLITE

    def ceiling(of_logs: Mapping[str, list[float]]) -> float | None:
        return None if is_local else statistics.median(of_logs[_SQLITE])

    show(
        Figure(
            name=f"ingest of 100-event bodies, log {name}",
            unit="events/s",
            values=rates[name],
            target=None if is_local else _TARGET_EVENTS,
            ceiling=ceiling(rates),
            ceiling_name="SQLite",
        )
    )
    for label, unit, of_logs in (
        ("  answered after its commit within, p99", "ms", waits),
        ("  processor time of `serve` for an event", "µs", micros),
    ):
        show(
            Figure(
                name=label,
                unit=unit,
                values=of_logs[name],
                ceiling=ceiling(of_logs),
                ceiling_name="SQLite",
                at_most=True,
            )
        )


def _appended(serving: Product) -> float:
    """Return how many requests a process has accepted."""
    return serving.metric("punchcard_ingest_requests_total")

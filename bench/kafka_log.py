"""The event log in Kafka: ingest of 100-event bodies over HTTP, on three brokers on this machine.

Brokers and sender take their share of the machine: the figure is a lower bound. Without Java or the broker's jar files,
nothing is measured.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import uvloop

from bench.ingest import load, request_of
from bench.postgres import new_database, postgres_server
from bench.product import product
from bench.report import Figure, percentile, show
from bench.size import size
from bench.workload import EVENTS_PER_BODY, bodies

_JARS = Path(__file__).parents[1] / "tests" / "kafka" / "jars"
_BODIES = 200
_ROUNDS = size(3, 1)
_BROKERS = size(3, 1)
_TARGET_EVENTS = 150_000


def main() -> None:
    """Measure and print."""
    with contextlib.suppress(ImportError):
        from punchcard.testing.kafka import kafka_cluster, why_not

        if reason := why_not(_JARS):
            print(f"not measured: {reason}")
            return
        with (
            tempfile.TemporaryDirectory(prefix="bench-kafka-") as folder,
            kafka_cluster(Path(folder), _JARS, brokers=_BROKERS) as cluster,
            postgres_server() as server_url,
        ):
            _ingest(cluster.url("bench"), new_database(server_url))
        return
    print("not measured: the extra punchcard[kafka] is not installed")


def _ingest(log_url: str, store_url: str) -> None:
    requests = [request_of("batch", body) for body in bodies(_BODIES)]
    environment = {
        "PUNCHCARD_DATABASE_URL": store_url,
        "PUNCHCARD_LOG_URL": log_url,
        "PUNCHCARD_SECRET_KEY": "bench",
    }
    rates: list[float] = []
    waits: list[float] = []
    os.sync()
    with product({}, {}, serves_only=True, environment=environment) as running:
        for _ in range(_ROUNDS):
            rate, seconds = uvloop.run(load(running.url, requests))
            rates.append(rate * EVENTS_PER_BODY)
            waits.append(percentile(seconds, 0.99) * 1_000)
    show(Figure(name="ingest of 100-event bodies, log in Kafka", unit="events/s", values=rates, target=_TARGET_EVENTS))
    show(Figure(name="  answered after its commit within, p99", unit="ms", values=waits, at_most=True))

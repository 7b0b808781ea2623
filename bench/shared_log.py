"""The event log in PostgreSQL beside the one in SQLite, in turns: ingest of 100-event bodies, and routing."""

import os
import statistics

import uvloop

from bench.ingest import load, request_of
from bench.postgres import new_database, postgres_server
from bench.product import product
from bench.report import Figure, percentile, show
from bench.routing import measure
from bench.size import size
from bench.workload import EVENTS_PER_BODY, bodies

_BODIES = 200
_ROUNDS = size(3, 1)
_EVENTS = size(400_000, 2_000)
_INGEST_SHARE = 0.8
_ROUTING_SHARE = 0.9


def main() -> None:
    """Measure and print."""
    with postgres_server() as server_url:
        _ingest(server_url)
        _routing(server_url)


def _ingest(server_url: str) -> None:
    requests = [request_of("batch", body) for body in bodies(_BODIES)]
    shared_url = new_database(server_url)
    store = {"PUNCHCARD_DATABASE_URL": new_database(server_url), "PUNCHCARD_SECRET_KEY": "bench"}
    shared = {**store, "PUNCHCARD_DATABASE_URL": shared_url, "PUNCHCARD_LOG_URL": shared_url}
    rates: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
    waits: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
    os.sync()
    # Both with the store in PostgreSQL, which takes no part in it: only the log differs.
    with (
        product({}, {}, serves_only=True, environment=store) as local,
        product({}, {}, serves_only=True, environment=shared) as remote,
    ):
        for _ in range(_ROUNDS):  # taking turns, so that a noisy moment hits both
            for name, running in (("SQLite", local), ("PostgreSQL", remote)):
                rate, seconds = uvloop.run(load(running.url, requests))
                rates[name].append(rate * EVENTS_PER_BODY)
                waits[name].append(percentile(seconds, 0.99) * 1_000)
    ceiling = statistics.median(rates["SQLite"])
    show(
        Figure(
            name="ingest of 100-event bodies, log in PostgreSQL",
            unit="events/s",
            values=rates["PostgreSQL"],
            target=_INGEST_SHARE * ceiling,
            ceiling=ceiling,
            ceiling_name="SQLite",
        )
    )
    show(
        Figure(
            name="  answered after its commit within, p99",
            unit="ms",
            values=waits["PostgreSQL"],
            ceiling=statistics.median(waits["SQLite"]),
            ceiling_name="SQLite",
            at_most=True,
        )
    )


def _routing(server_url: str) -> None:
    rates: dict[str, list[float]] = {"local": [], "log": [], "store": [], "both": []}
    for _ in range(_ROUNDS):
        rates["local"].append(measure(_EVENTS))
        rates["log"].append(measure(_EVENTS, log_url=new_database(server_url)))
        rates["store"].append(measure(_EVENTS, store_url=new_database(server_url)))
        url = new_database(server_url)
        rates["both"].append(measure(_EVENTS, log_url=url, store_url=url))
    ceiling = statistics.median(rates["local"])
    for key, where in (("log", "log"), ("store", "store"), ("both", "log and store")):
        show(
            Figure(
                name=f"routing, {where} in PostgreSQL",
                unit="events/s",
                values=rates[key],
                target=_ROUTING_SHARE * ceiling,
                ceiling=ceiling,
                ceiling_name="SQLite",
            )
        )


if __name__ == "__main__":
    main()

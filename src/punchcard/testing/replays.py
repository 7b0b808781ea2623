"""A Public API server with events that can be replayed, for the tests of replays."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from punchcard.store.delivery import ledger
from punchcard.store.delivery.counts import CountQuery, Dimension, read_counts
from punchcard.testing.partner.configuration import DESTINATION, SLUG
from punchcard.testing.public_api import PublicApiServer

SOURCES = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "till"
write_key = "wk_till"

"""
HOOKS = """
[[destinations]]
slug = "hooks"
type = "webhooks"
sources = ["website"]
[destinations.settings]
url = "http://127.0.0.1:1/hook"
"""
CONFIG = SOURCES + DESTINATION + HOOKS
WORKSPACE = '[workspace]\nwebhookAllowedNetworks = ["127.0.0.0/8"]\n'
MAPPED = CONFIG.replace('"Order Completed" = "123456"', '"Order Completed" = "123456", "Class Booked" = "123457"')
REPLAYS = f"/api/destinations/{SLUG}/replays"
BOOKED = {"event": "Class Booked", "userId": "ann"}


def configure(world: PublicApiServer, config: str) -> None:
    """Make a config file's text the running configuration."""
    world.configure(WORKSPACE + config)


def book(world: PublicApiServer, *message_ids: str, email: str = "ann@example.com", source: str = "website") -> None:
    """Receive, route and store bookings with these message ids."""
    for message_id in message_ids:
        event = {**BOOKED, "messageId": message_id, "properties": {"email": email}}
        world.send(event, write_key=f"wk_{source}")
    world.route()
    world.feed_lake()


def call(world: PublicApiServer, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
    """Call the Public API; return the data of its response, or its error."""
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status == status, response.body
    return response.json()["data"] if status == 200 else response.error


def replay(world: PublicApiServer, **chosen: object) -> dict[str, Any]:
    """Plan a replay, and start it unless it is a dry run; the lake has what was routed before, or planning waits."""
    world.feed_lake()
    return dict(call(world, "POST", REPLAYS, chosen)["replay"])


def get(world: PublicApiServer, id: str) -> dict[str, Any]:
    """Return a replay."""
    return dict(call(world, "GET", f"{REPLAYS}/{id}")["replay"])


def trace(world: PublicApiServer, message_id: str) -> dict[str, Any]:
    """Return the trace of an event."""
    return dict(call(world, "GET", f"/api/events/{message_id}"))


def result(world: PublicApiServer, message_id: str, destination: str = SLUG) -> dict[str, Any]:
    """Return the result of an event at a destination."""
    return next(dict(result) for result in trace(world, message_id)["results"] if result["destination"] == destination)


def counted(world: PublicApiServer, destination: str = SLUG) -> Counter[str]:
    """Return how many events have each status at a destination."""
    now = world.clock.now()
    query = CountQuery(begin=now - timedelta(days=40), end=now + timedelta(days=1), destination=destination)
    with world.store.reading() as work:
        counts = read_counts(work, query, by=[Dimension.STATUS])
    return Counter({str(status): count for (status,), count in counts.items()})


def effects(world: PublicApiServer, destination: str = SLUG) -> int:
    """Return how many effects a destination has in the ledger."""
    with world.store.reading() as work:
        return ledger.count(work, ledger.LedgerQuery(destination=destination))

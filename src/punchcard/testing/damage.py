"""A store as an older version may have left it: documents that are damaged past all validation."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import insert, select, text, update

from punchcard.store.schema import configuration_documents, effects, revisions
from punchcard.testing.public_api import PublicApiServer

DESTINATION = """
[[destinations]]
slug = "{slug}"
type = "perkville"
sources = ["website", "pos"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Order Completed" = "123456", "Order Refunded" = "123458", "Checked In" = "123457" }}
[[destinations.filters]]
title = "no staff"
if = "properties.staff"
actions = [{{ type = "DROP" }}]
"""
SOURCES = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "pos"
write_key = "wk_pos"
"""
CONFIG = SOURCES + DESTINATION.format(slug="perkville") + DESTINATION.format(slug="second")
Damage = Callable[[dict[str, Any]], None]
"""Changes the content of a stored document."""


def rewrite(world: PublicApiServer, kind: str, slug: str, change: Callable[[str], str]) -> str:
    """Replace a stored document past all validation, as an older version may have left it; returns what it was."""
    columns = configuration_documents.c
    with world.store.unit_of_work() as work:
        where = (columns.kind == kind, columns.slug == slug)
        before = work.scalar(select(columns.body).where(*where))
        if before is None:
            work.execute(
                insert(configuration_documents).values(
                    kind=kind, slug=slug, body=change("{}"), updated_at=world.clock.now()
                )
            )
        else:
            work.execute(update(configuration_documents).where(*where).values(body=change(before)))
        work.execute(update(revisions).where(revisions.c.name == "configuration").values(value=revisions.c.value + 1))
    return before or "{}"


def damage(world: PublicApiServer, change: Damage, *, kind: str = "destination", slug: str = "perkville") -> str:
    """Change a stored document past all validation; returns what it was."""

    def changed(body: str) -> str:
        content = json.loads(body)
        change(content)
        return json.dumps(content)

    return rewrite(world, kind, slug, changed)


def restore(world: PublicApiServer, body: str, *, kind: str = "destination", slug: str = "perkville") -> None:
    """Put a document back as it was."""
    rewrite(world, kind, slug, lambda _: body)


def with_condition(condition: str) -> Damage:
    """Another condition of the destination's filter."""
    return lambda content: content["filters"][0].update(condition=condition)


def with_actions(*actions: object) -> Damage:
    """Other actions of the destination's filter."""
    return lambda content: content["filters"][0].update(actions=list(actions))


def order(message_id: str, *, number: str, revenue: object = 9.99, **more: Any) -> dict[str, Any]:
    """An order that earns."""
    properties = {"email": "ann@example.com", "order_id": number, "revenue": revenue, **more}
    return {"messageId": message_id, "userId": "ann", "event": "Order Completed", "properties": properties}


def results(world: PublicApiServer, message_id: str) -> dict[str, dict[str, Any]]:
    """What the Public API says of an event, by destination."""
    answer = world.request("GET", f"/api/events/{message_id}")
    assert answer.status == 200, answer.body
    return {one["destination"]: one for one in answer.json()["data"]["results"]}


def awarded(world: PublicApiServer, slug: str) -> list[str]:
    """The message ids of a destination's effects, in the order in which they were planned."""
    with world.store.reading() as work:
        return list(work.scalars(select(effects.c.message_id).where(effects.c.destination == slug).order_by("id")))


def counted(world: PublicApiServer, slug: str = "perkville") -> dict[tuple[str, str], int]:
    """How many events the counts of a destination hold, by result and reason."""
    with world.store.reading() as work:
        rows = work.execute(
            text(
                "SELECT status, reason, sum(count) FROM result_counts WHERE destination = :slug GROUP BY status, reason"
            ),
            {"slug": slug},
        )
        return {(status, reason): int(count) for status, reason, count in rows if count}

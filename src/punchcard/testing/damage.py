"""A store as an older version may have left it, with documents that no validation accepts."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import insert, select, text, update

from punchcard.store.delivery.schema import effects
from punchcard.store.workspace.schema import configuration_documents, revisions
from punchcard.testing.partner.configuration import FILTERED_DESTINATION, SLUG
from punchcard.testing.public_api import PublicApiServer

SOURCES = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "pos"
write_key = "wk_pos"
"""
CONFIG = SOURCES + FILTERED_DESTINATION.format(slug=SLUG) + FILTERED_DESTINATION.format(slug="second")
Damage = Callable[[dict[str, Any]], None]
"""Changes the content of a stored document."""


def rewrite(world: PublicApiServer, kind: str, slug: str, change: Callable[[str], str]) -> str:
    """Replace a stored document without validation, as an older version may have left it; return the old one."""
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


def damage(world: PublicApiServer, change: Damage, *, kind: str = "destination", slug: str = SLUG) -> str:
    """Change a stored document without validation; return the old one."""

    def changed(body: str) -> str:
        content = json.loads(body)
        change(content)
        return json.dumps(content)

    return rewrite(world, kind, slug, changed)


def restore(world: PublicApiServer, body: str, *, kind: str = "destination", slug: str = SLUG) -> None:
    """Restore a document."""
    rewrite(world, kind, slug, lambda _: body)


def with_condition(condition: str) -> Damage:
    """Return a change of the condition of the destination's filter."""
    return lambda content: content["filters"][0].update(condition=condition)


def with_actions(*actions: object) -> Damage:
    """Return a change of the actions of the destination's filter."""
    return lambda content: content["filters"][0].update(actions=list(actions))


def order(message_id: str, *, number: str, revenue: object = 9.99, **more: Any) -> dict[str, Any]:
    """Return an order that earns points."""
    properties = {"email": "ann@example.com", "order_id": number, "revenue": revenue, **more}
    return {"messageId": message_id, "userId": "ann", "event": "Order Completed", "properties": properties}


def results(world: PublicApiServer, message_id: str) -> dict[str, dict[str, Any]]:
    """Return the results of an event from the Public API, by destination."""
    response = world.request("GET", f"/api/events/{message_id}")
    assert response.status == 200, response.body
    return {result["destination"]: result for result in response.json()["data"]["results"]}


def awarded(world: PublicApiServer, slug: str) -> list[str]:
    """Return the message ids of a destination's effects, in the order of planning."""
    with world.store.reading() as work:
        return list(work.scalars(select(effects.c.message_id).where(effects.c.destination == slug).order_by("id")))


def counted(world: PublicApiServer, slug: str = SLUG) -> dict[tuple[str, str], int]:
    """Return the counted events of a destination, by result and reason."""
    with world.store.reading() as work:
        rows = work.execute(
            text(
                "SELECT status, reason, sum(count) FROM result_counts WHERE destination = :slug GROUP BY status, reason"
            ),
            {"slug": slug},
        )
        return {(status, reason): int(count) for status, reason, count in rows if count}

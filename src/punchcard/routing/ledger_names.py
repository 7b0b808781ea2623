"""What routers of several partitions must not decide at the same time: keys, orders and messages of planned effects."""

from collections.abc import Sequence

from punchcard.events.commerce import normalize_id
from punchcard.routing.conflicts import PlannedEffect, keys_to_load
from punchcard.store.values import storable


def ledger_names(planned_effects: Sequence[PlannedEffect]) -> set[str]:
    """Return a name for everything by which the ledger may know what these effects would repeat."""
    names: set[str] = set()
    for planned_effect in planned_effects:
        slug = planned_effect.planned.destination.slug
        names.update(f"{slug} key {key}" for key in keys_to_load(planned_effect))
        names.add(f"{slug} message {planned_effect.source} {storable(planned_effect.event.message_id)}")
        if (order_id := planned_effect.planned.intent.order_id) is not None:
            names.add(f"{slug} order {normalize_id(storable(order_id))}")
    return names

"""The ledger of a period in the order of receipt, as it is compared with what a partner has booked."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import BigInteger, Connection, and_, or_, select, true, type_coerce

from punchcard.clock import to_micros
from punchcard.store.effects import StoredEffect, effect_of
from punchcard.store.schema import EffectState, effects

_ROWS_PER_READ = 2_000


def delivered_effects(
    work: Connection, destination: str, *, since: datetime, until: datetime
) -> Iterator[list[StoredEffect]]:
    """Effects for events received since then and delivered until then, in chunks."""
    columns = effects.c
    after = (to_micros(since), 0)
    received = type_coerce(columns.received_at, BigInteger)
    while True:
        # Row by row from where the last chunk ended: the index of times of receipt holds the id as well.
        behind = or_(received > after[0], and_(received == after[0], columns.id > after[1]))
        chosen = select(effects).where(columns.destination == destination, received >= after[0], behind)
        rows = work.execute(chosen.order_by(columns.received_at, columns.id).limit(_ROWS_PER_READ)).all()
        if not rows:
            return
        after = (to_micros(rows[-1].received_at), rows[-1].id)
        yield [
            effect_of(row)
            for row in rows
            if row.item is not None
            and row.state == EffectState.DELIVERED
            and row.finished_at is not None
            and row.finished_at <= until
        ]


def open_effects_before(work: Connection, destination: str, *, before: datetime) -> list[StoredEffect]:
    """Effects that were planned before an instant and are in the queue still, oldest first."""
    columns = effects.c
    chosen = select(effects).where(
        columns.destination == destination,
        columns.is_open == true(),
        columns.item.is_not(None),
        columns.created_at < before,
    )
    return [effect_of(row) for row in work.execute(chosen.order_by(columns.id))]

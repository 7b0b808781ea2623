"""Keyed hashes of the user ids and anonymous ids of the events that have made effects.

The ledger knows a customer by email only. Once the events are gone, this tells which effects a user id had.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, not_, or_, select

from punchcard.store.bulk import BulkStatement, PreparedStatement, is_listed
from punchcard.store.delivery.effects import DELETED_CUSTOMER
from punchcard.store.delivery.schema import effect_subjects, effects

_ADD: Final = BulkStatement(insert(effect_subjects), ["digest", "effect_id"])
_IDS_BY_KEY: Final = PreparedStatement(
    select(effects.c.id, effects.c.effect_key).where(
        effects.c.destination == bindparam("b_destination"), is_listed(effects.c.effect_key, "b_values")
    )
)
_BY_DIGEST: Final = PreparedStatement(
    select(effect_subjects.c.digest, effects.c.id, effects.c.customer)
    .where(is_listed(effect_subjects.c.digest, "b_values"), effects.c.id == effect_subjects.c.effect_id)
    .order_by(effects.c.id)
)
_FORGET: Final = PreparedStatement(delete(effect_subjects).where(is_listed(effect_subjects.c.effect_id, "b_values")))


class SubjectEffect(NamedTuple):
    """An effect of a subject, and its customer as the ledger has it."""

    id: int
    customer: str


def add_effect_subjects(work: Connection, digests: Mapping[tuple[str, str], Collection[str]]) -> None:
    """Add the hashes of the persons of new effects.

    Args:
        digests: By destination and effect key.
    """
    by_destination: defaultdict[str, list[str]] = defaultdict(list)
    for destination, effect_key in digests:
        by_destination[destination].append(effect_key)
    _ADD.execute(
        work,
        [
            {"digest": digest, "effect_id": row.id}
            for destination, keys in by_destination.items()
            for row in _IDS_BY_KEY.rows(work, {"b_destination": destination, "b_values": keys})
            for digest in digests[destination, row.effect_key]
        ],
    )


def copy_effect_subjects(work: Connection, effect_id: int, *, to: int) -> None:
    """Add the hashes of an effect to another effect of the same customer."""
    columns = effect_subjects.c
    digests = work.scalars(select(columns.digest).where(columns.effect_id == effect_id)).all()
    _ADD.execute(work, [{"digest": digest, "effect_id": to} for digest in digests])


def effects_by_digest(work: Connection, digests: Collection[str]) -> dict[str, list[SubjectEffect]]:
    """Return the effects of subjects by their hashes; those without effects are absent."""
    by_digest: defaultdict[str, list[SubjectEffect]] = defaultdict(list)
    for row in _BY_DIGEST.rows(work, {"b_values": sorted(digests)}):
        by_digest[row.digest].append(SubjectEffect(row.id, row.customer))
    return dict(by_digest)


def forget_effect_subjects(work: Connection, effect_ids: Collection[int]) -> None:
    """Drop the hashes of effects."""
    _FORGET.execute(work, {"b_values": sorted(effect_ids)})


def has_effects_without_subjects(work: Connection) -> bool:
    """Return whether the ledger names customers of effects that are older than the first one with hashes."""
    first = select(func.min(effect_subjects.c.effect_id)).scalar_subquery()
    return bool(
        work.scalar(
            select(
                exists().where(
                    or_(effects.c.id < first, first.is_(None)),
                    effects.c.customer != "",
                    not_(effects.c.customer.startswith(DELETED_CUSTOMER)),
                )
            )
        )
    )

"""The differences that reconciliations have found, and what a person has decided of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from punchcard.store.operations.schema import reconciliation_differences
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable, storable_or_none

_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds


class DifferenceKind(StoredEnum):
    """How ledger and partner differ."""

    MISSING_AT_PARTNER = "missing_at_partner"  # delivered, and the partner does not show it
    UNKNOWN_TO_US = "unknown_to_us"  # booked under a key of ours, and the ledger does not count it
    CONTENT_DIFFERS = "content_differs"  # another quantity, item or customer
    REVERSED = "reversed"  # taken back at the partner
    PENDING_TOO_LONG = "pending_too_long"  # neither delivered nor ended for longer than it should take
    DOUBLED = "doubled"  # booked more than once under one key


class DifferenceState(StoredEnum):
    """The state of a difference."""

    OPEN = "open"  # nobody has decided
    RESENT = "resent"  # the award is read back, and sent again if it is not there
    ACCEPTED = "accepted"  # the ledger was changed to what the partner has
    DISMISSED = "dismissed"  # it is to stay as it is


_REMEMBERED = (DifferenceState.ACCEPTED, DifferenceState.DISMISSED)


@dataclass(frozen=True, kw_only=True)
class NewDifference:
    """A difference as a comparison has found it.

    Attributes:
        effect_id: Row of the ledger, None if there is none.
        email: The customer's address as the ledger, else the partner has it; "" if neither says.
        ours: The ledger's side for people, JSON-able, None if it has none.
        theirs: The partner's side likewise.
        detail: A sentence: what the proof is.
    """

    kind: DifferenceKind
    effect_key: str
    effect_id: int | None
    email: str
    ours: Mapping[str, object] | None
    theirs: Mapping[str, object] | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class StoredDifference:
    """A difference as it is kept."""

    id: int
    reconciliation_id: int
    destination: str
    kind: DifferenceKind
    effect_key: str
    effect_id: int | None
    email: str
    ours: Mapping[str, Any] | None
    theirs: Mapping[str, Any] | None
    detail: str
    state: DifferenceState
    resolved_at: datetime | None
    resolved_by: str | None


@dataclass(frozen=True, kw_only=True)
class DifferenceQuery:
    """Which differences of a reconciliation are asked for; None and () ask for all."""

    reconciliation_id: int
    kind: str | None = None
    states: Sequence[DifferenceState] = ()
    ids: Sequence[int] | None = None


def clear_differences(work: Connection, reconciliation_id: int) -> None:
    """Forget what a comparison that did not come to its end has found."""
    columns = reconciliation_differences.c
    work.execute(delete(reconciliation_differences).where(columns.reconciliation_id == reconciliation_id))


def add_differences(
    work: Connection, reconciliation_id: int, destination: str, differences: Sequence[NewDifference]
) -> None:
    """Add differences. What somebody has accepted or dismissed before stays so, as long as both sides stay the same."""
    if not differences:
        return
    known = _decided(work, destination, {difference.effect_key for difference in differences})
    rows = []
    for difference in differences:
        row = {
            "reconciliation_id": reconciliation_id,
            "destination": destination,
            "kind": difference.kind,
            "effect_key": difference.effect_key,
            "effect_id": difference.effect_id,
            "email": storable(difference.email),
            "ours": _text(difference.ours),
            "theirs": _text(difference.theirs),
            "detail": storable(difference.detail),
            "state": DifferenceState.OPEN,
            "resolved_at": None,
            "resolved_by": None,
        }
        rows.append(row | known.get((row["kind"], row["effect_key"], row["ours"], row["theirs"]), {}))
    work.execute(insert(reconciliation_differences), rows)


def list_differences(
    work: Connection, query: DifferenceQuery, *, count: int, after_id: int = 0
) -> list[StoredDifference]:
    """A page of differences, in the order in which they were found."""
    columns = reconciliation_differences.c
    chosen = _filtered(select(reconciliation_differences), query).where(columns.id > after_id)
    return [_difference(row) for row in work.execute(chosen.order_by(columns.id).limit(count))]


def count_differences(work: Connection, reconciliation_ids: Sequence[int]) -> dict[int, dict[tuple[str, str], int]]:
    """Return how many differences each reconciliation has, by kind and state."""
    counts: dict[int, dict[tuple[str, str], int]] = {reconciliation_id: {} for reconciliation_id in reconciliation_ids}
    columns = reconciliation_differences.c
    grouped = (columns.reconciliation_id, columns.kind, columns.state)
    chosen = select(*grouped, func.count()).where(columns.reconciliation_id.in_(list(reconciliation_ids)))
    for reconciliation_id, kind, state, number in work.execute(chosen.group_by(*grouped)):
        counts[reconciliation_id][kind, state] = int(number)
    return counts


def resolve(work: Connection, difference_ids: Sequence[int], *, state: DifferenceState, by: str, now: datetime) -> int:
    """Write down what somebody has decided of open differences; returns of how many."""
    columns = reconciliation_differences.c
    resolved = 0
    for begin in range(0, len(difference_ids), _KEYS_PER_QUERY):
        chunk = difference_ids[begin : begin + _KEYS_PER_QUERY]
        resolved += work.execute(
            update(reconciliation_differences)
            .where(columns.id.in_(chunk), columns.state == DifferenceState.OPEN)
            .values(state=state, resolved_by=storable(by), resolved_at=now)
        ).rowcount
    return resolved


def _decided(work: Connection, destination: str, keys: set[str]) -> dict[tuple[Any, ...], dict[str, object]]:
    """What was decided of differences of these keys, by what they were; the newest decision stands last."""
    columns = reconciliation_differences.c
    decided: dict[tuple[Any, ...], dict[str, object]] = {}
    listed = sorted(keys)
    for begin in range(0, len(listed), _KEYS_PER_QUERY):
        chunk = listed[begin : begin + _KEYS_PER_QUERY]
        chosen = select(reconciliation_differences).where(
            columns.destination == destination, columns.effect_key.in_(chunk), columns.state.in_(_REMEMBERED)
        )
        for row in work.execute(chosen.order_by(columns.id)):
            decided[row.kind, row.effect_key, row.ours, row.theirs] = {
                "state": row.state,
                "resolved_at": row.resolved_at,
                "resolved_by": row.resolved_by,
            }
    return decided


def _filtered(chosen: Select[*tuple[Any, ...]], query: DifferenceQuery) -> Select[*tuple[Any, ...]]:
    columns = reconciliation_differences.c
    chosen = chosen.where(columns.reconciliation_id == query.reconciliation_id)
    if query.kind is not None:
        chosen = chosen.where(columns.kind == query.kind)
    if query.states:
        chosen = chosen.where(columns.state.in_(list(query.states)))
    if query.ids is not None:
        chosen = chosen.where(columns.id.in_(list(query.ids)))
    return chosen


def _text(side: Mapping[str, object] | None) -> str | None:
    return None if side is None else storable_or_none(json.dumps(dict(side), sort_keys=True))


def _difference(row: Any) -> StoredDifference:  # a row of a select
    values: dict[str, Any] = dict(row._mapping)
    for side in ("ours", "theirs"):
        values[side] = None if values[side] is None else json.loads(values[side])
    return StoredDifference(
        **{**values, "kind": DifferenceKind(values["kind"]), "state": DifferenceState(values["state"])}
    )

"""The audit log: who changed what and when, with the values before and after. Nothing is ever taken out of it."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, func, insert, select

from punchcard.store.access.schema import audit_events
from punchcard.store.keys import key_in
from punchcard.store.values import storable


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """A change.

    Attributes:
        actor: Who made it: `token <name>`, `config file`, `command line` or `partner endpoint`.
        kind: `add`, `change`, `remove` or `restore`.
        resource_type: `workspace`, `source`, `destination`, `audience`, `computed_trait`, `operator`, `invitation`,
            `sign_in`, `token` or `version`.
        changes: JSON text of a list of `{"path", "before", "after"}`, secrets masked.
    """

    id: int
    at: datetime
    actor: str
    kind: str
    resource_type: str
    resource_id: str
    changes: str


@dataclass(frozen=True)
class ChangedValue:
    """A value before and after a change; None where there is none, or where it must not be recorded."""

    path: str
    before: bool | int | str | None = None
    after: bool | int | str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditQuery:
    """Which events to list; None asks for all."""

    resource_type: str | None = None
    resource_id: str | None = None
    begin: datetime | None = None
    end: datetime | None = None


def record(
    work: Connection, *, at: datetime, actor: str, kind: str, resource_type: str, resource_id: str, changes: str
) -> None:
    """Write one change down, in the unit of work that makes it."""
    work.execute(
        insert(audit_events).values(
            at=at,
            actor=storable(actor),
            kind=kind,
            resource_type=resource_type,
            resource_id=resource_id,
            changes=storable(changes),
        )
    )


def changes_json(*changes: ChangedValue) -> str:
    """Return changes as `record` takes them."""
    return json.dumps([asdict(change) for change in changes])


def record_operator_change(
    work: Connection, operator_id: str, *changes: ChangedValue, kind: str = "change", actor: str, at: datetime
) -> None:
    """Record what was changed of an operator, in the unit of work that changes it.

    Args:
        kind: `add`, `change` or `remove`.
    """
    record(
        work,
        at=at,
        actor=actor,
        kind=kind,
        resource_type="operator",
        resource_id=operator_id,
        changes=changes_json(*changes),
    )


def list_events(
    work: Connection, query: AuditQuery, *, count: int, before_id: int | None = None
) -> Sequence[AuditEvent]:
    """Events, newest first."""
    chosen = _filtered(select(audit_events), query).order_by(audit_events.c.id.desc()).limit(count)
    if before_id is not None:
        chosen = chosen.where(audit_events.c.id < before_id)
    return [AuditEvent(**row._mapping) for row in work.execute(chosen)]


def newest_of_each(
    work: Connection, resources: Collection[tuple[str, str]], *, passing_over: str = ""
) -> Sequence[AuditEvent]:
    """The newest addition and the newest change of each of these things, oldest first: one query for all of them.

    Args:
        resources: Type and id of each.
        passing_over: Changes that say exactly this do not count.
    """
    if not resources:
        return []
    columns = audit_events.c
    newest = (
        select(func.max(columns.id))
        .where(
            key_in([columns.resource_type, columns.resource_id], resources),
            columns.resource_id.in_({id for _, id in resources}),
            columns.kind.in_(("add", "change")),
            columns.changes != passing_over,
        )
        .group_by(columns.resource_type, columns.resource_id, columns.kind)
    )
    chosen = select(audit_events).where(columns.id.in_(newest)).order_by(columns.id)
    return [AuditEvent(**row._mapping) for row in work.execute(chosen)]


def count_events(work: Connection, query: AuditQuery) -> int:
    """Return how many events there are."""
    return work.scalar(_filtered(select(func.count()).select_from(audit_events), query)) or 0


def _filtered(chosen: Select[*tuple[object, ...]], query: AuditQuery) -> Select[*tuple[object, ...]]:
    columns = audit_events.c
    if query.resource_type is not None:
        chosen = chosen.where(columns.resource_type == query.resource_type)
    if query.resource_id is not None:
        chosen = chosen.where(columns.resource_id == query.resource_id)
    if query.begin is not None:
        chosen = chosen.where(columns.at >= query.begin)
    if query.end is not None:
        chosen = chosen.where(columns.at < query.end)
    return chosen

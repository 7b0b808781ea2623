"""The stored configuration: one JSON document per part, and a revision that rises with every change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from punchcard.store.bulk import PreparedStatement
from punchcard.store.upsert import insert_into
from punchcard.store.workspace.schema import configuration_documents, revisions

_REVISION = "configuration"
_CURRENT_REVISION = PreparedStatement(  # read for every batch of events
    select(revisions.c.value).where(revisions.c.name == bindparam("b_name"))
)


@dataclass(frozen=True, kw_only=True)
class StoredDocument:
    """A part of the configuration.

    Attributes:
        kind: `workspace`, `source` or `destination`.
        slug: The part's word, unique within its kind.
        body: JSON; secrets are encrypted inside.
    """

    kind: str
    slug: str
    body: str


def revision_of(work: Connection) -> int:
    """The configuration's revision, 0 before the first change."""
    return next((int(row.value) for row in _CURRENT_REVISION.rows(work, {"b_name": _REVISION})), 0)


def lock_revision(work: Connection) -> int:
    """The revision, held against every other writer of the configuration until the unit of work ends."""
    # PostgreSQL can only lock a row that is there; SQLite's units of work exclude each other anyway.
    work.execute(insert_into(work, revisions).values(name=_REVISION, value=0).on_conflict_do_nothing())
    return work.scalar(select(revisions.c.value).where(revisions.c.name == _REVISION).with_for_update()) or 0


def raise_revision(work: Connection, *, expected: int) -> bool:
    """Count one change; False if the revision is not the expected one."""
    raised = work.execute(
        update(revisions).where(revisions.c.name == _REVISION, revisions.c.value == expected).values(value=expected + 1)
    )
    return raised.rowcount == 1


def read_documents(work: Connection) -> Sequence[StoredDocument]:
    """All parts, by kind and slug."""
    columns = configuration_documents.c
    rows = work.execute(select(columns.kind, columns.slug, columns.body).order_by(columns.kind, columns.slug))
    return [StoredDocument(kind=row.kind, slug=row.slug, body=row.body) for row in rows]


def changed_at(work: Connection, kind: str, slug: str) -> datetime | None:
    """Return when a part was last changed, None if there is none."""
    columns = configuration_documents.c
    instant: datetime | None = work.scalar(select(columns.updated_at).where(columns.kind == kind, columns.slug == slug))
    return instant


def save_documents(work: Connection, documents: Iterable[StoredDocument], *, updated_at: datetime) -> None:
    """Write parts, in place of those of the same kind and slug."""
    for document in documents:
        remove_documents(work, [(document.kind, document.slug)])
        work.execute(
            insert(configuration_documents).values(
                kind=document.kind, slug=document.slug, body=document.body, updated_at=updated_at
            )
        )


def remove_documents(work: Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Forget parts by kind and slug."""
    columns = configuration_documents.c
    for kind, slug in keys:
        work.execute(delete(configuration_documents).where(columns.kind == kind, columns.slug == slug))

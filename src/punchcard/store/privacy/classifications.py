"""What people say of the sensitivity of properties and traits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from punchcard.store.privacy.schema import property_classifications
from punchcard.store.upsert import insert_into

PropertyKey = tuple[str, str]
"""Section and path: `("properties", "buyer.email")`."""


@dataclass(frozen=True, kw_only=True)
class StoredClassification:
    """A row of `property_classifications`.

    Attributes:
        section: `properties` or `traits`.
        path: Path below the section.
        classification: Its name, such as `RED`.
        changed_by: An actor as in the audit log.
    """

    section: str
    path: str
    classification: str
    changed_by: str
    changed_at: datetime


def read_classifications(work: Connection) -> dict[PropertyKey, StoredClassification]:
    """Return all classifications by section and path."""
    rows = work.execute(select(property_classifications)).all()
    return {(row.section, row.path): StoredClassification(**row._mapping) for row in rows}


def write_classifications(
    work: Connection, keys: Sequence[PropertyKey], classification: str, *, actor: str, now: datetime
) -> None:
    """Classify properties, whether or not they were classified before."""
    if not keys:
        return
    values = {"classification": classification, "changed_by": actor, "changed_at": now}
    statement = insert_into(work, property_classifications)
    statement = statement.on_conflict_do_update(index_elements=["section", "path"], set_=values)
    work.execute(statement, [{"section": section, "path": path, **values} for section, path in keys])


def remove_classifications(work: Connection, keys: Sequence[PropertyKey]) -> None:
    """Delete classifications of properties."""
    columns = property_classifications.c
    for section, path in keys:
        work.execute(delete(property_classifications).where(columns.section == section, columns.path == path))

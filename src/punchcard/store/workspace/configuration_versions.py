"""The versions of the configuration: who has changed it when, and the parts that each version has changed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, true

from punchcard.store.keys import key_in
from punchcard.store.values import storable
from punchcard.store.workspace.schema import configuration_version_parts, configuration_versions


@dataclass(frozen=True, kw_only=True)
class ConfigurationVersion:
    """A version.

    Attributes:
        number: Revision of the configuration that the change led to; numbers rise, with gaps.
        actor: Who made the change, as in the audit log; "" for what was there before versions were kept.
        restored_from: Number of the version that was restored, None if none was.
    """

    number: int
    at: datetime
    actor: str
    restored_from: int | None = None


@dataclass(frozen=True, kw_only=True)
class VersionPart:
    """A part of the configuration as a version has left it.

    Attributes:
        number: Number of the version that has changed it.
        body: Encrypted JSON; None if the version has removed it.
    """

    kind: str
    slug: str
    number: int
    body: str | None


def insert_version(work: Connection, version: ConfigurationVersion, parts: Sequence[VersionPart]) -> None:
    """Write a version, in the unit of work that makes the change."""
    work.execute(
        insert(configuration_versions).values(
            number=version.number,
            at=version.at,
            actor=storable(version.actor),
            restored_from=version.restored_from,
        )
    )
    if parts:
        work.execute(
            insert(configuration_version_parts),
            [{"kind": part.kind, "slug": part.slug, "number": part.number, "body": part.body} for part in parts],
        )


def has_versions(work: Connection) -> bool:
    """Return True if a version is stored."""
    return work.scalar(select(configuration_versions.c.number).limit(1)) is not None


def find_version(work: Connection, number: int) -> ConfigurationVersion | None:
    """Return a version, None if there is no such one."""
    row = work.execute(select(configuration_versions).where(configuration_versions.c.number == number)).first()
    return None if row is None else ConfigurationVersion(**row._mapping)


def list_versions(
    work: Connection, *, count: int, before: int | None = None, part: tuple[str, str] | None = None
) -> Sequence[ConfigurationVersion]:
    """Return versions, newest first.

    Args:
        before: Only those with a lower number.
        part: Kind and slug: only those that have changed this part.
    """
    columns = configuration_versions.c
    chosen = select(configuration_versions).where(_has_changed(part)).order_by(columns.number.desc()).limit(count)
    if before is not None:
        chosen = chosen.where(columns.number < before)
    return [ConfigurationVersion(**row._mapping) for row in work.execute(chosen)]


def count_versions(work: Connection, *, part: tuple[str, str] | None = None) -> int:
    """Return how many versions there are, or have changed a part."""
    return work.scalar(select(func.count()).select_from(configuration_versions).where(_has_changed(part))) or 0


def _has_changed(part: tuple[str, str] | None) -> ColumnElement[bool]:
    if part is None:
        return true()
    columns = configuration_version_parts.c
    numbers = select(columns.number).where(columns.kind == part[0], columns.slug == part[1])
    return configuration_versions.c.number.in_(numbers)


def read_changed_parts(work: Connection, numbers: Collection[int]) -> Sequence[VersionPart]:
    """Return what these versions have changed, oldest first."""
    columns = configuration_version_parts.c
    chosen = (
        select(configuration_version_parts)
        .where(columns.number.in_(list(numbers)))
        .order_by(columns.number, columns.kind, columns.slug)
    )
    return [VersionPart(**row._mapping) for row in work.execute(chosen)]


def read_parts_at(
    work: Connection, number: int, *, keys: Collection[tuple[str, str]] | None = None
) -> Sequence[VersionPart]:
    """Return the parts of the configuration at a version, without those that were removed by then.

    Args:
        keys: Kind and slug of the parts to return, None for all.
    """
    columns = configuration_version_parts.c
    newest = select(columns.kind, columns.slug, func.max(columns.number).label("number")).where(
        columns.number <= number
    )
    if keys is not None:
        newest = newest.where(key_in([columns.kind, columns.slug], keys))
    current = newest.group_by(columns.kind, columns.slug).subquery()
    chosen = select(configuration_version_parts).join(
        current,
        and_(
            columns.kind == current.c.kind,
            columns.slug == current.c.slug,
            columns.number == current.c.number,
        ),
    )
    return [VersionPart(**row._mapping) for row in work.execute(chosen.where(columns.body.is_not(None)))]


def prune_versions(work: Connection, *, count: int) -> int:
    """Delete all but the newest versions; return how many were deleted.

    What the oldest one that is kept has changed can still be compared with what was there before it.
    """
    versions, parts = configuration_versions.c, configuration_version_parts.c
    oldest = work.scalar(select(versions.number).order_by(versions.number.desc()).offset(count - 1).limit(1))
    if oldest is None:
        return 0
    later = configuration_version_parts.alias()
    newest = (
        select(func.max(later.c.number))
        .where(later.c.kind == parts.kind, later.c.slug == parts.slug, later.c.number < oldest)
        .scalar_subquery()
    )
    work.execute(
        delete(configuration_version_parts).where(parts.number < oldest, (parts.number < newest) | parts.body.is_(None))
    )
    return work.execute(delete(configuration_versions).where(versions.number < oldest)).rowcount

"""Which parts of the configuration the config file manages."""

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from punchcard.store.workspace.schema import file_managed_parts


def read_file_managed(work: Connection) -> frozenset[tuple[str, str]]:
    """Return kind and slug of the parts that the config file manages."""
    columns = file_managed_parts.c
    return frozenset((row.kind, row.slug) for row in work.execute(select(columns.kind, columns.slug)))


def write_file_managed(work: Connection, parts: Collection[tuple[str, str]]) -> None:
    """Make these the parts that the config file manages."""
    known = read_file_managed(work)
    columns = file_managed_parts.c
    for kind, slug in sorted(known - set(parts)):
        work.execute(delete(file_managed_parts).where(columns.kind == kind, columns.slug == slug))
    for kind, slug in sorted(set(parts) - known):
        work.execute(insert(file_managed_parts).values(kind=kind, slug=slug))

"""The tables of the versions of the configuration."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from punchcard.store.schema import Instant, metadata

configuration_versions = Table(  # one row for each change of the configuration
    "configuration_versions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # the revision that the change led to
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),  # as in audit_events; "" for what was there before versions were kept
    Column("restored_from", BigInteger),  # number of the version that was restored; it may be pruned by now
)

configuration_version_parts = Table(  # what each version has changed; a part is as its newest row up to a version says
    "configuration_version_parts",
    metadata,
    Column("kind", String(32), primary_key=True),  # as of configuration_documents
    Column("slug", String(128), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("body", Text),  # encrypted JSON of the part; null if the version has removed it
)
Index("ix_configuration_version_parts_number", configuration_version_parts.c.number)

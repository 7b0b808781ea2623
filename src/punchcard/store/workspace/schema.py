"""The tables of the configuration."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from punchcard.store.schema import Instant, metadata

configuration_documents = Table(
    "configuration_documents",
    metadata,
    Column("kind", String(32), primary_key=True),  # workspace, source, destination
    Column("slug", String(128), primary_key=True),
    Column("body", Text, nullable=False),  # JSON; secrets encrypted inside
    Column("updated_at", Instant, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", String(32), primary_key=True),  # "configuration"
    Column("value", BigInteger, nullable=False),
)

config_file_status = Table(  # one row: why the config file was not applied the last time it was read
    "config_file_status",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("path", Text, nullable=False),
    Column("code", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("since", Instant, nullable=False),
)

file_managed_parts = Table(  # parts that the config file names: only the file changes and removes them
    "file_managed_parts",
    metadata,
    Column("kind", String(32), primary_key=True),  # as of configuration_documents
    Column("slug", String(128), primary_key=True),
)

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

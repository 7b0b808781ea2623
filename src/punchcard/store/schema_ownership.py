"""The table of the parts of the configuration that the config file manages."""

from sqlalchemy import Column, String, Table

from punchcard.store.schema import metadata

file_managed_parts = Table(  # parts that the config file names: only the file changes and removes them
    "file_managed_parts",
    metadata,
    Column("kind", String(32), primary_key=True),  # as of configuration_documents
    Column("slug", String(128), primary_key=True),
)

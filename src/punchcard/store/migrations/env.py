"""Alembic's entry: runs the migrations on the connection that `upgrade` hands over."""

from alembic import context

from punchcard.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()

"""Free old versions of rows in PostgreSQL now, and renew its statistics, rather than when its own vacuum comes."""

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from punchcard.errors import StorageError
from punchcard.postgres import await_older_readers, message_of
from punchcard.store.schema import metadata


def vacuum(engine: Engine) -> bool:
    """Vacuum all tables of the store; False if a transaction that began before, such as a backup, keeps old versions.

    Raises:
        StorageError: The database is unavailable.
    """
    quote = engine.dialect.identifier_preparer.quote
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not await_older_readers(lambda statement: connection.scalar(text(statement))):
                return False
            # The statistics of a column have some of its values.
            connection.execute(
                text("VACUUM (ANALYZE) " + ", ".join(quote(table.name) for table in metadata.sorted_tables))
            )
    except SQLAlchemyError as error:
        raise StorageError(
            f"The store cannot be vacuumed: {message_of(getattr(error, 'orig', None) or error)}"
        ) from error
    return True

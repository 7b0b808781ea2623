"""What the tables of all owners share. Each is defined once for SQLite and PostgreSQL, in the `schema` of its owner.

Migrations in `migrations/` lead to exactly these tables; a test proves it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Dialect,
    Integer,
    MetaData,
)
from sqlalchemy.types import TypeDecorator

from punchcard.clock import EPOCH, to_micros

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives rising ids without a second table only to a column declared INTEGER.
RisingId = BigInteger().with_variant(Integer(), "sqlite")


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970 so that both engines compare and sort it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To microseconds."""
        return _to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From microseconds."""
        return _from_micros(value)

    # Both lead to the functions above. SQLAlchemy's own take two further calls for each value.
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        """Return the function that is applied to each parameter."""
        return _to_micros

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[int | None], datetime | None]:
        """Return the function that is applied to each value of a row."""
        return _from_micros


def _to_micros(value: datetime | None) -> int | None:
    return None if value is None else to_micros(value)


def _from_micros(value: int | None) -> datetime | None:
    return None if value is None else EPOCH + timedelta(0, 0, value)  # as `from_micros`, for many values of each row

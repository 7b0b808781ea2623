"""The statements that add up counts of results, built once for each form of a question.

A page runs up to sixty statements, twenty of them these: to build and look up one took SQLAlchemy longer than the
database took to run it.
"""

import functools
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Table, bindparam, func, select, type_coerce

from punchcard.store.bulk import PreparedStatement
from punchcard.store.delivery.count_sums import Level
from punchcard.store.delivery.schema import result_count_sums, result_counts

TIME = "time"
"""Stands for the beginning of a bucket among the columns by which counts are grouped."""

_FORMS_MAX = 500


@functools.lru_cache(maxsize=_FORMS_MAX)
def count_statement(
    level: Level | None, by: tuple[str, ...], width_micros: int, filters: tuple[tuple[str, int], ...]
) -> PreparedStatement:
    """Return the statement that adds up the counts from `b_begin` to `b_end`.

    Args:
        level: The level of the sums, None for the counts themselves.
        by: The columns to group by, or `TIME`; its rows have their values in this order, and the sum behind them.
        width_micros: How wide the buckets of `TIME` are; from 1970-01-01 UTC on.
        filters: The filtered columns with the number of their values, for example `("source", 2)`: the parameters
            `b_source_0` and `b_source_1`.
    """
    table = result_counts if level is None else result_count_sums
    columns = [_column(table, name, width_micros).label(f"group_{number}") for number, name in enumerate(by)]
    bucket = table.c.bucket
    chosen = select(*columns, func.sum(table.c.count).label("number"))
    chosen = chosen.where(bucket >= bindparam("b_begin"), bucket < bindparam("b_end"))
    if level is not None:
        chosen = chosen.where(table.c.level == level.value)
    for name, count in filters:
        values: list[Any] = [bindparam(f"b_{name}_{number}") for number in range(count)]
        chosen = chosen.where(table.c[name] == values[0] if count == 1 else table.c[name].in_(values))
    return PreparedStatement(chosen.group_by(*columns) if columns else chosen, row=tuple)


def _column(table: Table, name: str, width_micros: int) -> ColumnElement[Any]:
    if name == TIME:
        micros = type_coerce(table.c.bucket, BigInteger)
        return micros - micros % width_micros
    return table.c[name]

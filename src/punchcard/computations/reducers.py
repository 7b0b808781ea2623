"""The SQL aggregate of each reducer."""

from collections.abc import Sequence

from punchcard.computations.conditions import json_text, number_of, path_of, values_in_list
from punchcard.computations.model import Context, Events, Property, Reducer


def aggregate_of(events: Events, table: str, conditions: list[str] | None, order: str) -> str:
    """Return the aggregate of the events that meet the conditions."""
    conditions = list(conditions or ())
    if events.reducer is Reducer.COUNT:
        return "COUNT(*)" + _filter(conditions)
    of = reduced_member(events)
    number, text = number_of(of, table), path_of(of, table)
    match events.reducer:
        case Reducer.SUM:
            return f"SUM({number}){_filter(conditions)}"
        case Reducer.AVG:
            total = f"CAST(SUM({number}){_filter(conditions)} AS DOUBLE)"
            return f"CAST(ROUND({total} / NULLIF(COUNT({number}){_filter(conditions)}, 0), 6) AS DECIMAL(38, 9))"
        case Reducer.MIN | Reducer.MAX:
            return f"{events.reducer.upper()}({text if events.as_text else number}){_filter(conditions)}"
        case Reducer.UNIQUE_COUNT:
            return f"COUNT(DISTINCT {text}){_filter(conditions)}"
        case Reducer.UNIQUE:
            return f"LIST_SORT(ARRAY_AGG(DISTINCT {text}){_filter([*conditions, f'{text} IS NOT NULL'])})"
        case _:
            name = "ARG_MIN" if events.reducer is Reducer.FIRST else "ARG_MAX"
            value = json_text(of, table)
            if of.list_path is not None:
                value = f"LIST_EXTRACT({values_in_list(of, table)}, {1 if events.reducer is Reducer.FIRST else -1})"
            present = f"CAST({value} AS VARCHAR) <> 'null'"  # also false for a missing value
            return f"{name}({value}, {order.format(table)}){_filter([*conditions, present])}"


def reduces_entries(events: Events) -> bool:
    """Return whether each entry of a list counts by itself; `first` and `last` have one value per event."""
    if events.of is None or events.of.list_path is None or events.as_array:
        return False
    return events.reducer not in (Reducer.FIRST, Reducer.LAST)


def _filter(conditions: Sequence[str]) -> str:
    return f" FILTER (WHERE {' AND '.join(conditions)})" if conditions else ""


def reduced_member(events: Events) -> Property | Context:
    """Return the property that is reduced.

    Raises:
        ValueError: The events have no property.
    """
    if events.of is None:
        raise ValueError(f"`{events.reducer}` needs a property.")
    return events.of

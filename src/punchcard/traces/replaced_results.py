"""Stretches of the lake in which all events of a list have other results by now, as after a large replay."""

from punchcard.lake.listing import EventQuery
from punchcard.lake.reader import LakeReader
from punchcard.store.engine import Store
from punchcard.store.routing.later_results import replaced_results
from punchcard.traces.event_matching import selects_result

_READ_MIN = 500
_READ_GROWTH = 4
_READ_MAX = 20_000  # results at once: some 5 MB


def skip_replaced(lake: LakeReader, store: Store, query: EventQuery, before: tuple[int, int]) -> tuple[int, int] | None:
    """Return a place behind the newest event of the lake before `before` that has one of the results still.

    Only results are read: to read the events of a large replay would take a minute.

    Returns:
        None if no earlier event of the lake has one.

    Raises:
        StorageError: Lake or store is unavailable.
    """
    limit = _READ_MIN
    while rows := lake.results(query, limit=limit, before=before):
        with store.reading() as work:
            replaced = replaced_results(work, rows[-1][0][0], rows[0][0][0])
        for place, results in rows:
            if any(
                selects_result(query, result) and (place, result.destination or "") not in replaced
                for result in results
            ):
                return place[0], place[1] + 1
        if len(rows) < limit:
            return None
        before, limit = rows[-1][0], min(limit * _READ_GROWTH, _READ_MAX)
    return None

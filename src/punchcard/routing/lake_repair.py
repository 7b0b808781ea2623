"""Repairs the lake with what the log and the kept results still know of the rows that it has lost."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from punchcard.clock import Clock, from_micros
from punchcard.lake.repair import IsMissing, RepairReport, repair_lake
from punchcard.lake.schema import LakeRows
from punchcard.log.port import EventLog
from punchcard.routing.batch import lake_rows
from punchcard.routing.records import read_routed
from punchcard.routing.routed_log import read_routed_log
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import ResultBatch
from punchcard.store.routing.lake_status import note_lake_loss, note_lake_success
from punchcard.store.routing.positions import (
    LAKE,
    ROUTING,
    first_kept_results,
    note_position,
    position_of,
)

_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class LakeRepair:
    """The outcome of a repair.

    Attributes:
        report: What was found in the lake, and done.
        lost_positions: Log records behind the newest good state of which neither the lake nor the store knows anything
            any more: the first and the last, None if there are none.
        waiting_from: The log position from which on the feed appends by itself, None if the lake has come as far as
            routing.
    """

    report: RepairReport
    lost_positions: tuple[int, int] | None
    waiting_from: int | None


def repair(url: str, *, log: EventLog, store: Store, clock: Clock, dry_run: bool) -> LakeRepair:
    """Repair the lake, and note in the store what was lost.

    Raises:
        ConfigurationError: the lake is not in a folder.
        StorageError: lake, log or store failed; call again.
    """
    report = repair_lake(url, restore=_Restoring(log, store).rows, clock=clock, dry_run=dry_run)
    with store.reading() as connection:
        first, routed = first_kept_results(connection), position_of(connection, ROUTING)
    begin = routed + 1 if first is None else first
    lost = (report.position + 1, begin - 1) if report.position + 1 < begin else None
    if not dry_run:
        with store.unit_of_work() as work:
            note_position(work, LAKE, report.position)
            note_lake_success(work)
            if report.lost_events or lost:
                days = report.lost_days
                records = lost[1] - lost[0] + 1 if lost else 0  # each with one event at least
                note_lake_loss(
                    work,
                    report.lost_events + records,
                    begin=_midnight(days[0]) if days else None,
                    end=_midnight(days[-1]) + datetime.timedelta(days=1) if days else None,
                    now=clock.now(),
                )
    waiting = max(report.position + 1, begin) if report.position < routed else None
    return LakeRepair(report=report, lost_positions=lost, waiting_from=waiting)


class _Restoring:
    """Makes rows again from log and kept results."""

    def __init__(self, log: EventLog, store: Store) -> None:
        self._log = log
        self._store = store

    def rows(self, is_missing: IsMissing, through: int) -> Iterator[LakeRows]:
        """The rows that are lacking up to a log position: a part for each stretch, so that no two files overlap."""
        rows = LakeRows()
        for results, records, _, _ in read_routed_log(self._log, self._store, after=0, through=through):
            for record, known in zip(records, results.records, strict=True):
                if is_missing(record.position, from_micros(record.received_at).date()):
                    items = read_routed(record, known)
                    rows.extend(lake_rows(ResultBatch(results.distinct, [known]), [items], [record.received_at]))
                    if len(rows) < _ROWS_AT_ONCE:
                        continue
                if len(rows):
                    yield rows
                    rows = LakeRows()
        if len(rows):
            yield rows


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)

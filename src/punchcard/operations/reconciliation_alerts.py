"""The alert about differences between the ledger and a partner."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from punchcard.operations.alert_model import Alert
from punchcard.operations.reconciliation_views import count_open_differences
from punchcard.store.operations.reconciliations import newest_finished
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.snapshot import Snapshot


def find_ledger_differences(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Return the open differences of the newest reconciliation of each destination."""
    for slug, counts in count_open_differences(work, list(snapshot.destinations)).items():
        newest = newest_finished(work, slug)
        if counts and newest is not None:
            yield Alert(
                kind=AlertKind.LEDGER,
                subject=slug,
                destination=slug,
                count=sum(counts.values()),
                detail=", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in counts.items()),
                since=newest.finished_at,
            )

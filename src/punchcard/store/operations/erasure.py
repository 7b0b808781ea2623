"""Delete what alerts, reports and partners' answers name of persons."""

from typing import Any, Final

from sqlalchemy import Column, Connection, Table

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.operations.schema import (
    alert_notices,
    alerts,
    partner_customers,
    reconciliation_differences,
    reconciliations,
    replays,
    simulations,
)
from punchcard.store.text_scrubbing import delete_mentioning, rows_mentioning, scrub_columns

_TEXTS: Final[tuple[tuple[Table, tuple[Column[Any], ...]], ...]] = (
    (alerts, (alerts.c.subject, alerts.c.reason, alerts.c.title, alerts.c.detail, alerts.c.remedy, alerts.c.path)),
    (alert_notices, (alert_notices.c.body, alert_notices.c.error)),
    (reconciliations, (reconciliations.c.detail,)),
    (
        reconciliation_differences,
        (
            reconciliation_differences.c.email,
            reconciliation_differences.c.ours,
            reconciliation_differences.c.theirs,
            reconciliation_differences.c.detail,
        ),
    ),
    (simulations, (simulations.c.proposal, simulations.c.outcome, simulations.c.detail)),
    (replays, (replays.c.selection, replays.c.plan, replays.c.detail)),
)


def erase_from_reports(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects in alerts and reports, and delete what partners have shown of them.

    Returns:
        The number of changed and deleted rows.
    """
    changed = sum(scrub_columns(work, table, columns, ids) for table, columns in _TEXTS)
    return changed + delete_mentioning(work, partner_customers, [partner_customers.c.emails], ids)


def reports_about(work: Connection, ids: ErasedIds) -> dict[str, list[dict[str, Any]]]:
    """Return the alerts and reports that name a subject, by their tables."""
    named = ((table.name, rows_mentioning(work, table, columns, ids)) for table, columns in _TEXTS)
    shown = rows_mentioning(work, partner_customers, [partner_customers.c.emails], ids)
    return {name: rows for name, rows in (*named, (partner_customers.name, shown)) if rows}

"""Delete what violations of tracking plans name of persons."""

from sqlalchemy import Connection, delete

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.text_scrubbing import scrub_columns
from punchcard.store.tracking_plans.schema import plan_violations, violation_events


def erase_from_violations(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects in texts; return the number of changed rows.

    Events that wait to be forwarded are deleted: they may name anybody, and their violations are counted.
    """
    removed = work.execute(delete(violation_events)).rowcount
    return removed + scrub_columns(work, plan_violations, [plan_violations.c.description], ids)

"""Records a change of the configuration: in the audit log, and as a version that can be restored."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.store.access import audit
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Workspace
from punchcard.workspace.plan import Change
from punchcard.workspace.problems import render_path
from punchcard.workspace.versions import record_version


@dataclass(frozen=True, kw_only=True)
class RecordedChange:
    """A change to record.

    Attributes:
        current: The configuration before, secrets in plain text.
        final: The configuration after.
        number: Revision after the change.
        restored_from: Number of the version that it restores, None if it restores none.
    """

    current: Workspace
    final: Workspace
    number: int
    restored_from: int | None = None


def record_changes(
    work: Connection, changes: Sequence[Change], change: RecordedChange, *, actor: str, clock: Clock, keyring: Keyring
) -> None:
    """Write the changes to the audit log and make the version, in the unit of work of the change.

    Args:
        changes: If there are none, nothing is recorded.
    """
    if not changes:
        return
    now = clock.now()
    if change.restored_from is not None:
        audit.record(
            work,
            at=now,
            actor=actor,
            kind="restore",
            resource_type="version",
            resource_id=str(change.restored_from),
            changes="[]",
        )
    for part in changes:
        values = [
            {"path": render_path(value.path), "before": value.before, "after": value.after} for value in part.values
        ]
        audit.record(
            work,
            at=now,
            actor=actor,
            kind=part.kind,
            resource_type=part.part,
            resource_id=part.slug,
            changes=json.dumps(values, ensure_ascii=False),
        )
    record_version(
        work,
        current=change.current,
        final=change.final,
        number=change.number,
        at=now,
        actor=actor,
        keyring=keyring,
        restored_from=change.restored_from,
    )

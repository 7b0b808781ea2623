"""The last step of a deletion: awards in flight have ended, and the last files and bytes are removed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from msgspec import structs

from punchcard.clock import Clock, from_micros, to_iso
from punchcard.engage.erasure import ErasedIdentity, read_identity, write_identity
from punchcard.lake.erasure import LakeEraser
from punchcard.log.port import EventLog
from punchcard.operations.deletion_forwarding import forwarded_status
from punchcard.operations.deletion_records import LogErasure, is_deleted
from punchcard.store.delivery.erasure import erase_effects, erase_event_copies, open_among
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import (
    Progress,
    Regulation,
    RegulationStatus,
    SubjectType,
    forget_subjects,
    forget_subjects_of,
    update_regulation,
)
from punchcard.store.privacy.suppressions import forget_suppressed_values
from punchcard.workspace.snapshot import Snapshot
from punchcard.workspace.subject_vault import SubjectVault

DONE: Final = "done"
"""The stage of a regulation that is finished."""

_AT_ONCE: Final = 200
_Item = TypeVar("_Item")


class DeletionEnding:
    """Ends deletions. Each call may be repeated.

    Args:
        current: Returns the current configuration.
        log_retention_hours: How long the log keeps records: for a log that cannot replace them.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        eraser: LakeEraser,
        vault: SubjectVault,
        clock: Clock,
        current: Callable[[], Snapshot],
        log_retention_hours: float,
    ) -> None:
        self._store = store
        self._log = log
        self._eraser = eraser
        self._vault = vault
        self._clock = clock
        self._current = current
        self._log_retention = timedelta(hours=log_retention_hours)

    def with_log(self, progress: Progress, in_log: LogErasure) -> Progress:
        """Return the progress with what the log cannot replace, and until when it has it."""
        if in_log.last_position <= progress.log_through:
            return progress
        until = from_micros(in_log.last_received_micros) + self._log_retention
        return structs.replace(progress, log_through=in_log.last_position, log_until=until)

    def finish(self, regulation: Regulation) -> bool:
        """End a deletion if nothing is left that others need; False if it waits.

        Raises:
            StorageError: Not all of it was done; call again.
        """
        now = self._clock.now()
        progress = regulation.progress
        if progress.files_due_at is not None and now < progress.files_due_at:
            return False
        identity = read_identity(self._vault, regulation)
        if progress.files:
            self._eraser.remove_files(progress.files)
        open_effects = self._erase_ended(regulation, identity)
        with self._store.reading() as work:
            destinations = forwarded_status(work, identity.forwarded, self._current(), regulation, now=now)
        for step in destinations:
            progress = progress.with_destination(step)
        waits_for = self._waits_for_log(progress)
        if open_effects:
            waits_for = f"Waits for {len(open_effects)} calls and awards in delivery; everything else is deleted."
        if waits_for:
            if len(open_effects) < len(identity.effects):
                identity = structs.replace(identity, effects=tuple(open_effects))
                self._move(regulation, identity=write_identity(self._vault, identity), detail=waits_for)
            if (progress, waits_for) != (regulation.progress, regulation.detail):
                self._move(regulation, progress=progress, detail=waits_for)
            return False
        if not self._store.discard_deleted() or not self._log.discard_replaced():
            return False  # another process reads; the next call succeeds
        return self._end(regulation, progress, identity)

    def _move(self, regulation: Regulation, **values: object) -> bool:
        with self._store.unit_of_work() as work:
            return update_regulation(work, regulation, **values)

    def _erase_ended(self, regulation: Regulation, identity: ErasedIdentity) -> list[int]:
        """Erase the effects that have ended since they were left, in portions; return those that are open."""
        with self._store.reading() as work:
            open_effects = open_among(work, identity.effects)
        ended = [effect_id for effect_id in identity.effects if effect_id not in open_effects]
        for portion in _portions(ended):
            with self._store.unit_of_work() as work:
                now = self._clock.now()
                if regulation.only_source:
                    erase_event_copies(work, portion, cancels=False, now=now)
                else:
                    pseudonym = self._vault.open_or_create(work).pseudonym
                    erase_effects(work, portion, identity.ids, pseudonym=pseudonym, cancels=False, now=now)
        return sorted(open_effects)

    def _waits_for_log(self, progress: Progress) -> str:
        """Return what the log still has of the subjects and until when, "" for nothing."""
        if not progress.log_through or progress.log_until is None:
            return ""
        if is_deleted(self._log, through=progress.log_through):
            return ""
        return (
            "Everything else is deleted. The event log cannot replace records: it deletes the last record with this "
            f"person at {to_iso(progress.log_until)}, after log_retention_hours."
        )

    def _end(self, regulation: Regulation, progress: Progress, identity: ErasedIdentity) -> bool:
        now = self._clock.now()
        for step in progress.stores:
            finished_at = step.finished_at or now
            progress = progress.with_store(
                structs.replace(step, status=RegulationStatus.FINISHED, finished_at=finished_at)
            )
        failed = {RegulationStatus.NOT_SUPPORTED, RegulationStatus.FAILED}
        is_partial = any(step.status in failed for step in progress.destinations)
        for digests in _portions(self._digests(regulation, identity)):
            with self._store.unit_of_work() as work:
                forget_subjects(work, digests)
                forget_suppressed_values(work, digests)
        with self._store.unit_of_work() as work:
            forget_subjects_of(work, regulation)
            return update_regulation(
                work,
                regulation,
                stage=DONE,
                status=RegulationStatus.PARTIAL_SUCCESS if is_partial else RegulationStatus.FINISHED,
                finished_at=now,
                identity=None,
                progress=structs.replace(
                    progress, files=(), files_due_at=None, log_through=0, log_until=None, last_trace_at=now
                ),
                detail="",
            )

    def _digests(self, regulation: Regulation, identity: ErasedIdentity) -> list[str]:
        """Return the hashes of the persons who are deleted; of a source alone, they stay."""
        if regulation.only_source:
            return []
        with self._store.unit_of_work() as work:
            hashes = self._vault.open_or_create(work)
        return [
            hashes.digest(subject_type, value)
            for subject_type, values in (
                (SubjectType.USER_ID, identity.ids.user_ids),
                (SubjectType.EMAIL, identity.ids.emails),
                (SubjectType.ANONYMOUS_ID, identity.ids.anonymous_ids),
            )
            for value in values
        ]


def _portions(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for begin in range(0, len(items), _AT_ONCE):
        yield items[begin : begin + _AT_ONCE]

"""Does what regulations request, step by step. For the process that leads routing; Engage deletes the profiles.

Each step may be repeated: a crash between any two, or within one, ends in the same state. The steps of a deletion:

    waiting         until routing, lake and Engage have processed everything that was received before it
    profiles        Engage deletes profiles, traits, memberships and waiting syncs
    records         destinations are requested to delete; log, ledger, held events, reports and requests are cleared
    lake            the events are deleted from the lake
    profiles_again  Engage deletes what it has read meanwhile, and computes everything again
    remaining       awards in flight have ended, and the last files and bytes are removed
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import structlog
from msgspec import structs

from punchcard.clock import Clock, from_micros, to_iso
from punchcard.engage.demand import POSITION as ENGAGE
from punchcard.engage.demand import has_engage_work, request_engage
from punchcard.engage.erasure import (
    PROFILES,
    PROFILES_AGAIN,
    ErasedIdentity,
    is_erased,
    read_identity,
    write_identity,
)
from punchcard.errors import ConfigurationError, StorageError
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.reader import LakeEvent
from punchcard.lake.subject_events import SubjectEvent
from punchcard.log.port import EventLog
from punchcard.operations.deletion_forwarding import forward_deletion, forwarded_status
from punchcard.operations.deletion_records import (
    ErasedRecords,
    LogErasure,
    RecordErasure,
    is_deleted,
)
from punchcard.operations.ledger_subjects import find_subject_effects
from punchcard.operations.regulations import FIRST_STAGE, NewRegulation, create_regulation
from punchcard.operations.subject_identity import resolve_regulated, shared_events
from punchcard.profiles.erasure import ErasedIds
from punchcard.routing.records import describe
from punchcard.store.delivery.effects import SUBJECT_SUPPRESSED
from punchcard.store.delivery.erasure import (
    cancel_unsent,
    erase_effects,
    erase_event_copies,
    find_open_calls,
    of_source,
)
from punchcard.store.engine import Store
from punchcard.store.ingest.deletions import forget_deletion, list_deletions
from punchcard.store.privacy.regulations import (
    Progress,
    Regulation,
    RegulationStatus,
    RegulationType,
    Step,
    SubjectType,
    forget_subjects,
    forget_subjects_of,
    subjects_of,
    unfinished_regulations,
    update_regulation,
)
from punchcard.store.privacy.suppressions import forget_suppressed_values
from punchcard.store.routing.positions import LAKE, ROUTING, position_of
from punchcard.workspace.snapshot import Snapshot
from punchcard.workspace.subject_vault import SubjectVault

RECORDS: Final = "records"
LAKE_STAGE: Final = "lake"
REMAINING: Final = "remaining"
DONE: Final = "done"

_SUPPRESSION_SECONDS: Final = 1.0  # then routing knows it, and plans nothing more for the subject
_GRACE: Final = timedelta(seconds=60)  # for which readers may use a list of the lake's files
_LOG_RETENTION_HOURS: Final = 24.0
_OLD_REQUESTS_AT_ONCE: Final = 100
_WAITS_FOR_READERS: Final = (
    "Everything else is deleted. Waits until readers of the database that began before, such as a backup, are done."
)
_ACTOR: Final = "Segment's cloud"


class Lake(Protocol):
    """What of the lake's reader is needed."""

    def after(self, position: int, *, limit: int) -> list[LakeEvent]:
        """Return the next events after a log position."""


class DeletionRunner:
    """Takes regulations on.

    Args:
        current: Returns the current configuration.
        log_retention_hours: How long the log keeps records: for a log that cannot replace them.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        lake: Lake,
        eraser: LakeEraser,
        vault: SubjectVault,
        clock: Clock,
        current: Callable[[], Snapshot],
        log_retention_hours: float = _LOG_RETENTION_HOURS,
    ) -> None:
        self._store = store
        self._log = log
        self._lake = lake
        self._eraser = eraser
        self._vault = vault
        self._clock = clock
        self._current = current
        self._log_retention = timedelta(hours=log_retention_hours)
        self._records = RecordErasure(store=store, log=log, vault=vault, clock=clock)
        self._logger = structlog.get_logger("punchcard.privacy")
        self._steps: dict[str, Callable[[Regulation], bool]] = {
            FIRST_STAGE: self._begin,
            RECORDS: self._erase_records,
            LAKE_STAGE: self._erase_lake,
            REMAINING: self._finish,
        }

    def step(self) -> bool:
        """Take every regulation one step on, as far as it does not wait; False if nothing was done.

        One that fails waits with its error, and keeps no other from going on.

        Raises:
            StorageError: The store is unavailable.
        """
        busy = self._read_old_requests()
        with self._store.reading() as work:
            regulations = unfinished_regulations(work)
        for regulation in regulations:
            if (act := self._steps.get(regulation.stage)) is None:
                continue  # Engage is at it
            try:
                busy = act(regulation) or busy
            except (ConfigurationError, StorageError) as error:
                self._note(regulation, error.message)
            except Exception as error:  # a defect met by one regulation must not stop the others
                self._logger.error("regulation_failed", regulation=regulation.id, exc_info=error)
                self._note(regulation, f"Punchcard failed on it: {describe(error)}. It is tried again.")
        return busy

    def _note(self, regulation: Regulation, detail: str) -> None:
        if regulation.detail != detail:
            with self._store.unit_of_work() as work:
                update_regulation(work, regulation, detail=detail)

    def _move(self, regulation: Regulation, **values: Any) -> bool:
        with self._store.unit_of_work() as work:
            return update_regulation(work, regulation, **{"detail": "", **values})

    def _read_old_requests(self) -> bool:
        """Make regulations of `delete` messages that an earlier version has only listed."""
        with self._store.reading() as work:
            requests = list_deletions(work, count=_OLD_REQUESTS_AT_ONCE)
        for request in reversed(requests):
            with self._store.unit_of_work() as work:
                create_regulation(
                    work,
                    self._vault,
                    NewRegulation(
                        type=RegulationType.DELETE_ONLY,
                        subject_type=SubjectType.USER_ID,
                        subjects=[request.user_id],
                        source=request.source,
                        message_id=request.message_id,
                    ),
                    actor=_ACTOR,
                    now=self._clock.now(),
                )
                forget_deletion(work, request.id)
        return bool(requests)

    def _begin(self, regulation: Regulation) -> bool:
        """Wait for what was received before, then find out who the subjects are."""
        now = self._clock.now()
        if now - regulation.created_at < timedelta(seconds=_SUPPRESSION_SECONDS) and regulation.type.suppresses:
            return False
        if regulation.status is RegulationStatus.INITIALIZED:
            return self._move(regulation, log_position=self._log.last_position(), status=RegulationStatus.RUNNING)
        if regulation.type.deletes:
            request_engage(self._store)  # it knows which ids are of one person
        with self._store.reading() as work:
            with_engage = has_engage_work(work, self._current())
        if waits_for := self._waits_for(regulation.log_position, with_engage=with_engage):
            self._note(regulation, waits_for)
            return False
        with self._store.reading() as work:
            stored = subjects_of(work, [regulation.id])[regulation.id]
            subjects = [self._vault.decrypt(subject.value) for subject in stored if subject.value is not None]
            ids = resolve_regulated(work, self._vault, regulation, subjects, candidates=self._eraser.candidates)
        if not regulation.type.deletes:
            return self._cancel_awards(regulation, ids)
        identity = write_identity(self._vault, ErasedIdentity(ids=ids))
        return self._move(regulation, stage=PROFILES, identity=identity)

    def _waits_for(self, position: int, *, with_engage: bool) -> str:
        """Return what has not come to a log position yet, "" if all have."""
        with self._store.reading() as work:
            routed, in_lake, computed = (position_of(work, consumer) for consumer in (ROUTING, LAKE, ENGAGE))
        if routed < position:
            return "Waits until the events received before are routed."
        if in_lake < position:
            return "Waits until the events received before are in the data lake."
        if with_engage and computed < position:
            events = self._lake.after(computed, limit=1)
            if events and events[0].log_position <= position:
                return "Waits until Engage has processed the events received before."
        return ""

    def _cancel_awards(self, regulation: Regulation, ids: ErasedIds) -> bool:
        """Reject what waits to be sent for a suppressed person; it can be retried once nobody suppresses them."""
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            effect_ids = find_subject_effects(work, self._vault, ids, ()) | find_open_calls(work, ids)
            if regulation.only_source:
                effect_ids = of_source(work, effect_ids, regulation.only_source)
            canceled = cancel_unsent(
                work, effect_ids, reason=SUBJECT_SUPPRESSED, detail="the customer was suppressed", now=now
            )
            step = Step(id="ledger", name="Ledger", status=RegulationStatus.FINISHED, count=canceled, finished_at=now)
            return update_regulation(
                work,
                regulation,
                stage=DONE,
                status=RegulationStatus.FINISHED,
                finished_at=now,
                progress=regulation.progress.with_store(step),
                detail="",
            )

    def _erase_records(self, regulation: Regulation) -> bool:
        """Forward the deletion, then clear everything but the lake, by what the lake still has of the subjects."""
        through = min(self._log.last_position(), regulation.log_position)
        if waits_for := self._waits_for(through, with_engage=False):
            self._note(regulation, waits_for)
            return False
        identity = read_identity(self._vault, regulation)
        now = self._clock.now()
        ids = identity.ids
        events = [event for event in self._eraser.candidates(ids) if is_erased(event, ids, regulation)]
        progress = regulation.progress
        forwarded: dict[str, tuple[int, ...]] = {}
        if regulation.type.forwards:
            with self._store.unit_of_work() as work:
                forwarded = forward_deletion(work, regulation, ids, self._current(), now=now)
        records = self._erase(regulation, ids, events)
        for step in records.steps:
            progress = progress.with_store(step)
        progress = self._with_log(progress, records.in_log)
        waiting = {*records.in_flight, *(id for calls in forwarded.values() for id in calls)}
        identity = structs.replace(
            identity,
            effects=tuple(sorted(waiting)),
            forwarded=forwarded,
            conflicts=tuple(records.conflicts),
            cleared_through=through,
        )
        return self._move(
            regulation,
            stage=LAKE_STAGE,
            # What is synced or received until now is deleted from the lake, too.
            log_position=max(regulation.log_position, self._log.last_position()),
            progress=progress,
            identity=write_identity(self._vault, identity),
        )

    def _erase(self, regulation: Regulation, ids: ErasedIds, events: Sequence[SubjectEvent]) -> ErasedRecords:
        if regulation.only_source:
            return self._records.erase_of_source(ids, events)
        return self._records.erase(ids, events)

    def _erase_lake(self, regulation: Regulation) -> bool:
        if waits_for := self._waits_for(regulation.log_position, with_engage=False):
            self._note(regulation, waits_for)
            return False
        identity = read_identity(self._vault, regulation)
        candidates = list(self._eraser.candidates(identity.ids))
        events = [event for event in candidates if is_erased(event, identity.ids, regulation)]
        # The places of those that have arrived since the records were cleared: theirs are cleared, too.
        later = [event for event in events if event.place[0] > identity.cleared_through]
        records = self._erase(regulation, identity.ids, later)
        erasure = self._eraser.erase(identity.ids, events=events, scrubbed=identity.conflicts)
        now = self._clock.now()
        existing = next((step.count for step in regulation.progress.stores if step.id == "lake"), 0)
        step = Step(
            id="lake",
            name="Data lake",
            status=RegulationStatus.RUNNING,
            count=existing + max(erasure.rows, len(events)),
            detail=shared_events(candidates, identity.ids),
        )
        # A person of whom the lake had nothing may be in files that were replaced before, such as by retention.
        files = erasure.files if events else self._eraser.naming(identity.ids, erasure.files)
        effects = tuple(sorted({*identity.effects, *records.in_flight}))
        return self._move(
            regulation,
            stage=PROFILES_AGAIN,
            progress=structs.replace(
                self._with_log(regulation.progress, records.in_log).with_store(step),
                files=files,
                files_due_at=now + _GRACE if files else None,
            ),
            identity=write_identity(
                self._vault, structs.replace(identity, effects=effects, later=tuple(event.place for event in later))
            ),
        )

    def _with_log(self, progress: Progress, in_log: LogErasure) -> Progress:
        """Return the progress with what the log cannot replace, and until when it has it."""
        if in_log.last_position <= progress.log_through:
            return progress
        until = from_micros(in_log.last_received_micros) + self._log_retention
        return structs.replace(progress, log_through=in_log.last_position, log_until=until)

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

    def _finish(self, regulation: Regulation) -> bool:
        """Remove the last files and bytes once awards in flight have ended and nobody reads them."""
        now = self._clock.now()
        identity, progress = read_identity(self._vault, regulation), regulation.progress
        if progress.files_due_at is not None and now < progress.files_due_at:
            return False
        if progress.files:
            self._eraser.remove_files(progress.files)
        with self._store.unit_of_work() as work:
            hashes = self._vault.open_or_create(work)
            destinations = forwarded_status(work, identity.forwarded, self._current(), regulation, now=now)
            if regulation.only_source:
                ended = erase_event_copies(work, identity.effects, cancels=False, now=now)
            else:
                ended = erase_effects(
                    work, identity.effects, identity.ids, pseudonym=hashes.pseudonym, cancels=False, now=now
                )
        for step in destinations:
            progress = progress.with_destination(step)
        if ended.in_flight:
            detail = f"Waits for {len(ended.in_flight)} calls and awards in delivery; everything else is deleted."
            if (progress, detail) != (regulation.progress, regulation.detail):
                self._move(regulation, progress=progress, detail=detail)
            return False
        if waits_for := self._waits_for_log(progress):
            if (progress, waits_for) != (regulation.progress, regulation.detail):
                self._move(regulation, progress=progress, detail=waits_for)
            return False
        texts = () if regulation.only_source else identity.ids.searched_texts
        if not self._log.discard_replaced() or not self._store.discard_deleted(texts=texts):
            self._note(regulation, _WAITS_FOR_READERS)
            return False
        digests = [
            hashes.digest(subject_type, value)
            for subject_type, values in (
                (SubjectType.USER_ID, identity.ids.user_ids),
                (SubjectType.EMAIL, identity.ids.emails),
                (SubjectType.ANONYMOUS_ID, identity.ids.anonymous_ids),
            )
            for value in values
            if not regulation.only_source
        ]
        return self._end(regulation, progress, digests, now)

    def _end(self, regulation: Regulation, progress: Progress, digests: Sequence[str], now: datetime) -> bool:
        for step in progress.stores:
            progress = progress.with_store(_finished(step, now))
        failed = {RegulationStatus.NOT_SUPPORTED, RegulationStatus.FAILED}
        is_partial = any(step.status in failed for step in progress.destinations)
        with self._store.unit_of_work() as work:
            forget_subjects(work, digests)
            forget_suppressed_values(work, digests)
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


def _finished(step: Step, now: datetime) -> Step:
    return structs.replace(step, status=RegulationStatus.FINISHED, finished_at=step.finished_at or now)

"""Does what regulations request, step by step. For the process that leads routing; Engage deletes the profiles.

Each step may be repeated: a crash between any two, or within one, ends in the same state. The steps of a deletion:

    waiting         until routing, lake and Engage have processed everything that was received before it
    profiles        Engage deletes profiles, traits, memberships and waiting syncs
    records         destinations are requested to delete; log, ledger, held events, reports and requests are cleared
    lake            the events are deleted from the lake
    profiles_again  Engage deletes what it has read meanwhile, and computes everything again
    remaining       awards in flight have ended, and the last files and bytes are removed

Three of them are long: finding out who the subjects are, `records` and `lake`. They take minutes for thousands of
persons, so a process of their own does them, beside the one that routes and delivers.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Protocol

import structlog
from msgspec import structs

from punchcard.clock import Clock
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
from punchcard.lake.erasure import LakeEraser, SubjectEvent
from punchcard.lake.reader import LakeEvent
from punchcard.log.port import EventLog
from punchcard.operations.deletion_ending import DONE, DeletionEnding
from punchcard.operations.deletion_forwarding import forward_deletion
from punchcard.operations.deletion_records import (
    ErasedRecords,
    RecordErasure,
    replace_suppressed_records,
)
from punchcard.operations.regulations import FIRST_STAGE, NewRegulation, create_regulation
from punchcard.operations.subject_identity import resolve_subjects
from punchcard.profiles.erasure import ErasedIds
from punchcard.routing.records import describe
from punchcard.store.delivery.effects import SUBJECT_SUPPRESSED
from punchcard.store.delivery.erasure import (
    cancel_unsent,
    find_effects,
    find_open_calls,
    of_source,
)
from punchcard.store.engine import Store
from punchcard.store.ingest.deletions import forget_deletion, list_deletions
from punchcard.store.privacy.regulations import (
    Regulation,
    RegulationStatus,
    RegulationType,
    Step,
    SubjectType,
    subjects_of,
    unfinished_regulations,
    update_regulation,
)
from punchcard.store.routing.positions import LAKE, ROUTING, position_of
from punchcard.workspace.snapshot import Snapshot
from punchcard.workspace.subject_vault import SubjectVault

RECORDS: Final = "records"
LAKE_STAGE: Final = "lake"
REMAINING: Final = "remaining"

_SUPPRESSION_SECONDS: Final = 1.0  # then routing knows it, and plans nothing more for the subject
_GRACE_SECONDS: Final = 60.0  # for which readers may use a list of the lake's files
_LOG_RETENTION_HOURS: Final = 24.0
_OLD_REQUESTS_AT_ONCE: Final = 100
_ACTOR: Final = "Segment's cloud"


class Steps(Enum):
    """Which steps a runner takes."""

    ALL = "all"
    SHORT = "short"  # those that are over in a moment: the others are only noted as due
    LONG = "long"  # those that a runner for short ones leaves


class Lake(Protocol):
    """What of the lake's reader is needed."""

    def after(self, position: int, *, limit: int) -> list[LakeEvent]:
        """Return the next events after a log position."""


class DeletionRunner:
    """Takes regulations on.

    Args:
        current: Returns the current configuration.
        grace_seconds: How long replaced files of the lake stay for readers.
        log_retention_hours: How long the log keeps records: for a log that cannot replace them.
        steps: Which steps it takes.

    Attributes:
        is_long_step_due: Whether the last call of `step` has met a long step that waits for nothing and left it.
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
        grace_seconds: float = _GRACE_SECONDS,
        log_retention_hours: float = _LOG_RETENTION_HOURS,
        steps: Steps = Steps.ALL,
    ) -> None:
        self.is_long_step_due = False
        self._kind = steps
        self._store = store
        self._log = log
        self._lake = lake
        self._eraser = eraser
        self._vault = vault
        self._clock = clock
        self._current = current
        self._grace = timedelta(seconds=grace_seconds)
        self._records = RecordErasure(store=store, log=log, vault=vault, clock=clock)
        self._ending = DeletionEnding(
            store=store,
            log=log,
            eraser=eraser,
            vault=vault,
            clock=clock,
            current=current,
            log_retention_hours=log_retention_hours,
        )
        self._logger = structlog.get_logger("punchcard.privacy")
        self._steps: dict[str, Callable[[Regulation], bool]] = {
            FIRST_STAGE: self._begin,
            RECORDS: self._erase_records,
            LAKE_STAGE: self._erase_lake,
            REMAINING: self._ending.finish,
        }

    def step(self) -> bool:
        """Take every regulation one step on, as far as it does not wait; False if nothing was done.

        One that fails waits with its error, and keeps no other from going on.

        Raises:
            StorageError: The store is unavailable.
        """
        self.is_long_step_due = False
        busy = False
        if self._kind is not Steps.LONG:
            busy = self._read_old_requests()
            busy = replace_suppressed_records(self._store, self._log) or busy
        with self._store.reading() as work:
            regulations = unfinished_regulations(work)
        for regulation in regulations:
            if (act := self._steps.get(regulation.stage)) is None:
                continue  # Engage is at it
            if self._kind is Steps.LONG and not _is_before_long_step(regulation):
                continue
            try:
                busy = act(regulation) or busy
            except (ConfigurationError, StorageError) as error:
                self._note(regulation, error.message)
            except Exception as error:  # a defect met by one regulation must not stop the others
                self._logger.error("regulation_failed", regulation=regulation.id, exc_info=error)
                self._note(regulation, f"Punchcard failed on it: {describe(error)}. It is tried again.")
        return busy

    def _leaves_long_step(self) -> bool:
        """Note that a long step is due, and return whether it is left to another process."""
        self.is_long_step_due = self.is_long_step_due or self._kind is Steps.SHORT
        return self._kind is Steps.SHORT

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
        if regulation.type.deletes and self._leaves_long_step():
            return False
        with self._store.reading() as work:
            stored = subjects_of(work, [regulation.id])[regulation.id]
            subjects = [self._vault.decrypt(subject.value) for subject in stored if subject.value is not None]
            if not regulation.type.deletes:
                ids = resolve_subjects(work, regulation.subject_type, subjects)
            else:
                ids = resolve_subjects(work, regulation.subject_type, subjects, candidates=self._eraser.candidates)
        if not regulation.type.deletes:
            return self._cancel_awards(regulation, ids.emails, ids.user_ids | ids.anonymous_ids)
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

    def _cancel_awards(self, regulation: Regulation, emails: Collection[str], user_ids: Collection[str]) -> bool:
        """Reject what waits to be sent for a suppressed person; it can be retried once nobody suppresses them."""
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            effect_ids = find_effects(work, emails, ()) | find_open_calls(work, user_ids)
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
        if self._leaves_long_step():
            return False
        identity = read_identity(self._vault, regulation)
        now = self._clock.now()
        events = self._events_of(identity.ids, regulation)
        progress = regulation.progress
        forwarded: dict[str, tuple[int, ...]] = {}
        if regulation.type.forwards:
            with self._store.unit_of_work() as work:
                forwarded = forward_deletion(work, regulation, identity.ids, self._current(), now=now)
        records = self._erase(regulation, identity.ids, events)
        for step in records.steps:
            progress = progress.with_store(step)
        progress = self._ending.with_log(progress, records.in_log)
        waiting = {*records.in_flight, *(id for ids in forwarded.values() for id in ids)}
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

    def _events_of(self, ids: ErasedIds, regulation: Regulation) -> list[SubjectEvent]:
        return [event for event in self._eraser.candidates(ids) if is_erased(event, ids, regulation)]

    def _erase_lake(self, regulation: Regulation) -> bool:
        if waits_for := self._waits_for(regulation.log_position, with_engage=False):
            self._note(regulation, waits_for)
            return False
        if self._leaves_long_step():
            return False
        identity = read_identity(self._vault, regulation)
        events = self._events_of(identity.ids, regulation)
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
        )
        # A person of whom the lake had nothing may be in files that were replaced before, such as by retention.
        files = erasure.files if events else self._eraser.naming(identity.ids, erasure.files)
        effects = tuple(sorted({*identity.effects, *records.in_flight}))
        return self._move(
            regulation,
            stage=PROFILES_AGAIN,
            progress=structs.replace(
                self._ending.with_log(regulation.progress, records.in_log).with_store(step),
                files=files,
                files_due_at=now + self._grace if files else None,
            ),
            identity=write_identity(
                self._vault, structs.replace(identity, effects=effects, later=tuple(event.place for event in later))
            ),
        )


def _is_before_long_step(regulation: Regulation) -> bool:
    """Return whether the next step of a regulation may be a long one."""
    if regulation.stage == FIRST_STAGE:
        return regulation.type.deletes and regulation.status is not RegulationStatus.INITIALIZED
    return regulation.stage in (RECORDS, LAKE_STAGE)

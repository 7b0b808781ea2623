"""Sees that log and store belong together: when they are opened, while they are used, and before anything is sent.

Three things may be wrong. The log is another one than the store was routed from, or an older copy of it: then nobody
would ever route what is appended to it, so it is not used. The store is an older copy: then it does not know what was
sent since, so every open effect is put in doubt (`routing.restore_detection`) and what is missing is planned again
(`routing.recovery`). Positions show most of this. The rest is shown by the generation (`LogIdentity`): it rises at
every start, and once a second while anything is sent.
"""

import threading
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import InvariantError, PunchcardError, StorageError
from punchcard.log.opening import is_shared
from punchcard.log.port import LOG_REPLACED, EventLog, LogIdentity
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.restore_detection import LakePositions, RestoreDetector, write_audit
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.delivery.recoveries import RecoveryReason
from punchcard.store.engine import Store
from punchcard.store.routing.log_binding import LogBinding, bind, bind_if_unbound, raise_generation, read_binding
from punchcard.store.routing.positions import ROUTING, furthest_position, position_of

# A generation is at most this old when anything is sent. Each costs three writes that are synced.
_GENERATION_SECONDS = 1.0
# From this age on the next generation is made in another thread, so that what is sent does not wait for the disk.
_RENEWED_AFTER_SECONDS = 0.7
# How long after `open` nothing is looked for that `check` would not find.
_OPEN_SECONDS = 10.0


class OtherLogError(PunchcardError):
    """The log does not belong to the store."""

    code = "another_log"


class OlderStoreError(PunchcardError):
    """The store was restored from an older copy while Punchcard was running."""

    code = "older_store"


class LogGuard:
    """Guards one process's use of a log with a store. Safe to use from several threads.

    Args:
        is_private: True if the store is a file beside the log, which no other data folder can use: then a log that
            was lost is replaced by the new one without asking.
        landing_seconds: How long a request may still arrive at a partner after its sender has ended.
        log_place: Where the log is, without a password: for messages, and stored with the binding.
        is_shared: True if processes on several machines use the log.
        generation_file: Beside the log, to tell when log and store are restored from one older copy.

    Attributes:
        is_private: See above.
        renewal_due: Set when the next generation should be made, by `renew`.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        lake: LakePositions,
        clock: Clock,
        is_private: bool,
        landing_seconds: Callable[[], float],
        log_place: str,
        generation_file: GenerationFile,
        is_shared: bool = False,
    ) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._restores = RestoreDetector(log=log, lake=lake, clock=clock, landing_seconds=landing_seconds)
        self.is_private = is_private
        self._log_place = log_place
        self._is_shared = is_shared
        self._generation_file = generation_file
        self._telemetry = RoutingTelemetry()
        self._advancing = threading.Lock()
        self._advanced_at: float | None = None
        self._opened_at: float | None = None  # if the lake could be read
        self.renewal_due = threading.Event()
        self._refusal: PunchcardError | None = None
        # What this process has seen. If log and store are in one database that is restored, only this shows it.
        self._reached = 0

    @property
    def refusal(self) -> PunchcardError | None:
        """Why the log must not be used any more, None if it may."""
        return self._refusal

    def open(self) -> None:
        """Bind store and log to each other, or see that they are; to be called before either is used.

        Raises:
            OtherLogError: the store belongs to another log, or to a newer copy of this one.
            StorageError: log or store is away.
        """
        # In this order: the lake follows the store and the store follows the log, all the time.
        lake_position = self._restores.lake_last()
        lake_last = lake_position or 0
        before = self._log.identity()
        with self._store.unit_of_work() as work:
            binding = read_binding(work, for_update=True)
            routed, furthest = position_of(work, ROUTING), furthest_position(work, ROUTING)
            log = self._log.identity()
            last = self._log.last_position()
            if binding is None:
                binding = self._bind_unbound(work, log, routed=furthest, last=last)
                log, last = self._log.identity(), self._log.last_position()  # perhaps another process was faster
            self._refuse_other_store(binding, log)
            is_lost = self._refuse_other_log(binding, log, routed=furthest, last=last)
            written = max(self._generation_file.read(binding.log_id), self._reached)
            is_lost = is_lost or log.reserved < written
            known = max(written, before.confirmed if before.id == binding.log_id else 0)
            through = max(furthest, lake_last)
            self._restores.detect(
                work, binding, known_generation=known, routed=routed, lake_last=lake_last, is_log_lost=is_lost
            )
            # Above all that is known, not only above the copies' own numbers, or they look old at the next start too.
            generation = self._log.reserve_generation(max(binding.generation, known))
            binding = self._bind(work, log.id, generation, store_id=binding.store_id)
            if is_lost or last < through:
                # Before the first append: a record at a position that was routed already is never read.
                self._log.continue_after(through)
        self._bind_log(binding)
        self._confirm(log.id, generation)
        if is_lost or last < through:
            self._telemetry.log_lost(last_position=last, continues_behind=through)
        self._opened_at = None if lake_position is None else self._clock.monotonic()

    def reopen(self) -> None:
        """Open once more, to be called before routing begins: meanwhile hours may have passed, or the lake be readable.

        A moment after `open` has read the lake, only `check` is made: reading the lake costs round trips on S3. Raises
        what `open` does.
        """
        if self._opened_at is not None and self._clock.monotonic() <= self._opened_at + _OPEN_SECONDS:
            with suppress(OlderStoreError):
                self.check()
                return
        self.open()

    def check(self) -> None:
        """See that log and store still belong together.

        Raises:
            OtherLogError: the store has gone on with another log, or another copy of this one; from now on `refusal`.
            OlderStoreError: the store was restored from an older copy under this process.
            StorageError: log or store is away, or the log was replaced; nothing is decided.
        """
        reached = self._reached  # read before the store, as another thread may reach the next one meanwhile
        try:
            before = self._log.identity()
            with self._store.reading() as work:
                binding = read_binding(work)
            log = self._log.identity()
        except StorageError as error:
            if error.code == LOG_REPLACED:
                raise self._refuse(OtherLogError(error.message, code=error.code)) from error
            raise
        try:
            self._refuse_other_store(binding, log)
        except OtherLogError as error:
            raise self._refuse(error) from None
        if binding is None or binding.generation < max(before.confirmed, reached):
            raise OlderStoreError("the database was restored from an older copy while Punchcard was running")
        if binding.log_id != log.id or binding.generation > log.reserved:
            raise self._refuse(OtherLogError(self._message(binding, log)))

    def allow_sending(self) -> None:
        """Return when something may be sent: log and store have reached a generation that is young enough.

        A copy of the store that was made before does not know this generation. While something is sent all the time,
        `renewal_due` has the next one made in time, and this does not wait. Raises what `advance` does.
        """
        advanced_at = self._advanced_at
        age = None if advanced_at is None else self._clock.monotonic() - advanced_at
        if age is None or age >= _GENERATION_SECONDS:
            self.advance()
        elif age >= _RENEWED_AFTER_SECONDS:
            self.renewal_due.set()

    def renew(self) -> None:
        """Advance, unless that was done since it was due: while it is done, more is sent and says again that it is."""
        self._advance(older_than_seconds=_RENEWED_AFTER_SECONDS)

    def advance(self, *, at_once: bool = False) -> None:
        """Advance log and store to the next generation, unless that was done a moment ago.

        Called at once when the last was sent, for a copy that was made a moment before. Raises what `check` does, or
        StorageError if nothing may be sent because log or store is away.
        """
        self._advance(older_than_seconds=0.0 if at_once else _GENERATION_SECONDS)

    def _advance(self, *, older_than_seconds: float) -> None:
        with self._advancing:
            now = self._clock.monotonic()
            if self._advanced_at is not None and now < self._advanced_at + older_than_seconds:
                return
            self.check()
            generation = self._log.reserve_generation(0)
            with self._store.unit_of_work() as work:
                raise_generation(work, generation)
            self._confirm(self._log.identity().id, generation)
            self._advanced_at = now

    def adopt(self) -> int:
        """Bind the store to this log, whatever it belonged to; returns how many records it holds.

        All of them get positions behind what was routed: those that came from the other log. What was routed of them
        before is known by its message ids and effect keys. Raises StorageError if log or store is away.
        """
        lake_last = self._restores.lake_last() or 0
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            binding = read_binding(work, for_update=True)
            through = max(furthest_position(work, ROUTING), lake_last)
            log = self._log.identity()
            records = self._log.move_after(through)
            generation = self._log.reserve_generation(0 if binding is None else binding.generation)
            adopted = self._bind(work, log.id, generation, store_id="" if binding is None else binding.store_id)
            before = None if binding is None else binding.log_id
            write_audit(work, [{"path": "log", "before": before, "after": log.id}], now)
        self._log.bind_store(adopted.store_id, replace=True)
        self._confirm(log.id, generation)
        return records

    def declare_restored(self) -> dict[str, int]:
        """Put every open effect in doubt because an operator says that all was restored together from a copy.

        Returns:
            How many open effects by destination.

        Raises:
            OtherLogError: see `open`.
            StorageError: log or store is away.
        """
        self.open()
        lake_last = self._restores.lake_last() or 0
        with self._store.unit_of_work() as work:
            routed = position_of(work, ROUTING)
            return self._restores.start_recovery(
                work, RecoveryReason.DECLARED, routed=routed, lake_last=lake_last, is_log_lost=True
            )

    def _bind(self, work: Connection, log_id: str, generation: int, *, store_id: str) -> LogBinding:
        """Write the binding of the store; a store without an id gets one."""
        binding = LogBinding(
            log_id=log_id, generation=generation, place=self._log_place, store_id=store_id or self._clock.new_id()
        )
        bind(work, binding, now=self._clock.now())
        return binding

    def _bind_log(self, binding: LogBinding) -> None:
        """Make a shared log belong to the store, after the store has committed the id that the log remembers."""
        self._log.bind_store(binding.store_id)
        self._refuse_other_store(binding, self._log.identity())  # perhaps another store was faster

    def _confirm(self, log_id: str, generation: int) -> None:
        self._log.confirm_generation(generation)
        self._reached = max(self._reached, generation)
        self._generation_file.write(log_id, generation)

    def _refuse(self, error: "OtherLogError") -> "OtherLogError":
        self._refusal = error
        self._log.refuse(StorageError(error.message, code=error.code))
        return error

    def _bind_unbound(self, work: Connection, log: LogIdentity, *, routed: int, last: int) -> LogBinding:
        """Bind a store that no process has opened yet, or none since logs have ids."""
        if last < routed and not self.is_private:
            raise OtherLogError(
                f"the database has routed an event log through position {routed}, and the one at {self._log_place} "
                f"ends at {last}: {self._cure('')}"
            )
        bind_if_unbound(work, LogBinding(log_id=log.id, generation=0), now=self._clock.now())
        binding = read_binding(work, for_update=True)  # perhaps another process was faster
        if binding is None:
            raise InvariantError("the database has lost the log that it was just bound to")
        return binding

    def _refuse_other_store(self, binding: LogBinding | None, log: LogIdentity) -> None:
        """Refuse a shared log that belongs to another store, which routes its events already."""
        if log.store_id and (binding is None or binding.store_id != log.store_id):
            raise OtherLogError(
                f"the event log at {self._log_place} belongs to another database, which awards its events already: "
                "set PUNCHCARD_DATABASE_URL to the database of the processes that run. If that database is lost, "
                "`punchcard adopt-log` makes this log the log of the database that is set here"
            )

    def _refuse_other_log(self, binding: LogBinding, log: LogIdentity, *, routed: int, last: int) -> bool:
        """Refuse a log that is not the store's; True if it takes the place of one that was lost."""
        if binding.log_id == log.id and binding.generation <= log.reserved:
            return last < routed
        is_new = last == 0 and log.confirmed == 0
        if self.is_private and (is_new or binding.log_id == log.id):
            return True
        raise OtherLogError(self._message(binding, log))

    def _message(self, binding: LogBinding, log: LogIdentity) -> str:
        place = f" at {binding.place}" if binding.place else ""
        if binding.log_id != log.id:
            what = f"the database belongs to event log {binding.log_id}{place}"
            what += f", and the one at {self._log_place} is {log.id}"
        else:
            what = f"the event log at {self._log_place} is an older copy: the database has gone on with another one"
        return f"{what}: {self._cure(binding.place)}"

    def _cure(self, place: str) -> str:
        """What to do about a log that is not the one at `place`, where the store's log is ("" if that is unknown)."""
        if not self._is_shared and not is_shared(place):
            return f"{_SAME_FOLDER}. {_ADOPT}"
        that = place if is_shared(place) else "the same event log"
        return f"every process needs the event log of the database: set PUNCHCARD_LOG_URL to {that} for all. {_ADOPT}"


_SAME_FOLDER = (
    "`serve` and `worker` need the same data folder, so give this one that of the process that runs already "
    "(--data, PUNCHCARD_DATA)"
)
_ADOPT = "If that log is lost, `punchcard adopt-log` makes this one the log of the database"

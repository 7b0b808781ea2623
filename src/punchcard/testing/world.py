"""A whole Punchcard on a controlled clock; its process can end between any two writes.

Real: the log, the store, the lake, routing, and the stages of delivery. Scripted: time, chance, and the partner; its
book is the truth about what happened. A test or a simulation chooses every step; nothing runs by itself.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random

from sqlalchemy import Connection

from punchcard.clock import to_micros
from punchcard.delivery.attempts import SendBefore, perform_attempt
from punchcard.delivery.clock_watch import ClockWatch
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions, Effect, EffectKey
from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import LogRecord, NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import PositionMovedError, Router
from punchcard.store.delivery import operator_actions, outbox
from punchcard.store.delivery.effects import Action, Attempt
from punchcard.store.delivery.ledger import needing_a_person
from punchcard.store.delivery.pauses import PauseEnd, resume
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner.scripted import QUICK_REFUNDS, ScriptedPartner, ScriptedSettings, Step
from punchcard.testing.partner.scripted_snapshot import scripted_snapshot
from punchcard.workspace.snapshot import Snapshot

SLUG = "partner"
SOURCE, OTHER_SOURCE = "website", "server"
WRITE_KEYS = {SOURCE: "wk", OTHER_SOURCE: "wk2"}
OPTIONS = DeliveryOptions(requests_per_second=0, tries_max=6)
_LATE_SECONDS = 5.0  # below the wait after an unknown outcome, as that wait promises
_IDS_MIN = 12  # so few that the ledger must remember what this index forgets
_BAD_SENDS = [step for step in Step if step not in (Step.PERFORM, Step.HANG, Step.REFUSE_TOKEN)]
_BAD_READS = [Step.BUSY, Step.SLOW_DOWN, Step.LOSE_RESPONSE, Step.REJECT, Step.BREAK]


class ProcessEnd(BaseException):
    """The process ends here, as by SIGKILL: no `except Exception` and no handler catches it."""


class Fuse:
    """Ends the process, or fails the storage, at one of the points that the components below pass."""

    def __init__(self) -> None:
        self._left = 0
        self._error: BaseException | None = None

    def set(self, points: int, *, error: BaseException) -> None:
        """Raise the error at the point after this number."""
        self._left, self._error = points, error

    def clear(self) -> None:
        """Raise nothing any more."""
        self._error = None

    def pass_point(self, *, storage_may_fail: bool = True) -> None:
        """Pass one point."""
        if self._error is None or not (storage_may_fail or isinstance(self._error, ProcessEnd)):
            return
        self._left -= 1
        if self._left <= 0:
            error, self._error = self._error, None
            raise error


class FusedStore(Store):
    """A real store; each unit of work may end before it begins, before its commit, and after it."""

    def __init__(self, url: str, fuse: Fuse) -> None:
        super().__init__(url)
        self._fuse = fuse

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        """Run one unit of work between points."""
        fuse = getattr(self, "_fuse", None) or Fuse()
        fuse.pass_point()
        with super().unit_of_work() as work:
            yield work
            fuse.pass_point()
        fuse.pass_point()


class FusedLog(SqliteEventLog):
    """A real log; an append may end before and after it is durable."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self._fuse = fuse

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Append between points."""
        self._fuse.pass_point()
        positions = super().append(records)
        self._fuse.pass_point()
        return positions


class FusedLake(LakeWriter):
    """A real lake; an append may end before and after its commit."""

    def __init__(self, url: str, *, clock: ManualClock, fuse: Fuse) -> None:
        super().__init__(url, clock=clock)
        self._fuse = fuse

    def append(self, rows: LakeRows, *, first_position: int, last_position: int, after: int | None = None) -> None:
        """Append between points."""
        self._fuse.pass_point()
        super().append(rows, first_position=first_position, last_position=last_position, after=after)
        self._fuse.pass_point(storage_may_fail=False)  # the writer checks the table before it reports a failure


class ChancePartner(ScriptedPartner):
    """A partner with random mishaps.

    Attributes:
        mishaps: Number of mishaps per hundred requests.
    """

    def __init__(self, *, clock: ManualClock, chance: Random, refuses_used_keys: bool) -> None:
        super().__init__(clock=clock, refuses_used_keys=refuses_used_keys, late_seconds=_LATE_SECONDS)
        self._chance = chance
        self.mishaps = 30

    def next_send(self, effect_key: str) -> Step:
        """Return the next step of the script, otherwise a random one."""
        scripted = super().next_send(effect_key)
        if scripted is Step.PERFORM and self._chance.randrange(100) < self.mishaps:
            return self._chance.choice(_BAD_SENDS)
        return scripted

    def next_read(self, effect_key: str) -> Step:
        """Return the next step of the script, otherwise a random one."""
        scripted = super().next_read(effect_key)
        if scripted is Step.PERFORM and self._chance.randrange(100) < self.mishaps:
            return self._chance.choice(_BAD_READS)
        return scripted


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An attempt in delivery, and the result that will be received."""

    attempt: Attempt
    fingerprint: str
    result: CompletedAttempt | None = None
    send_before: SendBefore


class World:
    """One installation, its partner, and everything that can happen to them.

    Every method is one step. A `ProcessEnd` inside is followed by a restart from disk.

    Args:
        folder: Folder of log, store and lake.
        seed: Seed of all random choices.
        refuses_used_keys: As for the partner; without it, only Punchcard prevents duplicate effects.
    """

    def __init__(self, folder: Path, *, seed: int, refuses_used_keys: bool) -> None:
        self._folder = folder
        self.chance = Random(seed)
        self.clock = ManualClock(seed=seed)
        self.partner = ChancePartner(clock=self.clock, chance=self.chance, refuses_used_keys=refuses_used_keys)
        self.partner.retry_after_seconds = 2.0
        self.fuse = Fuse()
        self.restarts = 0
        self.crowded: list[str] = []  # customers that had two effects in delivery at once, which must be none
        self._loop = asyncio.new_event_loop()
        self._tokens = 0
        self.renew_token()
        self._telemetry = DeliveryTelemetry(SLUG)
        self._sent: list[Sent] = []
        self._answered: list[CompletedAttempt] = []
        # Sources and bodies without a response for their sender, which sends them again.
        self._unacknowledged: list[tuple[str, bytes]] = []
        self._open()

    # --- steps ---

    def send(self, *bodies: bytes, source: str = SOURCE) -> None:
        """Send requests like a client, which retries until they are durable."""
        self._unacknowledged.extend((source, body) for body in bodies)
        self._guarded(self._append_all)

    def route(self) -> None:
        """Take a step of routing."""
        self._guarded(self._route)

    def feed_lake(self) -> None:
        """Write what waits to the lake."""
        self._guarded(self._flush)

    def deliver(self, *, room: int) -> None:
        """Run a cycle of delivery: record results, claim and prepare."""
        self._guarded(lambda: self._cycle(room))

    def perform(self, number: int) -> None:
        """Perform one of the claimed attempts at the partner, unless its time is over."""
        waiting = [index for index, sent in enumerate(self._sent) if sent.result is None]
        if not waiting:
            return
        index = waiting[number % len(waiting)]
        sent = self._sent[index]
        client = self.partner.client(self._settings)
        result = self._loop.run_until_complete(
            perform_attempt(
                client, sent.attempt, send_before=sent.send_before, clock=self.clock, telemetry=self._telemetry
            )
        )
        completed = CompletedAttempt(attempt=sent.attempt, result=result, seconds=0.0, fingerprint=sent.fingerprint)
        self._sent[index] = replace(sent, result=completed)

    def receive_result(self, number: int) -> None:
        """Receive one of the results in transit."""
        underway = [sent for sent in self._sent if sent.result is not None]
        if not underway:
            return
        sent = underway[number % len(underway)]
        self._sent.remove(sent)
        if sent.result is not None:
            self._answered.append(sent.result)

    def crash(self) -> None:
        """End the process immediately and start it again."""
        self._lose_memory()
        self._open()

    def pass_time(self, seconds: float) -> None:
        """Advance the time for everyone."""
        self.clock.advance(seconds)
        self.partner.land()

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock, forward or back; no time passes."""
        self.clock.set_wall_clock(by=seconds)

    def revoke_token(self) -> None:
        """Make the partner refuse every token."""
        self.partner.tokens = set()

    def renew_token(self) -> None:
        """Set a new, valid token like an operator."""
        self._tokens += 1
        token = f"t{self._tokens}"
        self.partner.tokens = {token}
        self._settings = ScriptedSettings(token=token, options=OPTIONS, refunds=QUICK_REFUNDS)

    def retry(self) -> int:
        """Requeue everything that needs attention like an operator; return how much that was."""
        reopened = 0

        def requeue() -> None:
            nonlocal reopened
            with self.store.unit_of_work() as work:
                effect_ids = [effect.id for effect in needing_a_person(work)]
                resume(work, SLUG, by=PauseEnd.OPERATOR, now=self.clock.now())
                reopened = operator_actions.reopen(work, effect_ids, now=self.clock.now())

        self._guarded(requeue)
        return reopened

    # --- state ---

    def log_records(self, after: int) -> list[LogRecord]:
        """Return all records after a position."""
        records: list[LogRecord] = []
        while batch := self.log.read(after, records_max=500, bytes_max=10**9):
            records.extend(batch)
            after = batch[-1].position
        return records

    def is_quiet(self) -> bool:
        """Return whether nothing waits for the process itself."""
        return (
            not (self._unacknowledged or self._sent or self._answered)
            and self.router.position == self.log.last_position()
        )

    def lake(self) -> LakeReader:
        """Return a reader of the lake."""
        return LakeReader(str(self._folder / "lake"))

    def close(self) -> None:
        """Close everything."""
        self.fuse.clear()
        self._close_components()
        self._loop.close()

    # --- implementation ---

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ProcessEnd:
            self.crash()
        except StorageError:
            return  # each component keeps its state and is called again

    def _append_all(self) -> None:
        while self._unacknowledged:
            source, body = self._unacknowledged[0]
            received_at = to_micros(self.clock.now())
            record = NewRecord(received_at, WRITE_KEYS[source], "batch", "identity", body, "")
            self.log.append([record])
            self._unacknowledged.pop(0)

    def _route(self) -> None:
        try:
            self.router.step()
        except PositionMovedError:
            self._lead_routing()  # its last step was committed after all: restart from the state on disk

    def _flush(self) -> None:
        self.feed.flush()

    def _cycle(self, room: int) -> None:
        completed, self._answered = self._answered, []
        target = DeliveryTarget(
            slug=SLUG,
            partner=self.partner,
            settings=self._settings,
            options=OPTIONS,
            fingerprint=self._settings.token,
        )
        busy = frozenset(sent.attempt.effect.ordering_group for sent in self._sent)
        try:
            done = cycle(
                self.store,
                target,
                completed,
                room=room,
                clock=self.clock,
                telemetry=self._telemetry,
                busy=busy,
                watch=self._watch,
            )
        except StorageError:
            self._answered = completed + self._answered
            raise
        self._sent.extend(
            Sent(attempt=attempt, fingerprint=target.fingerprint, send_before=done.send_before)
            for attempt in done.attempts
        )
        customers = [sent.attempt.effect.customer for sent in self._sent]
        self.crowded.extend({customer for customer in customers if customers.count(customer) > 1})

    def _lose_memory(self) -> None:
        for sent in self._sent:
            if sent.result is None and sent.attempt.action is Action.SEND and not sent.send_before.is_over(self.clock):
                self._cut_off(sent.attempt)
        self.restarts += 1
        self._close_components()

    def _cut_off(self, attempt: Attempt) -> None:
        # The request was sent or not; if it was, it arrived, or will arrive.
        effect = Effect(
            kind=attempt.effect.kind,
            effect_key=EffectKey(attempt.effect.effect_key),
            email=attempt.effect.email,
            event_name=attempt.effect.event_name,
            item=attempt.item,
            quantity=attempt.quantity,
            attributes=attempt.effect.attributes,
        )
        match self.chance.randrange(3):
            case 0:
                self.partner.delay(effect)
            case 1 if not self.partner.refuses(effect.effect_key):
                self.partner.enter(effect)
            case _:
                return

    def _open(self) -> None:
        while True:
            self._sent, self._answered = [], []
            self._watch = ClockWatch(self.clock)
            try:
                self._open_components()
            except ProcessEnd:
                self._close_components()
                continue
            return

    def _open_components(self) -> None:
        self.store = FusedStore(with_tables(f"sqlite:///{self._folder / 'store.db'}"), self.fuse)
        self.log = FusedLog(self._folder / "log.db", self.fuse)
        while True:
            try:
                self._lead_routing()
                with self.store.unit_of_work() as work:
                    now = self.clock.now()
                    wait = timedelta(seconds=OPTIONS.unknown_wait_seconds)
                    outbox.release_orphans(work, SLUG, now=now, due_at=now + wait)
            except StorageError:
                continue
            return

    def _lead_routing(self) -> None:
        lake = FusedLake(str(self._folder / "lake"), clock=self.clock, fuse=self.fuse)
        self.feed = LakeFeed(lake=lake, log=self.log, store=self.store, clock=self.clock, rows_max=10**6)
        index = MessageIndex(_IDS_MIN)
        recovered = self.feed.recover()
        for keys in self.lake().recent_message_keys(_IDS_MIN):
            index.add_all(keys)
        index.add_all(recovered)
        self.configuration = self._snapshot()
        self.router = Router(
            log=self.log,
            store=self.store,
            clock=self.clock,
            current=lambda: self.configuration,
            index=index,
            feed=self.feed,
            on_effects=lambda slugs: None,
            batch_bytes=2_000,
        )

    def _snapshot(self) -> Snapshot:
        return scripted_snapshot(self.partner, self._settings, slug=SLUG, write_keys=WRITE_KEYS)

    def _close_components(self) -> None:
        for component in (getattr(self, "store", None), getattr(self, "log", None)):
            if component is not None:
                component.close()


def batch_of(*events: dict[str, object]) -> bytes:
    """Return the body of a batch request."""
    return json.dumps({"batch": events}).encode()


def track(
    message_id: str,
    *,
    email: str,
    quantity: str | None = None,
    order_id: str | None = None,
    refund: bool = False,
    refund_id: str | None = None,
) -> dict[str, object]:
    """Return a track event in the format of the scripted partner."""
    optional = {"quantity": quantity, "order_id": order_id, "refund_id": refund_id}
    properties: dict[str, object] = {"email": email, "refund": refund}
    properties |= {name: value for name, value in optional.items() if value is not None}
    return {
        "type": "track",
        "event": "Order Refunded" if refund else "Order Completed",
        "userId": email,
        "messageId": message_id,
        "properties": properties,
    }

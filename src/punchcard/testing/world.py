"""A whole Punchcard on a clock that is moved by hand, whose process can end between any two writes.

Real: the log, the store, the lake, routing, and the stages of delivery. Scripted: time, chance, and the partner, whose
book is the truth of what happened. A test or a simulation picks what happens next; nothing runs by itself.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from punchcard.clock import to_micros
from punchcard.delivery.attempts import SendBefore, perform_attempt
from punchcard.delivery.clock_watch import ClockWatch
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions, Effect, EffectKey, EffectKind
from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import LogRecord, NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import PositionMovedError, Router
from punchcard.store import operator_actions, outbox
from punchcard.store.effects import Action, Attempt
from punchcard.store.engine import Store
from punchcard.store.ledger import needing_a_person
from punchcard.store.pauses import PauseEnd, resume
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner import ScriptedPartner, ScriptedSettings, Step
from punchcard.workspace.model import Destination, Source
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SourceRoute

SLUG = "partner"
SOURCE, OTHER_SOURCE = "website", "server"
WRITE_KEYS = {SOURCE: "wk", OTHER_SOURCE: "wk2"}
OPTIONS = DeliveryOptions(requests_per_second=0, tries_max=6, refund_wait_seconds=300)
_LATE_SECONDS = 5.0  # below the wait after an unknown outcome, as that wait promises
_IDS_MIN = 12  # so few that the ledger must remember what this index forgets
_BAD_SENDS = [step for step in Step if step not in (Step.PERFORM, Step.HANG, Step.REFUSE_TOKEN)]
_BAD_READS = [Step.BUSY, Step.SLOW_DOWN, Step.LOSE_ANSWER, Step.REJECT, Step.BREAK]


class ProcessEnd(BaseException):
    """The process ends here, as by SIGKILL: no `except Exception` and no handler sees it."""


class Fuse:
    """Ends the process, or fails the storage, at one of the points that the parts below pass."""

    def __init__(self) -> None:
        self._left = 0
        self._bang: BaseException | None = None

    def light(self, points: int, *, bang: BaseException) -> None:
        """Raise `bang` at the point after so many."""
        self._left, self._bang = points, bang

    def put_out(self) -> None:
        """Let everything pass."""
        self._bang = None

    def pass_by(self, *, storage_may_fail: bool = True) -> None:
        """One point."""
        if self._bang is None or not (storage_may_fail or isinstance(self._bang, ProcessEnd)):
            return
        self._left -= 1
        if self._left <= 0:
            bang, self._bang = self._bang, None
            raise bang


class FusedStore(Store):
    """A real store; each unit of work may end before it begins, before its commit, and after it."""

    def __init__(self, url: str, fuse: Fuse) -> None:
        super().__init__(url)
        self._fuse = fuse

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        """One unit of work between points."""
        fuse = getattr(self, "_fuse", None) or Fuse()
        fuse.pass_by()
        with super().unit_of_work() as work:
            yield work
            fuse.pass_by()
        fuse.pass_by()


class FusedLog(SqliteEventLog):
    """A real log; an append may end before and after it is durable."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self._fuse = fuse

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """One append between points."""
        self._fuse.pass_by()
        positions = super().append(records)
        self._fuse.pass_by()
        return positions


class FusedLake(LakeWriter):
    """A real lake; an append may end before and after its commit."""

    def __init__(self, url: str, *, clock: ManualClock, fuse: Fuse) -> None:
        super().__init__(url, clock=clock)
        self._fuse = fuse

    def append(self, rows: LakeRows, *, first_position: int, last_position: int, after: int | None = None) -> None:
        """One append between points."""
        self._fuse.pass_by()
        super().append(rows, first_position=first_position, last_position=last_position, after=after)
        self._fuse.pass_by(storage_may_fail=False)  # the writer looks again before it says that it failed


class ChancePartner(ScriptedPartner):
    """A partner whose mishaps are drawn by chance.

    Attributes:
        mishaps: How many requests of a hundred meet one.
    """

    def __init__(self, *, clock: ManualClock, chance: Random, refuses_used_keys: bool) -> None:
        super().__init__(clock=clock, refuses_used_keys=refuses_used_keys, late_seconds=_LATE_SECONDS)
        self._chance = chance
        self.mishaps = 30

    def next_send(self, effect_key: str) -> Step:
        """The next step of the script, else one by chance."""
        scripted = super().next_send(effect_key)
        if scripted is Step.PERFORM and self._chance.randrange(100) < self.mishaps:
            return self._chance.choice(_BAD_SENDS)
        return scripted

    def next_read(self, effect_key: str) -> Step:
        """The next step of the script, else one by chance."""
        scripted = super().next_read(effect_key)
        if scripted is Step.PERFORM and self._chance.randrange(100) < self.mishaps:
            return self._chance.choice(_BAD_READS)
        return scripted


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An attempt that is on its way, and what will be heard of it."""

    attempt: Attempt
    fingerprint: str
    heard: CompletedAttempt | None = None
    send_before: SendBefore


class World:
    """One installation, its partner, and everything that can happen to them.

    Every method is one thing that happens. Whatever raises `ProcessEnd` inside is followed by a restart from disk.

    Args:
        folder: Holds log, store and lake.
        seed: Decides all that is left to chance.
        refuses_used_keys: As the partner's; without it, nothing but Punchcard keeps effects single.
    """

    def __init__(self, folder: Path, *, seed: int, refuses_used_keys: bool) -> None:
        self._folder = folder
        self.chance = Random(seed)
        self.clock = ManualClock(seed=seed)
        self.partner = ChancePartner(clock=self.clock, chance=self.chance, refuses_used_keys=refuses_used_keys)
        self.partner.retry_after_seconds = 2.0
        self.fuse = Fuse()
        self.restarts = 0
        self.crowded: list[str] = []  # customers that ever had two effects on their way at once: none, if all is well
        self._loop = asyncio.new_event_loop()
        self._tokens = 0
        self.renew_token()
        self._telemetry = DeliveryTelemetry(SLUG)
        self._sent: list[Sent] = []
        self._answered: list[CompletedAttempt] = []
        # Sources and bodies that their sender got no answer for, so it sends them again.
        self._unsaid: list[tuple[str, bytes]] = []
        self._open()

    # --- what happens ---

    def send(self, *bodies: bytes, source: str = SOURCE) -> None:
        """A client sends requests, and sends them again until it is told that they are durable."""
        self._unsaid.extend((source, body) for body in bodies)
        self._guarded(self._append_all)

    def route(self) -> None:
        """Routing takes a step."""
        self._guarded(self._route)

    def feed_lake(self) -> None:
        """The lake gets what waits for it."""
        self._guarded(self._flush)

    def deliver(self, *, room: int) -> None:
        """Delivery settles, claims and prepares."""
        self._guarded(lambda: self._cycle(room))

    def leave(self, number: int) -> None:
        """One of the attempts that were claimed leaves, unless its time is over, and meets its end at the partner."""
        waiting = [index for index, one in enumerate(self._sent) if one.heard is None]
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
        heard = CompletedAttempt(attempt=sent.attempt, result=result, seconds=0.0, fingerprint=sent.fingerprint)
        self._sent[index] = replace(sent, heard=heard)

    def hear(self, number: int) -> None:
        """One of the answers underway arrives."""
        underway = [one for one in self._sent if one.heard is not None]
        if not underway:
            return
        one = underway[number % len(underway)]
        self._sent.remove(one)
        if one.heard is not None:
            self._answered.append(one.heard)

    def crash(self) -> None:
        """The process ends at once and is started again."""
        self._lose_memory()
        self._open()

    def pass_time(self, seconds: float) -> None:
        """Time passes for everyone."""
        self.clock.advance(seconds)
        self.partner.land()

    def set_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back; no time passes."""
        self.clock.set_wall_clock(by=seconds)

    def revoke_token(self) -> None:
        """The partner takes no token any more."""
        self.partner.tokens = set()

    def renew_token(self) -> None:
        """The operator pastes a new token, which is valid."""
        self._tokens += 1
        token = f"t{self._tokens}"
        self.partner.tokens = {token}
        self._settings = ScriptedSettings(token=token, options=OPTIONS)

    def retry(self) -> int:
        """The operator puts everything that needs a person back in the queue; returns how much that was."""
        reopened = 0

        def put_back() -> None:
            nonlocal reopened
            with self.store.unit_of_work() as work:
                wanted = [one.id for one in needing_a_person(work)]
                resume(work, SLUG, by=PauseEnd.OPERATOR, now=self.clock.now())
                reopened = operator_actions.reopen(work, wanted, now=self.clock.now())

        self._guarded(put_back)
        return reopened

    # --- what stands ---

    def log_records(self, after: int) -> list[LogRecord]:
        """All records behind a position."""
        records: list[LogRecord] = []
        while some := self.log.read(after, records_max=500, bytes_max=10**9):
            records.extend(some)
            after = some[-1].position
        return records

    def is_quiet(self) -> bool:
        """True if nobody waits for anything that the process itself would do."""
        return not (self._unsaid or self._sent or self._answered) and self.router.position == self.log.last_position()

    def lake(self) -> LakeReader:
        """The lake as readers see it."""
        return LakeReader(str(self._folder / "lake"))

    def close(self) -> None:
        """Release everything."""
        self.fuse.put_out()
        self._close_parts()
        self._loop.close()

    # --- how ---

    def _guarded(self, happening: Callable[[], None]) -> None:
        try:
            happening()
        except ProcessEnd:
            self.crash()
        except StorageError:
            return  # each part keeps what it had and is asked again

    def _append_all(self) -> None:
        while self._unsaid:
            source, body = self._unsaid[0]
            received_at = to_micros(self.clock.now())
            record = NewRecord(received_at, WRITE_KEYS[source], "batch", "identity", body, "")
            self.log.append([record])
            self._unsaid.pop(0)

    def _route(self) -> None:
        try:
            self.router.step()
        except PositionMovedError:
            self._lead_routing()  # its last step was committed after all: start again from what stands on disk

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
        busy = frozenset(one.attempt.effect.ordering_group for one in self._sent)
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
            Sent(attempt=one, fingerprint=target.fingerprint, send_before=done.send_before) for one in done.attempts
        )
        customers = [one.attempt.effect.customer for one in self._sent]
        self.crowded.extend({customer for customer in customers if customers.count(customer) > 1})

    def _lose_memory(self) -> None:
        for one in self._sent:
            if one.heard is None and one.attempt.action is Action.SEND and not one.send_before.is_over(self.clock):
                self._cut_off(one.attempt)
        self.restarts += 1
        self._close_parts()

    def _cut_off(self, attempt: Attempt) -> None:
        # The request had left or had not; if it had, it arrived, or still will.
        effect = Effect(
            kind=EffectKind(attempt.effect.kind),
            effect_key=EffectKey(attempt.effect.effect_key),
            email=attempt.effect.email,
            event_name=attempt.effect.event_name,
            perk=attempt.perk,
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
                self._open_parts()
            except ProcessEnd:
                self._close_parts()
                continue
            return

    def _open_parts(self) -> None:
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
        for some in self.lake().recent_message_keys(_IDS_MIN):
            index.add_all(some)
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
        routed = RoutedDestination(
            slug=SLUG,
            name=self.partner.definition.name,
            partner=self.partner,
            settings=self._settings,
            supported=self.partner.definition.supported,
            fingerprint=self._settings.token,
            destination=Destination(slug=SLUG, type="scripted", sources=(SOURCE, OTHER_SOURCE)),
        )
        routes = {
            key: SourceRoute(source=Source(slug=slug, name=slug, write_keys=(key,)), destinations=(routed,))
            for slug, key in WRITE_KEYS.items()
        }
        return Snapshot(
            revision=1,
            zone=ZoneInfo("UTC"),
            by_write_key=routes,
            routes=routes,
            destinations={SLUG: routed},
            known_names=frozenset({routed.name}),
        )

    def _close_parts(self) -> None:
        for part in (getattr(self, "store", None), getattr(self, "log", None)):
            if part is not None:
                part.close()


def batch_of(*events: dict[str, object]) -> bytes:
    """The body of a batch request."""
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
    """A track event as the scripted partner plans it."""
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

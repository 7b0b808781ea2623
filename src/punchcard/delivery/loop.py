"""Delivers one destination: claims effects, keeps requests in flight, records their results."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from punchcard.clock import Clock
from punchcard.delivery.attempts import SendBefore, attempt_batch, batches
from punchcard.delivery.clock_watch import ClockWatch
from punchcard.delivery.credential_check import CredentialCheck
from punchcard.delivery.limit import TokenBucket
from punchcard.delivery.outcomes import TOO_MANY_REQUESTS, PartnerResult
from punchcard.delivery.permission import SendingPermission, message_of, unsent
from punchcard.delivery.request_permits import SparePermits
from punchcard.delivery.retry import slow_down_seconds
from punchcard.delivery.stages import CompletedAttempt, Cycle, cycle, lease_seconds
from punchcard.delivery.target import DeliveryTarget
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions, PartnerClient
from punchcard.errors import CredentialsError, OutcomeUnknownError, RetryableError, StorageError
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import Attempt, OrderingGroup
from punchcard.store.delivery.pauses import PauseEnd
from punchcard.store.engine import Store
from punchcard.store.leadership import Leadership

T = TypeVar("T")

_STANDBY_SECONDS = 1.0
_STORAGE_RETRY_SECONDS = 1.0
_MANY = 8
_GATHER_SECONDS = 0.004
# How long a few results may wait to be recorded with the next claim. A process that is killed then reads them back.
_JOIN_SECONDS = 0.02


class DestinationDelivery:
    """Delivers one destination until stopped. Only the process that holds its leadership does.

    Args:
        current: The destination as configured now, None once it is removed.
        poll_seconds: How soon the work of another process is seen; `wake` is at once.
        before_sending: Called after attempts are committed and before the first byte of any leaves. If it raises,
            none of them is sent.
        spare: Gets what deliveries leave of the rate limit.
    """

    def __init__(
        self,
        slug: str,
        *,
        store: Store,
        clock: Clock,
        current: Callable[[], DeliveryTarget | None],
        poll_seconds: float,
        before_sending: Callable[[], None] = lambda: None,
        spare: SparePermits | None = None,
    ) -> None:
        self._slug = slug
        self._store = store
        self._clock = clock
        self._current = current
        self._poll_seconds = poll_seconds
        self._permission = SendingPermission(before_sending)
        self._telemetry = DeliveryTelemetry(slug)
        # One thread for this loop's units of work: they are serial anyway, and the event loop never waits for a disk.
        self._database = ThreadPoolExecutor(1, thread_name_prefix=f"deliver-{slug}")
        self._bucket = TokenBucket(0, clock)
        self._in_flight: dict[asyncio.Task[None], Sequence[Attempt]] = {}  # by request
        self._watch = ClockWatch(clock)
        self._may_have_lost_lead = True
        self._answered: list[CompletedAttempt] = []
        self._target: DeliveryTarget | None = None  # as last seen
        self._client: PartnerClient | None = None
        self._client_fingerprint = ""
        self._check = CredentialCheck(clock=clock, telemetry=self._telemetry)
        # After a check has accepted the credentials: one request at a time until one of them is believed, too.
        self._is_probation = False
        self._woken = asyncio.Event()
        self._has_work = asyncio.Event()  # as `_woken`, but not for results
        self._has_many_results = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._spare = spare or SparePermits()
        self._spare.on_request(self._wake)

    def wake(self) -> None:
        """Say that there may be work. Safe from any thread."""
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken.set()
        self._has_work.set()

    async def run(self, stopping: asyncio.Event, *, grace_seconds: float) -> None:
        """Deliver until `stopping` is set; then let requests in flight end for up to `grace_seconds`."""
        waking = asyncio.create_task(self._wake_when_stopping(stopping))
        try:
            with self._store.leadership(f"delivery-{self._slug}") as leadership:
                if await self._lead(leadership, stopping):
                    await self._deliver(leadership, stopping)
                    await self._finish(grace_seconds)
        finally:
            waking.cancel()
            self._spare.is_open = False
            await self._check.cancel()
            if self._client is not None:
                await self._client.close()
            self._database.shutdown(wait=True)

    async def _wake_when_stopping(self, stopping: asyncio.Event) -> None:
        """Do not rest until the next look at the outbox, which may be a second away."""
        await stopping.wait()
        self._wake()

    async def _lead(self, leadership: Leadership, stopping: asyncio.Event) -> bool:
        while not stopping.is_set():
            try:
                if await self._holds(leadership):
                    return True
            except StorageError as error:
                self._telemetry.storage_failed(error=error.message)
            await _sleep_unless(stopping, _STANDBY_SECONDS)
        return False

    async def _holds(self, leadership: Leadership) -> bool:
        """Whether this process leads. If it has only now begun to, it first takes over what others have left."""
        if self._store.is_sqlite and not self._may_have_lost_lead:
            return True  # a file's leader is gone only when its process is dead
        try:
            is_held = await self._in_thread(leadership.held)
        except StorageError:
            self._may_have_lost_lead = True
            self._spare.is_open = False
            raise
        self._spare.is_open = is_held
        if not is_held:
            self._may_have_lost_lead = True
        elif self._may_have_lost_lead:
            completed = [attempt.attempt for attempt in self._answered]
            own = {(attempt.effect.id, attempt.number) for attempt in (*self._flying(), *completed)}
            await self._in_thread(lambda: self._release_orphans(own))
            self._watch, self._may_have_lost_lead = ClockWatch(self._clock), False
        return is_held

    async def _deliver(self, leadership: Leadership, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            self._woken.clear()
            self._has_work.clear()
            target = self._current()
            if target is None and self._target is not None and self._answered:
                target = replace(
                    self._target, enabled=False
                )  # removed: results of requests in flight are recorded all the same
            if target is None:
                await self._rest(_STANDBY_SECONDS)
                continue
            self._target = target
            self._bucket.set_rate(target.options.requests_per_second)
            room = min(max(0, self._concurrency(target) - len(self._in_flight)), self._bucket.available())
            try:
                if not await self._holds(leadership):
                    await self._rest(_STANDBY_SECONDS)
                    continue
                done = await self._step(target, room=room)
                await self._check_credentials(target, done)
                if len(done.attempts) >= _MANY:
                    await self._gather()
                elif len(done.attempts) < max(room, 1) and not done.moved and not self._answered:
                    # Nothing else can be claimed. What comes meanwhile, a result or an effect, has set `_woken`.
                    await self._rest(self._seconds_to_rest(target, done, room=room))
                    if not done.holds_back:
                        await self._join(target)
            except StorageError as error:
                self._telemetry.storage_failed(error=error.message)
                await _sleep_unless(stopping, _STORAGE_RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001  # the loop of one destination: the others must not end with it
                self._telemetry.loop_failed(error=error)
                await _sleep_unless(stopping, _STORAGE_RETRY_SECONDS)

    async def _gather(self) -> None:
        """Gather results for the next unit of work: until half of those awaited are there, or for 4 ms."""
        self._has_many_results.clear()
        if len(self._answered) < len(self._in_flight):
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_SECONDS):
                    await self._has_many_results.wait()

    async def _join(self, target: DeliveryTarget) -> None:
        """Keep a few results for the unit of work of the next claim, if that comes within a moment."""
        has_room = len(self._in_flight) + len(self._answered) < self._concurrency(target)
        if has_room and 0 < len(self._answered) < _MANY:
            with suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_SECONDS):
                    await self._has_work.wait()

    async def _step(self, target: DeliveryTarget, *, room: int) -> Cycle:
        # Made before anything is claimed, so that what is claimed leaves at once.
        client = await self._client_for(target)
        completed, self._answered = self._answered, []
        busy = frozenset(attempt.effect.ordering_group for attempt in self._flying())
        try:
            done, refusal = await self._in_thread(lambda: self._cycle(target, completed, room=room, busy=busy))
        except Exception:
            self._answered = completed + self._answered
            raise
        requests = batches(done.attempts, target.options)
        self._bucket.take(len(requests))
        # Only of the room that this turn's deliveries were offered: a token that has come since is theirs first.
        self._spare.grant(self._bucket, at_most=room - len(requests))
        if refusal is not None:
            await self._record_unsent(target, done.attempts, refusal)
            return done
        for batch in requests:
            task = asyncio.create_task(self._attempt(client, target, batch, send_before=done.send_before))
            self._in_flight[task] = batch
            task.add_done_callback(partial(self._end_attempt, target))
        return done

    def _cycle(
        self,
        target: DeliveryTarget,
        completed: Sequence[CompletedAttempt],
        *,
        room: int,
        busy: Collection[OrderingGroup],
    ) -> tuple[Cycle, Exception | None]:
        """Run a cycle, then call `before_sending`; returns what that raises. Not on the event loop: both write."""
        refusal = self._permission.refusal() if self._permission.is_refused else None
        done = cycle(
            self._store,
            target,
            completed,
            room=room if refusal is None else 0,
            clock=self._clock,
            telemetry=self._telemetry,
            busy=busy,
            watch=self._watch,
        )
        return done, self._permission.refusal() if done.attempts else refusal

    def _end_attempt(self, target: DeliveryTarget, task: asyncio.Task[None]) -> None:
        batch = self._in_flight.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return
        # Without an answer of its own: the effect must not wait for the end of its lease, in silence.
        if error is not None:
            self._telemetry.attempt_failed_unexpectedly(effect_key=batch[0].effect.effect_key, error=error)
        result = OutcomeUnknownError(f"Punchcard failed while it waited for the answer: {error!r}")
        recorded = {completed.attempt.effect.id for completed in self._answered}
        self._answered.extend(
            CompletedAttempt(attempt=attempt, result=result, seconds=0.0, fingerprint=target.fingerprint)
            for attempt in batch
            if attempt.effect.id not in recorded
        )
        self._woken.set()

    async def _check_credentials(self, target: DeliveryTarget, done: Cycle) -> None:
        """While credentials are refused: plan the next check, make it when it is due, write down what it has found."""
        # A disabled destination delivers nothing whatever its credentials are; the plan waits with it.
        self._check.follow(done.pause if target.enabled else None, target.options)
        result = self._check.take_result()
        if result is not None or self._check.needs_plan():
            ended = await self._in_thread(lambda: self._check.record(self._store, result, target.options))
            if ended is not None:
                self._is_probation = True
                self._telemetry.destination_resumed(by=PauseEnd.CHECK)
            self._woken.set()  # look at once at what was written
        else:
            self._check.begin(await self._client_for(target), done=self._woken)

    async def _record_unsent(self, target: DeliveryTarget, attempts: Sequence[Attempt], refusal: Exception) -> None:
        """Record attempts as not made, because `before_sending` failed; soon afterwards it is tried again."""
        self._telemetry.storage_failed(error=message_of(refusal))
        self._answered += unsent(attempts, refusal, fingerprint=target.fingerprint)
        await asyncio.sleep(_STORAGE_RETRY_SECONDS)
        self._woken.set()

    async def _attempt(
        self, client: PartnerClient, target: DeliveryTarget, batch: Sequence[Attempt], *, send_before: SendBefore
    ) -> None:
        begun = self._clock.monotonic()
        results: Sequence[PartnerResult]
        try:
            results = await attempt_batch(
                client, batch, send_before=send_before, clock=self._clock, telemetry=self._telemetry
            )
        except asyncio.CancelledError:
            results = [OutcomeUnknownError("Punchcard was stopped before the response came")] * len(batch)
        seconds, finished_at = self._clock.monotonic() - begun, self._clock.now()
        for attempt, result in zip(batch, results, strict=True):
            self._take(target, attempt, result, seconds=seconds, finished_at=finished_at)
        self._woken.set()

    def _take(
        self, target: DeliveryTarget, attempt: Attempt, result: PartnerResult, *, seconds: float, finished_at: datetime
    ) -> None:
        if not isinstance(result, CredentialsError | RetryableError | OutcomeUnknownError):
            self._is_probation = False
        self._answered.append(
            CompletedAttempt(
                attempt=attempt,
                result=result,
                seconds=seconds,
                fingerprint=target.fingerprint,
                finished_at=finished_at,
            )
        )
        if len(self._answered) >= len(self._in_flight):
            self._has_many_results.set()
        if isinstance(result, RetryableError) and result.status == TOO_MANY_REQUESTS:
            self._bucket.slow_down(slow_down_seconds(result))

    async def _client_for(self, target: DeliveryTarget) -> PartnerClient:
        if self._client is None or self._client_fingerprint != target.fingerprint:
            self._is_probation = False
            await self._check.cancel()
            if self._client is not None:
                # Requests of the old client end first, so that closing it cuts none off.
                if self._in_flight:
                    await asyncio.wait(self._in_flight)
                await self._client.close()
            self._client = target.partner.client(target.settings, network=target.network)
            self._client_fingerprint = target.fingerprint
        return self._client

    def _flying(self) -> list[Attempt]:
        return [attempt for batch in self._in_flight.values() for attempt in batch]

    def _concurrency(self, target: DeliveryTarget) -> int:
        return 1 if self._is_probation else target.options.concurrency

    def _seconds_to_rest(self, target: DeliveryTarget, done: Cycle, *, room: int) -> float:
        if self._spare.is_waiting():
            return min(self._poll_seconds, max(self._bucket.seconds_until_one(), _GATHER_SECONDS))
        if done.paused:
            return min(_STANDBY_SECONDS, self._check.seconds_until_due())
        if room <= 0 and len(self._in_flight) < self._concurrency(target):
            return min(self._poll_seconds, self._bucket.seconds_until_one())
        if self._in_flight or done.next_due is None:
            return self._poll_seconds  # the next result wakes the loop, and then it is known what is due
        # An effect that is due but not claimable waits for one in flight, and the end of that one wakes the loop.
        until = (done.next_due - self._clock.now()).total_seconds()
        return min(self._poll_seconds, until) if until > 0 else self._poll_seconds

    async def _finish(self, grace_seconds: float) -> None:
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._target is None or not self._answered:
            return
        try:
            await self._step(self._target, room=0)
        except StorageError as error:
            # The attempts stay without a result: the next start reads them back.
            self._telemetry.storage_failed(error=error.message)
        except Exception as error:  # noqa: BLE001  # the same
            self._telemetry.loop_failed(error=error)

    def _release_orphans(self, own: Collection[tuple[int, int]]) -> None:
        now = self._clock.now()
        target = self._current()
        options = target.options if target else DeliveryOptions()
        # A file's leader is gone only when its process is dead; one that lost PostgreSQL may still be sending what it
        # claimed a moment ago. By the clock of this process: that of the other one may have been wrong.
        wait = options.unknown_wait_seconds if self._store.is_sqlite else lease_seconds(options)
        with self._store.unit_of_work() as work:
            count = outbox.release_orphans(work, self._slug, now=now, due_at=now + timedelta(seconds=wait), own=own)
        if count:
            self._telemetry.orphans_released(count=count)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._database, function)


async def _sleep_unless(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return

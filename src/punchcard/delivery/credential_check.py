"""Asks a partner at growing intervals whether it accepts the refused credentials of a paused destination again.

A token may be refused for seconds: while the partner is deployed, or its own database is away. A check only reads, so
it costs nobody anything, and no award uses up a try meanwhile.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from punchcard.clock import Clock
from punchcard.delivery.retry import check_wait_seconds, longest_check_wait_seconds
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions, PartnerClient
from punchcard.errors import CredentialsError, DeliveryError, RejectedError
from punchcard.store.delivery.pauses import Pause, PauseEnd, end_pause, plan_check
from punchcard.store.engine import Store

_VERIFY_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of a check of the credentials.

    Attributes:
        refusal: Why they are not accepted, or why that is not known; None if they are accepted.
    """

    pause: Pause
    refusal: DeliveryError | None


class CredentialCheck:
    """The checks of one destination. Belongs to the event loop and to the leader of its deliveries."""

    def __init__(self, *, clock: Clock, telemetry: DeliveryTelemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._pause: Pause | None = None
        self._due_at: float | None = None  # monotonic: a wall clock that is set delays no check
        self._task: asyncio.Task[CheckResult] | None = None

    def follow(self, pause: Pause | None, options: DeliveryOptions) -> None:
        """Take note of the pause that lasts now, and of when it says that the next check is due."""
        if pause == self._pause:
            return
        self._pause = pause
        self._due_at = None
        if pause is not None and pause.next_check_at is not None:
            wait = (pause.next_check_at - self._clock.now()).total_seconds()
            # Planned by a process before this one, perhaps under another clock: never further away than a check can be.
            wait = min(max(0.0, wait), longest_check_wait_seconds(options))
            self._due_at = self._clock.monotonic() + wait

    def seconds_until_due(self) -> float:
        """Return how long there is nothing to do."""
        if self._pause is None or self._task is not None:
            return float("inf")
        return 0.0 if self._due_at is None else max(0.0, self._due_at - self._clock.monotonic())

    def needs_plan(self) -> bool:
        """True if nobody has planned the next check."""
        return self._pause is not None and self._task is None and self._due_at is None

    def begin(self, client: PartnerClient, *, done: asyncio.Event) -> None:
        """Ask the partner, if that is due.

        Args:
            done: Set once it has answered.
        """
        if self._pause is not None and self._task is None and self._due_at is not None and not self.seconds_until_due():
            self._task = asyncio.create_task(self._ask(client, self._pause))
            self._task.add_done_callback(lambda _: done.set())

    def take_result(self) -> CheckResult | None:
        """What a check has found, once; None while there is nothing new."""
        if self._task is None or not self._task.done():
            return None
        task, self._task = self._task, None
        return None if task.cancelled() else task.result()

    async def cancel(self) -> None:
        """Give up a check that is under way: its client is about to be closed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def record(self, store: Store, result: CheckResult | None, options: DeliveryOptions) -> Pause | None:
        """Write down what a check has found, and when the next one is due. Not on the event loop: the store is written.

        Args:
            result: None to plan the first check.

        Returns:
            The pause that this has ended, None if it lasts.

        Raises:
            StorageError: nothing of it was written.
        """
        pause = self._pause if result is None else result.pause
        if pause is None:
            return None
        now = self._clock.now()
        if result is not None and result.refusal is None:
            with store.unit_of_work() as work:
                return pause if end_pause(work, pause, by=PauseEnd.CHECK, now=now) else None
        checks = pause.checks if result is None else pause.checks + 1
        wait = check_wait_seconds(checks, options=options, jitter=self._clock.jitter())
        # The pause keeps its reason: that the partner is down now, or cannot be read, is not one.
        refusal = None if result is None else result.refusal
        detail = refusal.message if isinstance(refusal, CredentialsError | RejectedError) else None
        with store.unit_of_work() as work:
            plan_check(work, pause, checks=checks, next_check_at=now + timedelta(seconds=wait), detail=detail)
        return None

    async def _ask(self, client: PartnerClient, pause: Pause) -> CheckResult:
        try:
            async with asyncio.timeout(_VERIFY_SECONDS):
                await client.verify()
        except DeliveryError as error:
            return CheckResult(pause=pause, refusal=error)
        except TimeoutError:
            return CheckResult(pause=pause, refusal=DeliveryError("the partner did not answer in time", code="timeout"))
        except Exception as error:  # noqa: BLE001  # a defect of ours must not end the destination's deliveries
            self._telemetry.credential_check_failed(error=error)
            return CheckResult(pause=pause, refusal=DeliveryError(f"Punchcard failed during the check: {error!r}"))
        return CheckResult(pause=pause, refusal=None)

"""The promise: refused credentials pause a destination, and it resumes by itself as soon as they are accepted again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from punchcard.clock import SystemClock
from punchcard.delivery.loop import DestinationDelivery
from punchcard.delivery.operator_retries import find_retryable, retry
from punchcard.delivery.stages import DeliveryTarget
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import DeliveryOptions, PartnerClient
from punchcard.errors import DeliveryError, RejectedError, RetryableError
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.pauses import (
    Pause,
    PauseEnd,
    end_pause,
    last_pause_of,
    pause,
    pause_of,
    plan_check,
    resume,
)
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, new_effect, stored_effect
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner.scripted import ScriptedClient, ScriptedPartner, ScriptedSettings
from punchcard.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

QUICK = DeliveryOptions(
    requests_per_second=0,
    concurrency=16,
    retry_base_seconds=0.01,
    unknown_wait_seconds=0.03,
    check_base_seconds=0.01,
    check_longest_seconds=0.1,
)


class CheckedPartner(ScriptedPartner):
    """A partner that can answer a check with something else than yes or no."""

    def __init__(self) -> None:
        super().__init__(clock=SystemClock())
        self.check_errors: list[Exception] = []

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        assert isinstance(settings, ScriptedSettings)
        client = CheckedClient(self, settings)
        self.clients.append(client)
        return client


class CheckedClient(ScriptedClient):
    def __init__(self, partner: CheckedPartner, settings: ScriptedSettings) -> None:
        super().__init__(partner, settings)
        self._errors = partner.check_errors

    async def verify(self) -> None:
        if self._errors:
            self._partner.checks += 1
            raise self._errors.pop(0)
        await super().verify()


@dataclass
class Rig:
    store: Store
    partner: CheckedPartner = field(default_factory=CheckedPartner)
    settings: ScriptedSettings = field(default_factory=lambda: ScriptedSettings(options=QUICK))

    def target(self) -> DeliveryTarget:
        return DeliveryTarget(
            slug=DESTINATION,
            partner=self.partner,
            settings=self.settings,
            options=self.settings.options,
            fingerprint=self.settings.token,
        )

    def add(self, *keys: str) -> None:
        with self.store.unit_of_work() as work:
            effects = [new_effect(key, customer=f"{key}@example.com") for key in keys]
            outbox.add(work, effects, now=SystemClock().now())

    def pause(self) -> Pause | None:
        with self.store.reading() as connection:
            return pause_of(connection, DESTINATION)

    def last_pause(self) -> Pause:
        with self.store.reading() as connection:
            last = last_pause_of(connection, DESTINATION)
        assert last is not None
        return last

    def delivered(self) -> int:
        with self.store.reading() as connection:
            states = [EffectState.DELIVERED]
            return ledger.count(connection, ledger.LedgerQuery(destination=DESTINATION, states=states))

    def tries(self, key: str) -> int:
        with self.store.reading() as connection:
            return stored_effect(connection, key).tries

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DestinationDelivery]:
        stopping = asyncio.Event()
        delivery = DestinationDelivery(
            DESTINATION, store=self.store, clock=SystemClock(), current=self.target, poll_seconds=0.01
        )
        task = asyncio.create_task(delivery.run(stopping, grace_seconds=5.0))
        try:
            yield delivery
        finally:
            stopping.set()
            delivery.wake()
            await task


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(store_url: str) -> Iterator[Rig]:
    store = Store(store_url)
    yield Rig(store)
    store.close()


@pytest.fixture
def small_rig(tmp_path: Path) -> Iterator[Rig]:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    yield Rig(store)
    store.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # the condition reads a database
            await asyncio.sleep(0.01)


async def test_credentials_that_are_accepted_again_let_delivery_resume_and_leave_a_record(rig: Rig) -> None:
    rig.partner.tokens = set()
    rig.add(*(f"k{number}" for number in range(10)))
    with capture_logs() as logs:
        async with rig.running():
            await until(lambda: rig.partner.checks >= 3)
            assert rig.delivered() == 0
            rig.partner.tokens = {"good"}
            await until(lambda: rig.delivered() == 10)
    last = rig.last_pause()
    assert (last.ended_by, last.reason) == (PauseEnd.CHECK, "credentials_refused")
    assert last.ended_at is not None
    assert last.since < last.ended_at
    assert [(log["event"], log.get("by")) for log in logs if log["event"].startswith("destination_")] == [
        ("destination_paused", None),
        ("destination_resumed", "check"),
    ]
    assert rig.partner.booked_twice() == []
    assert [rig.tries(f"k{number}") for number in range(10)] == [1] * 10


async def test_the_pause_says_when_the_next_check_is_and_checks_grow_apart(small_rig: Rig) -> None:
    rig = small_rig
    rig.partner.tokens = set()
    rig.settings = replace(rig.settings, options=replace(QUICK, check_base_seconds=0.02, check_longest_seconds=10_000))
    rig.add("a")
    waits: dict[int, float] = {}

    def sees_four_checks() -> bool:
        lasting = rig.pause()
        if lasting is not None and lasting.next_check_at is not None and lasting.checks not in waits:
            waits[lasting.checks] = (lasting.next_check_at - SystemClock().now()).total_seconds()
        return rig.partner.checks >= 4 and len(waits) >= 3

    async with rig.running():
        await until(sees_four_checks)
    # Whatever of it was seen, no wait is longer than planned for that many checks in vain.
    assert all(wait <= 0.02 * 2**checks * 1.2 for checks, wait in waits.items())
    assert "next check at" in rig.last_pause().description


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RetryableError("down", status=503), id="down"),
        pytest.param(RetryableError("its body is empty", code="unreadable_response", status=200), id="unreadable"),
        pytest.param(RejectedError("business 41 is not active", code="account_unknown"), id="another-complaint"),
        pytest.param(KeyError("objects"), id="a-defect"),
        pytest.param(TimeoutError(), id="no-answer"),
    ],
)
async def test_a_check_that_does_not_say_yes_changes_nothing_and_is_made_again(
    small_rig: Rig, error: Exception
) -> None:
    rig = small_rig
    rig.partner.tokens = set()
    rig.partner.check_errors = [error] * 3
    rig.add("a")
    async with rig.running():
        await until(lambda: rig.partner.checks >= 3)
        assert rig.delivered() == 0
        rig.partner.tokens = {"good"}
        await until(lambda: rig.delivered() == 1)
    if isinstance(error, DeliveryError) and not isinstance(error, RetryableError):
        assert "not active" in rig.last_pause().detail


async def test_credentials_that_only_a_check_accepts_are_checked_ever_more_seldom(small_rig: Rig) -> None:
    """A read is allowed, a booking is not: the interval goes on growing, and one request at a time tries its luck."""
    rig = small_rig
    rig.partner.tokens = set()
    rig.partner.accepts_on_check = True
    rig.add(*(f"k{number}" for number in range(30)))
    async with rig.running():
        await until(lambda: rig.partner.checks >= 5)
    last = rig.last_pause()
    assert rig.delivered() == 0
    # The first refusals were of requests in flight together; since then each resumption cost one request.
    assert len(rig.partner.requests) <= 16 + rig.partner.checks + 1
    assert rig.partner.checks >= 4
    assert last.since < SystemClock().now()
    assert all(rig.tries(f"k{number}") == 0 for number in range(30))


async def test_after_a_check_all_of_the_queue_goes_out_once_one_request_is_believed(small_rig: Rig) -> None:
    rig = small_rig
    rig.partner.tokens = set()
    rig.add(*(f"k{number}" for number in range(40)))
    async with rig.running():
        await until(lambda: rig.partner.checks >= 1)
        rig.partner.tokens = {"good"}
        await until(lambda: rig.delivered() == 40)
    assert rig.partner.booked_twice() == []


async def test_an_operator_and_a_new_token_resume_at_once(small_rig: Rig) -> None:
    rig = small_rig
    rig.settings = replace(rig.settings, options=replace(QUICK, check_base_seconds=3_600, check_longest_seconds=3_600))
    for resume_by in (PauseEnd.OPERATOR, PauseEnd.SETTINGS):
        rig.partner.tokens = set()
        rig.add(f"by {resume_by}")
        before = rig.delivered()
        async with rig.running() as delivery:
            await until(lambda: rig.pause() is not None)
            if resume_by is PauseEnd.OPERATOR:
                rig.partner.tokens = {rig.settings.token}
                with rig.store.unit_of_work() as work:
                    now = SystemClock().now()
                    retryable = find_retryable(
                        work, configured={DESTINATION: QUICK}, destination=None, reason=None, message_ids=[], now=now
                    )
                    retry(work, retryable, actor="ann", now=now)
            else:
                rig.partner.tokens = {"new"}
                rig.settings = replace(rig.settings, token="new")
            delivery.wake()
            await until(lambda: rig.delivered() == before + 1)  # noqa: B023
        assert rig.partner.checks == 0
        assert rig.last_pause().ended_by is resume_by


async def test_the_plan_of_checks_survives_a_restart(small_rig: Rig) -> None:
    rig = small_rig
    rig.partner.tokens = set()
    rig.settings = replace(rig.settings, options=replace(QUICK, check_base_seconds=3_600, check_longest_seconds=3_600))
    rig.add("a")
    async with rig.running():
        await until(lambda: (lasting := rig.pause()) is not None and lasting.next_check_at is not None)
    planned = rig.pause()
    async with rig.running():
        rig.add("b")
        await asyncio.sleep(0.1)
    assert rig.pause() == planned
    assert rig.partner.checks == 0


@pytest.mark.parametrize("hours", [-5, 5, 24 * 365 * 100], ids=["gone-by", "too-far", "a-century"])
async def test_a_check_planned_under_another_clock_is_never_further_away_than_a_check_can_be(
    small_rig: Rig, hours: int
) -> None:
    rig = small_rig
    rig.partner.tokens = {"good"}
    now = SystemClock().now()
    with rig.store.unit_of_work() as work:
        lasting = Pause(
            destination=DESTINATION, reason="credentials_refused", detail="x", since=now, settings_fingerprint="good"
        )
        assert pause(work, lasting)
        assert plan_check(work, lasting, checks=3, next_check_at=now + timedelta(hours=hours))
    rig.add("a")
    async with rig.running():
        await until(lambda: rig.delivered() == 1)
    assert rig.partner.checks == 1


async def test_only_the_leader_checks(rig: Rig) -> None:
    rig.partner.tokens = set()
    rig.add("a")
    async with rig.running(), rig.running():
        await until(lambda: rig.partner.checks >= 4)
    assert len(rig.partner.clients) == 1


def test_a_pause_is_ended_by_what_was_found_of_it_and_of_no_later_one(store_url: str) -> None:
    store, clock = Store(store_url), ManualClock()

    def refused(fingerprint: str) -> Pause:
        return Pause(
            destination=DESTINATION,
            reason="credentials_refused",
            detail="no\x00",
            since=clock.now(),
            settings_fingerprint=fingerprint,
        )

    with store.unit_of_work() as work:
        first = refused("one")
        assert pause(work, first)
        assert not pause(work, refused("one"))
        assert end_pause(work, first, by=PauseEnd.SETTINGS, now=clock.now())
        assert pause_of(work, DESTINATION) is None
        clock.advance(1)
        second = refused("two")
        assert pause(work, second)
        assert not end_pause(work, first, by=PauseEnd.CHECK, now=clock.now())
        assert not plan_check(work, first, checks=1, next_check_at=clock.now())
        assert plan_check(work, second, checks=2, next_check_at=clock.now())
        lasting = pause_of(work, DESTINATION)
        assert lasting is not None
        assert (lasting.checks, lasting.since) == (2, second.since)
        assert end_pause(work, lasting, by=PauseEnd.CHECK, now=clock.now())
    with store.unit_of_work() as work:
        # Refused again soon: the same outage, and the checks keep growing apart.
        clock.advance(60)
        assert pause(work, refused("two"))
        again = pause_of(work, DESTINATION)
        assert again is not None
        assert (again.checks, again.since) == (3, second.since)
        # After an operator's retry, after new settings, or after a quiet time: a new outage.
        assert resume(work, DESTINATION, by=PauseEnd.OPERATOR, now=clock.now())
        assert not resume(work, DESTINATION, by=PauseEnd.OPERATOR, now=clock.now())
        assert pause(work, refused("two"))
        created = pause_of(work, DESTINATION)
        assert created is not None
        assert (created.checks, created.since) == (0, clock.now())
        assert end_pause(work, created, by=PauseEnd.CHECK, now=clock.now())
        clock.advance(3_600)
        assert pause(work, refused("two"))
        later = pause_of(work, DESTINATION)
        assert later is not None
        assert (later.checks, later.since) == (0, clock.now())
    store.close()

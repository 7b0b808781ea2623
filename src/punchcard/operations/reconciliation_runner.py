"""Makes the reconciliations of one destination: asked for by people, or nightly.

Every page is kept together with where the next one begins, so a process that ends goes on where it was. The comparison
reads both sides and writes its findings; one that did not come to its end is done again from the beginning.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from punchcard.clock import Clock
from punchcard.delivery.request_permits import RequestPermits
from punchcard.delivery.retry import bounded
from punchcard.delivery.stages import DeliveryTarget
from punchcard.destinations.definition import Capability
from punchcard.destinations.port import account_of
from punchcard.destinations.reconciling import PartnerTransaction, ReconcileClient
from punchcard.errors import DeliveryError, InvariantError, RejectedError, RetryableError, StorageError
from punchcard.operations.comparison_telemetry import ReconciliationTelemetry
from punchcard.operations.reconciliation_comparison import CLOCKS_DIFFER, Comparison, ComparisonRules, compare
from punchcard.operations.schedules import last_occurrence, parse_time_of_day
from punchcard.store.delivery.ledger import first_created_at
from punchcard.store.engine import Store
from punchcard.store.leadership import Leadership
from punchcard.store.operations import reconciliations
from punchcard.store.operations.partner_transactions import ShownTransaction, drop_transactions, save_customer
from punchcard.store.operations.reconciliation_differences import NewDifference, add_differences, clear_differences
from punchcard.store.operations.reconciliations import SCHEDULE, Reconciliation, ReconciliationStatus

T = TypeVar("T")

# Customers for whom addresses are read only because they never were, one request each.
_NEW_CUSTOMERS_MAX: Final = 1_000
_CUSTOMERS_PER_UNIT: Final = 50
_SAVE_SECONDS: Final = 1.0
_DIFFERENCES_PER_UNIT: Final = 500
_DROPPED_PER_UNIT: Final = 2_000
_RETRY_FIRST_SECONDS: Final = 5.0
_RETRY_LONGEST_SECONDS: Final = 300.0
_TOO_MANY_REQUESTS: Final = 429


@dataclass(frozen=True, kw_only=True)
class ReconciliationPlan:
    """When and by what reconciliations are made.

    Attributes:
        nightly_at: Local time of day, e.g. `03:00`; "" for none.
        nightly_days: How far a nightly one reaches back.
        pending_hours: What was planned longer ago and is neither delivered nor ended has been pending for too long.
        poll_seconds: How soon one that is asked for is begun.
    """

    nightly_at: str = ""
    nightly_days: int = 35
    pending_hours: float = 24.0
    poll_seconds: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ReconciledDestination:
    """A destination as a reconciliation sees it at one moment.

    Attributes:
        scopes: Slugs used in its keys.
        zone: The workspace's time zone.
    """

    target: DeliveryTarget
    scopes: frozenset[str]
    zone: ZoneInfo


class ReconciliationRunner:
    """Makes the reconciliations of one destination. Only one process does at a time.

    Args:
        current: The destination as configured now, None while it cannot be used.
        permits: Each request to the partner waits for one.
        may_have_work: Returns False if nothing can be due since the last look.
    """

    def __init__(
        self,
        slug: str,
        *,
        store: Store,
        clock: Clock,
        current: Callable[[], ReconciledDestination | None],
        permits: RequestPermits,
        plan: ReconciliationPlan,
        may_have_work: Callable[[], bool] = lambda: True,
    ) -> None:
        self._slug = slug
        self._may_have_work = may_have_work
        self._store = store
        self._clock = clock
        self._current = current
        self._permits = permits
        self._plan = plan
        self._telemetry = ReconciliationTelemetry(slug)
        self._failures = 0
        self._retry_at = 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Make reconciliations until `stopping` is set."""
        while not stopping.is_set():
            try:
                if self._permits.is_open and not self.seconds_until_retry() and self._may_have_work():
                    await self.run_once(stopping)
            except StorageError as error:
                self._telemetry.storage_failed(error=error.message)
            except Exception as error:  # noqa: BLE001  # the outer loop: the next turn looks again
                self._telemetry.loop_failed(error=error)
            await _sleep_unless(stopping, self._plan.poll_seconds)

    def seconds_until_retry(self) -> float:
        """Return how long to leave a partner alone that could not be asked."""
        return max(0.0, self._retry_at - self._clock.monotonic())

    async def run_once(self, stopping: asyncio.Event) -> bool:
        """Continue the oldest unfinished one; False if there is none, or another process makes it.

        Raises:
            StorageError: the store is away.
        """
        reconciliation = await asyncio.to_thread(self._next)
        if reconciliation is None:
            return False
        with self._store.leadership(f"reconciliation-{self._slug}") as leadership:
            if not await asyncio.to_thread(leadership.held):
                return False
            working = asyncio.create_task(self._work_on(reconciliation.id, leadership))
            stopped = asyncio.create_task(stopping.wait())
            await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not working.done():
                working.cancel()  # what was kept stays; the next process goes on behind it
                await asyncio.wait([working])
            return not working.cancelled() and working.result()

    async def _work_on(self, reconciliation_id: int, leadership: Leadership) -> bool:
        """Take one as far as possible. Its own faults end it, and nothing else."""
        try:
            await self._step_through(reconciliation_id, leadership)
        except StorageError:
            raise
        except RejectedError as error:
            await self._fail(reconciliation_id, error.message)
        except DeliveryError as error:
            await self._postpone(reconciliation_id, error)
        except Exception as error:  # noqa: BLE001  # one reconciliation: deliveries and the next one must not end with it
            await self._fail(reconciliation_id, f"Punchcard failed: {error!r}", error)
        else:
            self._failures, self._retry_at = 0, 0.0
        return True

    async def _step_through(self, reconciliation_id: int, leadership: Leadership) -> None:
        destination = await asyncio.to_thread(self._current)
        if destination is None:
            raise RetryableError(f"{self._slug} cannot be used as it is configured; it goes on once that is corrected")
        target = destination.target
        account = account_of(target.partner, target.settings, None)
        partner_client = target.partner.client(target.settings, network=target.network)
        client: object = partner_client
        try:
            if not isinstance(client, ReconcileClient):
                raise InvariantError(f"{self._slug} declares reconciliation, and its client lists no transactions")
            customers_left = _NEW_CUSTOMERS_MAX
            while True:
                reconciliation = await asyncio.to_thread(lambda: self._read(reconciliation_id))
                if reconciliation is None or reconciliation.status.is_over or not await _holds(leadership):
                    return
                if reconciliation.account not in (None, account):  # pages of two accounts cannot be compared
                    raise RejectedError(f"It was begun for {reconciliation.account}; the settings name {account} now.")
                match reconciliation.status:
                    case ReconciliationStatus.QUEUED:
                        await asyncio.to_thread(lambda: self._begin(reconciliation_id, account))
                    case ReconciliationStatus.READING:
                        await self._read_page(reconciliation, client)
                    case _:
                        customers_left = await self._compare(reconciliation, destination, client, customers_left)
        finally:
            await partner_client.close()

    # --- reading ---

    async def _read_page(self, reconciliation: Reconciliation, client: ReconcileClient) -> None:
        since = reconciliation.since - CLOCKS_DIFFER
        await self._permits.acquire()
        page = await client.list_transactions(since, cursor=reconciliation.cursor)
        compared = [
            _shown(transaction)
            for transaction in page.transactions
            if transaction.booked_at is None or transaction.booked_at >= since
        ]
        await asyncio.to_thread(
            lambda: self._in_unit(
                lambda work: reconciliations.add_page(
                    work,
                    reconciliation.id,
                    compared,
                    after=reconciliation.cursor,
                    cursor=page.cursor,
                    total=len(page.transactions),
                )
            )
        )
        self._failures = 0

    # --- comparing ---

    async def _compare(
        self,
        reconciliation: Reconciliation,
        destination: ReconciledDestination,
        client: ReconcileClient,
        customers_left: int,
    ) -> int:
        """Compare; read customers where that needs them, else finish. Returns how many more may be read unasked."""
        rules = ComparisonRules(
            scopes=destination.scopes,
            is_listed=partial(_is_listed, destination.target, client),
            pending_before=self._clock.now() - timedelta(hours=self._plan.pending_hours),
        )
        comparison = await asyncio.to_thread(lambda: self._compared(reconciliation, rules))
        unread = list(comparison.unread_refs[:customers_left])
        refs = [*comparison.needed_refs, *unread]
        if not refs:
            await asyncio.to_thread(lambda: self._finish(reconciliation, comparison))
            return 0
        await self._read_customers(reconciliation, client, refs)
        return customers_left - len(unread)

    async def _read_customers(
        self, reconciliation: Reconciliation, client: ReconcileClient, refs: Sequence[str]
    ) -> None:
        """Read and keep the addresses of customers, several in one unit of work: each commit waits for the disk."""
        read: list[tuple[str, Sequence[str]]] = []

        async def save(number: int) -> bool:
            customers = tuple(read)
            read.clear()
            detail = f"Reading customer {number:,} of {len(refs):,}"
            return await asyncio.to_thread(lambda: self._save_customers(reconciliation, customers, detail))

        saved_at = self._clock.monotonic()
        for number, ref in enumerate(refs, start=1):
            try:
                await self._permits.acquire()
                read.append((ref, await client.read_customer_emails(ref)))
            except DeliveryError:
                await save(number)
                raise
            self._failures = 0
            is_due = self._clock.monotonic() - saved_at >= _SAVE_SECONDS or len(read) >= _CUSTOMERS_PER_UNIT
            if is_due or number == len(refs):
                if not await save(number):
                    return
                saved_at = self._clock.monotonic()

    def _compared(self, reconciliation: Reconciliation, rules: ComparisonRules) -> Comparison:
        with self._store.reading() as work:
            return compare(work, reconciliation, rules)

    def _finish(self, reconciliation: Reconciliation, comparison: Comparison) -> None:
        """Write down what was found, in units of work that let deliveries in between; the last one ends it."""
        self._in_unit(lambda work: clear_differences(work, reconciliation.id))
        differences = list(comparison.differences)
        for begin in range(0, len(differences), _DIFFERENCES_PER_UNIT):
            chunk: list[NewDifference] = differences[begin : begin + _DIFFERENCES_PER_UNIT]
            self._in_unit(lambda work: add_differences(work, reconciliation.id, self._slug, chunk))  # noqa: B023
        now = self._clock.now()
        if self._in_unit(lambda work: reconciliations.finish(work, reconciliation.id, comparison.totals, now=now)):
            self._telemetry.reconciliation_finished(
                reconciliation_id=reconciliation.id, differences=len(differences), read=reconciliation.read
            )

    # --- state ---

    def _next(self) -> Reconciliation | None:
        self._schedule()
        with self._store.reading() as work:
            unfinished = reconciliations.next_unfinished(work, self._slug)
        if unfinished is None:
            while self._in_unit(
                lambda work: drop_transactions(
                    work, reconciliations.newest_ended(work, self._slug), limit=_DROPPED_PER_UNIT
                )
            ):
                continue
        return unfinished

    def _schedule(self) -> None:
        """Ask for the nightly one if its time has come since the last one."""
        destination = self._current()
        time_of_day = parse_time_of_day(self._plan.nightly_at)
        if destination is None or time_of_day is None or not _can_reconcile(destination):
            return
        now = self._clock.now()
        due_at = last_occurrence(time_of_day, zone=destination.zone, now=now)
        with self._store.reading() as work:
            last = reconciliations.newest_scheduled_at(work, self._slug)
            if last is None:
                # The first night of an installation: nothing is due before it has awarded anything.
                first = first_created_at(work, self._slug)
                is_due = first is not None and first < due_at
            else:
                is_due = last < due_at
        if is_due:
            since = now - timedelta(days=self._plan.nightly_days)
            self._in_unit(
                lambda work: reconciliations.add_reconciliation(
                    work, self._slug, since=since, requested_by=SCHEDULE, now=now
                )
            )

    def _read(self, reconciliation_id: int) -> Reconciliation | None:
        with self._store.reading() as work:
            return reconciliations.reconciliation_by_id(work, self._slug, reconciliation_id)

    def _begin(self, reconciliation_id: int, account: str | None) -> None:
        now = self._clock.now()
        if self._in_unit(lambda work: reconciliations.begin_reading(work, reconciliation_id, account=account, now=now)):
            self._telemetry.reconciliation_started(reconciliation_id=reconciliation_id)

    def _save_customers(
        self, reconciliation: Reconciliation, customers: Sequence[tuple[str, Sequence[str]]], detail: str
    ) -> bool:
        with self._store.unit_of_work() as work:
            for ref, emails in customers:
                save_customer(work, self._slug, ref, emails, account=reconciliation.account, now=self._clock.now())
            return reconciliations.note_progress(work, reconciliation.id, detail=detail)

    async def _postpone(self, reconciliation_id: int, error: DeliveryError) -> None:
        """The partner cannot be asked at the moment: say so, and try again later."""
        self._failures += 1
        wait = min(_RETRY_LONGEST_SECONDS, _RETRY_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 30))
        requested = error.retry_after_seconds if isinstance(error, RetryableError) else None
        if requested is not None:
            wait = max(wait, bounded(requested))
        if error.status == _TOO_MANY_REQUESTS:
            self._permits.slow_down(bounded(requested or 1.0))
        self._retry_at = self._clock.monotonic() + wait
        self._telemetry.reconciliation_postponed(reconciliation_id=reconciliation_id, error=error.message)
        now = self._clock.now()
        await asyncio.to_thread(
            lambda: self._in_unit(
                lambda work: reconciliations.note_waiting(work, reconciliation_id, detail=error.message, now=now)
            )
        )

    async def _fail(self, reconciliation_id: int, detail: str, error: BaseException | None = None) -> None:
        self._telemetry.reconciliation_failed(reconciliation_id=reconciliation_id, error=detail, exc_info=error)
        now = self._clock.now()
        await asyncio.to_thread(
            lambda: self._in_unit(
                lambda work: reconciliations.end_early(
                    work, reconciliation_id, status=ReconciliationStatus.FAILED, detail=detail, now=now
                )
            )
        )

    def _in_unit(self, act: "Callable[..., T]") -> T:
        with self._store.unit_of_work() as work:
            return act(work)


def _shown(transaction: PartnerTransaction) -> ShownTransaction:
    return ShownTransaction(**transaction.__dict__)


def _is_listed(
    target: DeliveryTarget, client: ReconcileClient, event_settings: Mapping[str, object] | None, account: str | None
) -> bool:
    """Return whether an effect is in the lists that the client reads; one without a known account is."""
    if not client.lists(event_settings):
        return False
    return account is None or account_of(target.partner, target.settings, event_settings) in (None, account)


def _can_reconcile(destination: ReconciledDestination) -> bool:
    return Capability.RECONCILE in destination.target.partner.definition.capabilities


async def _holds(leadership: Leadership) -> bool:
    return await asyncio.to_thread(leadership.held)


async def _sleep_unless(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return

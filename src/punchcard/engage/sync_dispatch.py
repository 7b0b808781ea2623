"""Sync changes to destinations: plan the calls, store them, and append them to the event log, once each.

A call is planned in one unit of work with the record of the value that the destination has by it. It stays in the store
until the log has it. After a crash in between it is appended again with the same message id, which routing drops as a
duplicate.

`sync_calls` builds the calls; `debounce` says which change waits.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from punchcard.clock import Clock, to_micros
from punchcard.engage.account_changes import follow_account
from punchcard.engage.call_size import FittedValue
from punchcard.engage.debounce import DEBOUNCE, delayed_until, read_changes, with_change
from punchcard.engage.isolation import is_isolated
from punchcard.engage.person_events import UnsyncedCall
from punchcard.engage.sync_calls import SyncCalls
from punchcard.engage.sync_targets import SyncTarget, sync_targets
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.events.parse import BATCH_BYTES_MAX
from punchcard.log.port import EventLog, NewRecord
from punchcard.store.delivery.queue import count_open_calls, has_overdue_awards
from punchcard.store.engage import engage_tables
from punchcard.store.engage.engage_tables import NOBODY, Due
from punchcard.store.engage.profiles import traits_of
from punchcard.store.engage.sync_accounts import current_account
from punchcard.store.engage.synced import Synced, mark_unsynced, save_synced, synced_value_of_email, synced_values_of
from punchcard.store.engine import Store
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.snapshot import Snapshot

# Calls that may be in delivery at once: what the destination handles in some seconds, so that no award waits longer.
_OPEN_SECONDS = 5
_OPEN_MIN = 2
_OPEN_UNLIMITED = 200
_AWARDS_WAIT = timedelta(seconds=2)
_INVALID_WAIT = timedelta(minutes=1)
_PLANNED_PER_STEP = 200
_CALLS_PER_RECORD = 100
_BATCH_BYTES_MAX = BATCH_BYTES_MAX - len('{"batch":[]}')
_LOOK_AT_DUE_TIMES_SECONDS = 30.0
_DUE_TIME_SLACK = timedelta(seconds=1)


class SyncDispatcher:
    """Sends changes to destinations. Use one at a time.

    Awards go first: nothing is sent while a destination is behind with them, and only as many calls are in delivery at
    once as it handles in some seconds. The rest waits in the queue, where a reverted change costs nothing.
    """

    def __init__(self, *, store: Store, log: EventLog, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._clock = clock
        self._telemetry = EngageTelemetry()
        self._appended = 0
        self._write_keys: Mapping[str, str] = {}
        self._look_at_due_times_at = 0.0
        self._accounts: dict[str, str] = {}
        with store.unit_of_work() as work:
            engage_tables.retry_failed(work)

    def step(self, snapshot: Snapshot) -> int:
        """Send a part of what is due; returns the number of calls.

        Raises:
            StorageError: Store or log failed; planned calls are sent later.
        """
        self._write_keys = snapshot.own_write_keys
        sent = self._append()
        with self._store.reading() as work:
            paused = engage_tables.pauses(work)
            if position_of(work, ROUTING) < self._appended:
                return sent  # routing has not processed all calls of the last step
        self._advance_wrong_due_times(snapshot)
        targets = sync_targets(snapshot)
        self._follow_accounts(targets, snapshot)
        for target in targets:
            if target.slug not in paused:
                self._plan(target, snapshot)
        return sent + self._append()

    def _advance_wrong_due_times(self, snapshot: Snapshot) -> None:
        """Make rows due that wait for a time set while the machine's clock was ahead."""
        if self._clock.monotonic() < self._look_at_due_times_at:
            return
        self._look_at_due_times_at = self._clock.monotonic() + _LOOK_AT_DUE_TIMES_SECONDS
        rhythms: dict[timedelta, list[str]] = {}
        for key, ready in snapshot.computations.items():
            if ready.sync_interval is not None and ready.sync_interval > DEBOUNCE:
                rhythms.setdefault(ready.sync_interval, []).append(key)
        scheduled = [key for keys in rhythms.values() for key in keys]
        at = self._clock.now()
        with self._store.unit_of_work() as work:
            for slug in snapshot.destinations:
                for longest, keys, is_excluding in (
                    (DEBOUNCE, scheduled, True),
                    *((rhythm, keys, False) for rhythm, keys in rhythms.items()),
                ):
                    engage_tables.advance_due(
                        work,
                        destination=slug,
                        keys=keys,
                        is_excluding=is_excluding,
                        beyond=at + longest + _DUE_TIME_SLACK,
                        at=at,
                    )

    def _follow_accounts(self, targets: Sequence[SyncTarget], snapshot: Snapshot) -> None:
        """Note which account each destination names. Routing has the calls of the last step by now."""
        for target in targets:
            if target.account is None or self._accounts.get(target.slug) == target.account:
                continue
            keys = [
                key
                for key, ready in snapshot.computations.items()
                if ready.configured.enabled and target.slug in ready.configured.destinations
            ]
            with self._store.unit_of_work() as work:
                follow_account(work, target.slug, target.account, keys=keys, now=self._clock.now())
            self._accounts[target.slug] = target.account

    def _plan(self, target: SyncTarget, snapshot: Snapshot) -> None:
        now = self._clock.now()
        with self._store.reading() as work:
            room = _room_for_calls(work, target, now)
            waiting = room > 0 and engage_tables.due(work, destination=target.slug, at=now, limit=1)
        if not waiting:
            return
        with self._store.unit_of_work() as work:
            limit = min(room, _PLANNED_PER_STEP)
            rows: list[dict[str, object]] = []
            for due in engage_tables.due(work, destination=target.slug, at=now, limit=limit):
                rows += self._plan_due(work, due, target, snapshot, now)
            engage_tables.add_calls(work, rows)

    def _plan_due(
        self, work: Connection, due: Due, target: SyncTarget, snapshot: Snapshot, now: datetime
    ) -> list[dict[str, object]]:
        """Return the calls about one person; a person whom Punchcard fails on is held, and the others are synced."""
        try:
            with work.begin_nested():
                return plan_calls(work, due, target, snapshot, now)
        except Exception as error:
            if not is_isolated(error):
                raise
            self._telemetry.sync_failed(due.destination, due.key, profile_id=due.profile_id, error=error)
            engage_tables.hold_failed(work, due, str(error) or repr(error))
            return []

    def _append(self) -> int:
        """Append planned calls to the log and delete them from the store."""
        with self._store.reading() as work:
            calls = engage_tables.waiting_calls(work, _PLANNED_PER_STEP * 4)
        if not calls:
            return 0
        records = []
        received_at = to_micros(self._clock.now())
        by_destination: dict[str, list[str]] = {}
        for _, destination, body in calls:
            by_destination.setdefault(destination, []).append(body)
        for destination, bodies in by_destination.items():
            write_key = self._write_keys.get(destination)
            if write_key is None:
                continue  # the destination was deleted
            for batch in _batches(bodies):
                records.append(
                    NewRecord(received_at, write_key, "batch", "identity", f'{{"batch":[{batch}]}}'.encode(), "")
                )
        if records:
            self._appended = self._log.append(records)[-1]
        with self._store.unit_of_work() as work:
            engage_tables.forget_calls(work, [message_id for message_id, _, _ in calls])
        for destination, bodies in by_destination.items():
            self._telemetry.calls_sent(destination, len(bodies))
        return len(calls)


def _batches(bodies: Sequence[str]) -> Iterator[str]:
    """Join the calls into batches of at most the size that a sender may send."""
    batch: list[str] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) >= _CALLS_PER_RECORD or size + len(body.encode()) > _BATCH_BYTES_MAX):
            yield ",".join(batch)
            batch, size = [], 0
        batch.append(body)
        size += len(body.encode()) + len(",")
    if batch:
        yield ",".join(batch)


def _capacity(target: SyncTarget) -> int:
    if not target.calls_per_second:
        return _OPEN_UNLIMITED
    return max(_OPEN_MIN, int(_OPEN_SECONDS * target.calls_per_second))


def _room_for_calls(work: Connection, target: SyncTarget, now: datetime) -> int:
    """Return how many calls may be added to a destination's queue; none while it is behind with awards."""
    if has_overdue_awards(work, target.slug, due_before=now - _AWARDS_WAIT):
        return 0
    return _capacity(target) - count_open_calls(work, target.slug, source=OWN_SOURCES + target.slug)


def plan_calls(
    work: Connection, due: Due, target: SyncTarget, snapshot: Snapshot, now: datetime
) -> list[dict[str, object]]:
    """Plan the calls about a person who is due, as rows to store; their values are recorded as synced."""
    if due.key in snapshot.invalid_computations:
        # The new value is unknown, so destinations keep theirs until the definition is corrected.
        engage_tables.dequeue(work, due, due_at=now + _INVALID_WAIT)
        return []
    ready = snapshot.computations.get(due.key)
    computation = ready.configured if ready is not None else None
    is_synced = computation is not None and computation.enabled and due.destination in computation.destinations
    new_value = _value(work, due) if is_synced else "false"
    rows = synced_values_of(work, destination=due.destination, key=due.key, profile_id=due.profile_id)
    _, account = current_account(work, due.destination)
    synced_values = {row.email: row for row in rows if row.account == account}
    elsewhere = [row for row in rows if row.account != account]
    newest = engage_tables.newest_email(work, due.profile_id)
    if newest is None and not synced_values and new_value not in NOBODY:
        engage_tables.dequeue(work, due, waits_for="email")
        return []
    calls = SyncCalls(
        work,
        destination=due.destination,
        destination_name=target.name,
        account=account,
        key=due.key,
        profile_id=due.profile_id,
        computation=computation,
    )
    fitted = {email: calls.fit(new_value, email) for email in sorted({*synced_values, *([newest] if newest else [])})}
    if refusal := next((value.refusal for value in fitted.values() if value.refusal), ""):
        engage_tables.dequeue(work, due, waits_for=refusal)  # the destination keeps what it has
        return []
    if not due.is_resync and (due_at := _delayed_until(synced_values.values(), fitted, now)) is not None:
        engage_tables.dequeue(work, due, due_at=due_at)
        return []
    engage_tables.dequeue(work, due)
    sync = _Sync(work, due, account, calls, synced_values, elsewhere, newest, now)
    return sync.rows(fitted, is_member=new_value not in NOBODY)


def _delayed_until(
    synced_values: Collection[Synced], fitted: Mapping[str, FittedValue], now: datetime
) -> datetime | None:
    """Return when the differing values may be sent, None for now."""
    changes = [change for row in synced_values for change in read_changes(row.changes)]
    differing = {
        value for row in synced_values if (value := fitted[row.email].value) is not None and value != row.value
    }
    return max(filter(None, (delayed_until(value, changes, now) for value in differing)), default=None)


def _value(work: Connection, due: Due) -> str:
    for trait in traits_of(work, [due.profile_id], [due.key]):
        if trait.computation:
            return trait.value
    return "false"


@dataclass(frozen=True)
class _Sync:
    """Syncs a value to the emails of one person.

    Attributes:
        account: Digest of the account that the destination names.
        synced_values: The values that the account has, by email.
        elsewhere: What other accounts have.
        newest: The newest email.
    """

    work: Connection
    due: Due
    account: str
    calls: SyncCalls
    synced_values: Mapping[str, Synced]
    elsewhere: Sequence[Synced]
    newest: str | None
    now: datetime

    def rows(self, fitted: Mapping[str, FittedValue], *, is_member: bool) -> list[dict[str, object]]:
        """Return the calls as rows to store; their values are recorded as synced.

        A track call goes to only one email of a person, so that its award is made only once.
        """
        before = {email: self._before(email) for email in fitted}
        # An email that never had the value needs no call that it has none.
        known = [email for email in fitted if is_member or before[email] is not None]
        tracked_email = self.newest if self.newest in known else min(known, default=None)
        rows: list[dict[str, object]] = []
        owes_track = self._owes_track(before, fitted, is_member=is_member)
        for email in known:
            row, value = before[email], fitted[email].value or ""
            is_changed = row is None or row.value != value
            is_sent = is_changed or self.due.is_resync
            is_tracked = owes_track and email == tracked_email
            if not is_sent and not is_tracked:
                if row is not None and row.profile_id != self.due.profile_id:
                    save_synced(self.work, replace(row, profile_id=self.due.profile_id))
                continue
            new_row = self._next_row(email, row, fitted[email], is_tracked=is_tracked)
            save_synced(self.work, new_row)
            calls_to_send = {"identify": is_sent, "track": is_tracked}
            rows += self.calls.rows(new_row, [call for call in self.calls.send if calls_to_send[call]])
        self._note_leaving(fitted, is_member=is_member)
        return rows

    def _note_leaving(self, fitted: Mapping[str, FittedValue], *, is_member: bool) -> None:
        """Note for other accounts that a person has left, so that a later entry is sent by a track call again."""
        value = next((fitted[email].value for email in fitted), None)
        for row in () if is_member else self.elsewhere:
            if value is not None and row.tracked not in ("", value):
                save_synced(self.work, replace(row, tracked=value))

    def _before(self, email: str) -> Synced | None:
        due = self.due
        return self.synced_values.get(email) or synced_value_of_email(
            self.work, destination=due.destination, key=due.key, email=email, account=self.account
        )

    def _owes_track(
        self, before: Mapping[str, Synced | None], fitted: Mapping[str, FittedValue], *, is_member: bool
    ) -> bool:
        """Return whether no track call has sent this value of the person yet, to any email in any account."""
        tracked = {(row.tracked, fitted[email].value) for email, row in before.items() if row is not None}
        tracked |= {(row.tracked, value.value) for row in self.elsewhere for value in fitted.values()}
        if is_member:
            return all(had != value for had, value in tracked)
        return any(had not in ("", value) for had, value in tracked)

    def _next_row(self, email: str, row: Synced | None, fitted: FittedValue, *, is_tracked: bool) -> Synced:
        value = fitted.value or ""
        changes = "" if row is None else row.changes
        if row is None or row.value != value:
            replaced = "false" if row is None else row.value
            changes = with_change(read_changes(changes), replaced=replaced, now=self.now)
        sequence = 1 if row is None else row.sequence + 1
        return Synced(
            destination=self.due.destination,
            key=self.due.key,
            email=email,
            profile_id=self.due.profile_id,
            value=value,
            sequence=sequence,
            sent_at=self.now,
            changes=changes,
            tracked=value,
            track_sequence=sequence if is_tracked else 0 if row is None else row.track_sequence,
            entries_cut=fitted.entries_cut,
            account=self.account,
        )


def requeue_unsent(work: Connection, unsynced: Sequence[UnsyncedCall], now: datetime) -> None:
    """Requeue profiles of sync calls that did not reach their destination."""
    for call in unsynced:
        profile_id = mark_unsynced(
            work,
            destination=call.destination,
            key=call.key,
            email=call.email,
            account=call.account,
            sequence=call.sequence,
            call=call.call,
        )
        if profile_id is not None:
            row = {"destination": call.destination, "key": call.key, "profile_id": profile_id}
            engage_tables.enqueue(work, [{**row, "queued_at": now, "due_at": now, "waits_for": call.waits_for}])
            if call.detail:
                engage_tables.explain_refusal(work, call.destination, call.key, profile_id, detail=call.detail)

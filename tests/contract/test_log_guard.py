"""A store is routed from the log that it belongs to and from no other, and an older copy of either is noticed.

The promise: whenever and however a process ends, log and store are found to belong together; and if one of them is put
back from an older copy, or another one takes its place, that is found before anything is taken in or sent.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.generation_file import GenerationFile
from punchcard.routing.log_guard import LogGuard, OlderStoreError, OtherLogError
from punchcard.store import audit, outbox
from punchcard.store.audit import AuditQuestion
from punchcard.store.by_hand import reopen
from punchcard.store.effects import NewEffect, StoredEffect
from punchcard.store.engine import Store
from punchcard.store.log_binding import LogBinding, bind, read_binding
from punchcard.store.positions import ROUTING, advance, position_of
from punchcard.store.recoveries import Recovery, RecoveryReason, count_in_doubt, newest_recovery
from punchcard.store.schema import EffectState, log_binding
from punchcard.testing.clock import ManualClock

LANDING_SECONDS = 10.0


def record(number: int = 0) -> NewRecord:
    return NewRecord(received_at=number, write_key="wk", call="track", encoding="identity", body=b"{}", ip="")


def effect(key: str, **changes: object) -> NewEffect:
    values: dict[str, object] = {
        "destination": "perkville",
        "effect_key": key,
        "kind": "transaction",
        "source": "website",
        "message_id": key,
        "event_name": "Checked In",
        "log_position": 1,
        "event_index": 0,
        "received_at": ManualClock().now(),
        "customer": "ann@example.com",
        "email": "ann@example.com",
        "perk": "123457",
        "requested_quantity": Decimal(1),
        "attributes": None,
        "order_id": None,
        "is_refund": False,
    }
    return NewEffect(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Installation:
    """A data folder with its log and its lake, on a store that may belong to others too."""

    folder: Path
    store: Store
    clock: ManualClock
    is_private: bool = False
    opened: list[SqliteEventLog] = field(default_factory=list)

    def log(self) -> SqliteEventLog:
        self.opened.append(SqliteEventLog(self.folder / "log.db"))
        return self.opened[-1]

    def guard(self, log: SqliteEventLog | None = None) -> LogGuard:
        return LogGuard(
            store=self.store,
            log=log or self.log(),
            lake=LakeReader(str(self.folder / "lake")),
            clock=self.clock,
            is_private=self.is_private,
            landing_seconds=lambda: LANDING_SECONDS,
            log_place=str(self.folder / "log.db"),
            generation_file=GenerationFile(self.folder / "generation"),
        )

    def start(self) -> LogGuard:
        """A process starts."""
        guard = self.guard()
        guard.open()
        return guard

    def append(self, count: int) -> int:
        """The last position of so many new records."""
        return self.log().append([record(number) for number in range(count)])[-1]

    def route(self, to: int) -> None:
        with self.store.unit_of_work() as work:
            assert advance(work, ROUTING, expected=position_of(work, ROUTING), to=to)

    def fill_lake(self, through: int) -> None:
        writer = LakeWriter(str(self.folder / "lake"), clock=self.clock)
        writer.append(LakeRows(), first_position=writer.last_position() + 1, last_position=through)

    def close_logs(self) -> None:
        while self.opened:
            self.opened.pop().close()

    def copy_to(self, folder: Path) -> "Installation":
        """The data folder on another machine, on the same store."""
        self.close_logs()
        shutil.copytree(self.folder, folder)
        return Installation(folder, self.store, self.clock, self.is_private)

    def recovery(self) -> Recovery | None:
        with self.store.reading() as work:
            return newest_recovery(work)

    def binding(self) -> LogBinding:
        with self.store.reading() as work:
            found = read_binding(work)
        assert found is not None
        return found

    def set_binding(self, binding: LogBinding | None) -> None:
        """The binding as an older copy of the store has it."""
        with self.store.unit_of_work() as work:
            work.execute(delete(log_binding))
            if binding is not None:
                bind(work, binding, now=self.clock.now())


@pytest.fixture
def new(store_url: str, tmp_path: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations, all of them on one store."""
    with closing(Store(store_url)) as store:
        made: list[Installation] = []

        def make(name: str = "first", *, is_private: bool = False) -> Installation:
            folder = tmp_path / name
            folder.mkdir()
            made.append(Installation(folder, store, ManualClock(), is_private))
            return made[-1]

        yield make
        for one in made:
            one.close_logs()


New = Callable[..., Installation]


def test_log_and_store_that_belong_together_open_again_and_again(new: New) -> None:
    installation = new()
    for _ in range(3):
        guard = installation.start()
        guard.check()
        guard.advance()
    assert installation.recovery() is None
    assert installation.binding().log_id == installation.log().identity().id


def test_a_store_of_before_takes_the_log_that_it_was_routed_from(new: New) -> None:
    installation = new()
    installation.append(5)
    installation.route(to=5)
    installation.fill_lake(4)
    installation.start().check()
    assert installation.recovery() is None


def test_a_store_of_before_does_not_take_a_log_that_it_was_never_routed_from(new: New) -> None:
    installation = new()
    installation.route(to=5)
    with pytest.raises(OtherLogError, match="through position 5"):
        installation.start()


@pytest.mark.parametrize("records", [0, 3])
def test_another_log_is_refused_with_the_cure(new: New, records: int) -> None:
    first, second = new("first"), new("second")
    first.start()
    before = first.binding()
    if records:
        second.append(records)
    with pytest.raises(OtherLogError, match=r"same data folder.*adopt-log"):
        second.start()
    assert first.binding() == before
    first.start().check()


@pytest.mark.parametrize(("records", "is_refused"), [(0, False), (3, True)])
def test_a_store_beside_its_log_takes_a_new_log_only_while_that_is_empty(
    new: New, records: int, is_refused: bool
) -> None:
    installation = new(is_private=True)
    installation.append(7)
    installation.start()
    installation.route(to=7)
    installation.close_logs()
    (installation.folder / "log.db").unlink()
    if records:
        installation.append(records)
    if is_refused:
        with pytest.raises(OtherLogError):
            installation.start()
        return
    installation.start().check()
    assert installation.append(1) > 7
    assert installation.recovery() is None


@pytest.mark.parametrize("is_private", [False, True])
def test_an_older_copy_of_the_log_gives_no_position_again(new: New, tmp_path: Path, is_private: bool) -> None:
    installation = new(is_private=is_private)
    installation.append(3)
    installation.start()
    copy = installation.copy_to(tmp_path / "copy")
    installation.append(4)
    installation.route(to=7)
    installation.start()
    installation.close_logs()
    for file in installation.folder.glob("log.db*"):
        file.unlink()
    shutil.copy(copy.folder / "log.db", installation.folder / "log.db")
    if not is_private:
        with pytest.raises(OtherLogError, match="older copy"):
            installation.start()
        return
    installation.start().check()
    assert installation.append(1) > 7
    assert installation.recovery() is None


def test_a_copy_of_the_folder_is_refused_while_the_first_is_used(new: New, tmp_path: Path) -> None:
    installation = new()
    installation.start()
    copy = installation.copy_to(tmp_path / "copy")
    guard = installation.start()  # as once a second
    with pytest.raises(OtherLogError, match="older copy"):
        copy.start()
    guard.check()


def test_of_two_copies_that_run_one_stops_and_takes_nothing_more(new: New, tmp_path: Path) -> None:
    installation = new()
    installation.start()
    copy = installation.copy_to(tmp_path / "copy")
    log = installation.log()
    guard = installation.guard(log)
    copy.start().check()
    with pytest.raises(OtherLogError):
        guard.check()
    assert guard.refusal is not None
    assert "adopt-log" in guard.refusal.message
    with pytest.raises(StorageError) as refused:
        log.append([record()])
    assert refused.value.code == "another_log"
    copy.close_logs()


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_a_log_that_is_removed_under_a_running_process_takes_nothing_more(new: New, way: str) -> None:
    installation = new(is_private=True)
    log = installation.log()
    guard = installation.guard(log)
    guard.open()
    for file in installation.folder.glob("log.db*"):
        file.unlink()
    if way == "replaced":
        SqliteEventLog(installation.folder / "log.db").close()
    with pytest.raises(StorageError) as refused:
        log.append([record()])
    assert refused.value.code == "log_replaced"
    with pytest.raises(OtherLogError, match="restart"):
        guard.check()
    assert guard.refusal is not None


def test_an_older_store_puts_every_open_effect_in_doubt(new: New) -> None:
    installation = new()
    installation.append(9)
    installation.start()
    older = installation.binding()
    now = installation.clock.now()
    with installation.store.unit_of_work() as work:
        outbox.add(work, [effect(state) for state in EffectState], now=now)
        for state in EffectState:
            settled_at = None if state.is_open else now
            work.execute(
                update(outbox.effects)
                .where(outbox.effects.c.effect_key == state)
                .values(state=state, is_open=state.is_open, settled_at=settled_at)
            )
    installation.start().advance()
    installation.set_binding(older)
    installation.clock.advance(60)
    guard = installation.start()
    effects = {one.effect_key: one for one in stored(installation)}
    for state in EffectState:
        expected = EffectState.UNKNOWN if state.is_open else state
        assert effects[state].state is expected
        assert (effects[state].reason == "store_restored") == state.is_open
        if state.is_open:
            assert effects[state].due_at == installation.clock.now() + timedelta(seconds=LANDING_SECONDS)
    recovery = installation.recovery()
    assert recovery is not None
    assert (recovery.reason, recovery.read_back, recovery.through_position) == (RecoveryReason.GENERATION, 4, 9)
    assert recovery.doubt_until is None
    with installation.store.reading() as work:
        assert count_in_doubt(work) == 4
        (said,) = audit.list_events(work, AuditQuestion(), count=9)
    assert '"effects read back at perkville"' in said.changes
    # Noticed once; from here on both are as one again.
    guard.check()
    installation.start()
    assert installation.recovery() == recovery


def stored(installation: Installation) -> list[StoredEffect]:
    with installation.store.reading() as work:
        return list(outbox.effects_by_key(work, "perkville", list(EffectState)).values())


def test_what_ended_before_a_restore_is_read_back_when_it_is_retried(new: New) -> None:
    installation = new()
    installation.start()
    older = installation.binding()
    now = installation.clock.now()
    with installation.store.unit_of_work() as work:
        outbox.add(work, [effect("parked"), effect("rejected")], now=now)
        for number, key in enumerate(("parked", "rejected"), 1):
            del number
            (found,) = outbox.effects_by_key(work, "perkville", [key]).values()
            outbox.put(work, found.id, state=EffectState(key), reason="perk_unknown", detail=None, due_at=now, now=now)
    installation.start()
    installation.set_binding(older)
    installation.clock.advance(60)
    installation.start()
    with installation.store.unit_of_work() as work:
        found_ids = [one.id for one in outbox.effects_by_key(work, "perkville", ["parked", "rejected"]).values()]
        assert reopen(work, found_ids, now=installation.clock.now()) == 2
        again = outbox.effects_by_key(work, "perkville", ["parked", "rejected"])
    assert {one.state for one in again.values()} == {EffectState.UNKNOWN}


def test_a_store_that_does_not_know_its_log_is_an_older_one(new: New) -> None:
    installation = new()
    installation.append(3)
    installation.start()
    installation.set_binding(None)
    installation.start()
    recovery = installation.recovery()
    assert recovery is not None
    assert recovery.reason is RecoveryReason.UNBOUND


def test_log_and_store_of_one_older_copy_are_noticed_too(new: New, tmp_path: Path) -> None:
    installation = new()
    installation.append(3)
    installation.start()
    older = installation.binding()
    copy = installation.copy_to(tmp_path / "copy")
    installation.append(3)
    installation.start()
    installation.close_logs()
    for file in installation.folder.glob("log.db*"):
        file.unlink()
    shutil.copy(copy.folder / "log.db", installation.folder / "log.db")
    installation.set_binding(older)
    installation.start()
    recovery = installation.recovery()
    assert recovery is not None
    assert recovery.doubt_until is not None


def test_a_lake_ahead_of_the_store_is_noticed_once(new: New) -> None:
    installation = new()
    installation.append(9)
    installation.start()
    installation.route(to=4)
    installation.fill_lake(8)
    installation.start()
    recovery = installation.recovery()
    assert recovery is not None
    assert (recovery.reason, recovery.from_position, recovery.through_position) == (RecoveryReason.LAKE, 4, 9)
    installation.start()
    assert installation.recovery() == recovery


def test_nothing_is_appended_at_a_position_that_only_the_lake_knows(new: New) -> None:
    installation = new()
    installation.start()
    installation.fill_lake(8)
    installation.start()
    assert installation.append(1) > 8


def trim(log: SqliteEventLog, through: int) -> None:
    log.trim(through, records_max=1_000)


@pytest.mark.parametrize(
    ("trimmed", "lake", "is_missing"),
    [
        pytest.param(0, 0, False, id="all-in-the-log"),
        pytest.param(4, 0, False, id="trimmed-as-far-as-routed"),
        pytest.param(6, 8, False, id="the-lake-has-what-the-log-has-not"),
        pytest.param(9, 9, False, id="all-in-the-lake"),
        pytest.param(8, 6, True, id="a-hole-between-lake-and-log"),
        pytest.param(6, 0, True, id="trimmed-and-no-lake"),
    ],
)
def test_every_new_effect_is_in_doubt_where_events_are_missing(
    new: New, trimmed: int, lake: int, is_missing: bool
) -> None:
    installation = new()
    installation.append(9)
    installation.start()
    older = installation.binding()
    installation.route(to=4)
    installation.start()
    if lake:
        rows(installation, lake)
    if trimmed:
        trim(installation.log(), trimmed)
    installation.set_binding(older)
    installation.start()
    recovery = installation.recovery()
    assert recovery is not None
    assert (recovery.doubt_until is not None) == is_missing
    now = installation.clock.now()
    assert recovery.is_in_doubt(9, now)
    assert recovery.is_in_doubt(10, now) == is_missing
    assert not recovery.is_in_doubt(10, now + timedelta(days=31))


def rows(installation: Installation, through: int) -> None:
    """A lake that holds rows of every position up to this one."""
    from punchcard.events.parse import IngestFailure

    held = LakeRows()
    for position in range(1, through + 1):
        failure = IngestFailure("unknown_type", "", f"message-{position}", b"{}")
        held.add(failure, source="website", received_at=0, position=position, index=0, fates="[]")
    writer = LakeWriter(str(installation.folder / "lake"), clock=installation.clock)
    writer.append(held, first_position=1, last_position=through)


def test_a_store_that_is_put_back_under_a_running_process_is_noticed(new: New) -> None:
    installation = new()
    guard = installation.start()
    older = installation.binding()
    guard.advance()
    installation.set_binding(older)
    with pytest.raises(OlderStoreError):
        guard.check()


def test_a_generation_is_new_before_anything_is_sent_a_second_later(new: New) -> None:
    installation = new()
    guard = installation.start()
    guard.advance()
    first = installation.binding().generation
    guard.advance()
    assert installation.binding().generation == first
    installation.clock.advance(1)
    guard.advance()
    assert installation.binding().generation > first


class _EndError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", ["reserve_generation", "raise_generation", "confirm_generation", "write"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_ends_between_two_writes_is_no_restore(
    new: New, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    installation = new()
    guard = installation.start()
    owner: object = {
        "reserve_generation": SqliteEventLog,
        "confirm_generation": SqliteEventLog,
        "write": GenerationFile,
    }.get(step, "punchcard.routing.log_guard")
    from punchcard.routing import log_guard

    place = log_guard if isinstance(owner, str) else owner
    done = getattr(place, step)

    def end(*arguments: object) -> object:
        if when == "after":
            done(*arguments)
        raise _EndError

    monkeypatch.setattr(place, step, end)
    with suppress(_EndError):
        guard.advance()
    monkeypatch.undo()
    installation.start().check()
    assert installation.recovery() is None


def test_a_log_is_adopted_with_all_that_waits_in_it(new: New) -> None:
    first, second = new("first"), new("second")
    first.append(7)
    first.start()
    first.route(to=7)
    second.append(3)
    with pytest.raises(OtherLogError):
        second.start()
    assert second.guard().adopt() == 3
    second.start().check()
    waiting = second.log().read(7, records_max=10, bytes_max=1_000)
    assert [one.received_at for one in waiting] == [0, 1, 2]
    assert second.append(1) > waiting[-1].position
    with pytest.raises(OtherLogError):
        first.start()


def test_a_declared_restore_doubts_what_comes_too(new: New) -> None:
    installation = new()
    installation.append(2)
    installation.start()
    with installation.store.unit_of_work() as work:
        outbox.add(work, [effect("pending")], now=installation.clock.now())
    assert installation.guard().declare_restored() == {"perkville": 1}
    recovery = installation.recovery()
    assert recovery is not None
    assert recovery.reason is RecoveryReason.DECLARED
    assert recovery.is_in_doubt(1_000, installation.clock.now())


def test_a_log_of_before_gets_its_id_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    SqliteEventLog(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE identity")
        database.commit()
    with closing(SqliteEventLog(path)) as first, closing(SqliteEventLog(path)) as second:
        assert first.identity() == second.identity()
        assert first.identity().confirmed == 0

"""A store that is restored from an older copy is noticed before anything is sent; what may be sent is in doubt."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from punchcard.events.parse import IngestFailure
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import LogIdentity
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.log_guard import OlderStoreError
from punchcard.store.access import audit
from punchcard.store.access.audit import AuditQuery
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.delivery.recoveries import RecoveryReason, count_in_doubt
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.log_installation import LANDING_SECONDS, Installation, effect


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
        for item in made:
            item.close_logs()


New = Callable[..., Installation]


def test_an_older_store_puts_every_open_effect_in_doubt(new: New) -> None:
    installation = new()
    installation.append(9)
    installation.start()
    older = installation.binding()
    now = installation.clock.now()
    with installation.store.unit_of_work() as work:
        outbox.add(work, [effect(state) for state in EffectState], now=now)
        for state in EffectState:
            finished_at = None if state.is_open else now
            work.execute(
                update(outbox.effects)
                .where(outbox.effects.c.effect_key == state)
                .values(state=state, is_open=state.is_open, finished_at=finished_at)
            )
    installation.start().advance()
    installation.set_binding(older)
    installation.clock.advance(60)
    guard = installation.start()
    effects = {item.effect_key: item for item in stored(installation)}
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
        (event,) = audit.list_events(work, AuditQuery(), count=9)
    assert '"effects read back at perkville"' in event.changes
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
            (item,) = outbox.effects_by_key(work, "perkville", [key]).values()
            outbox.put(work, item.id, state=EffectState(key), reason="perk_unknown", detail=None, due_at=now, now=now)
    installation.start()
    installation.set_binding(older)
    installation.clock.advance(60)
    installation.start()
    with installation.store.unit_of_work() as work:
        found_ids = [effect.id for effect in outbox.effects_by_key(work, "perkville", ["parked", "rejected"]).values()]
        assert reopen(work, found_ids, now=installation.clock.now()) == 2
        again = outbox.effects_by_key(work, "perkville", ["parked", "rejected"])
    assert {entry.state for entry in again.values()} == {EffectState.UNKNOWN}


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
    held = LakeRows()
    for position in range(1, through + 1):
        failure = IngestFailure("unknown_type", "", f"message-{position}", b"{}")
        held.add(failure, source="website", received_at=0, position=position, index=0, results="[]")
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


class LogReadSlowly(SqliteEventLog):
    """A log between two reads of which something happens, once."""

    after_first_read: Callable[[], object] | None = None
    reads = 0

    def identity(self) -> LogIdentity:
        self.reads += 1
        if self.reads == 2 and self.after_first_read is not None:
            self.after_first_read()
        return super().identity()


def test_a_generation_that_is_made_during_a_check_does_not_make_the_store_look_older(new: New) -> None:
    installation = new()
    log = LogReadSlowly(installation.folder / "log.db")
    installation.opened.append(log)
    guard = installation.guard(log)
    guard.open()
    before = installation.binding().generation
    log.reads = 0
    log.after_first_read = lambda: guard.advance(at_once=True)
    guard.check()
    assert installation.binding().generation > before


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


def test_a_second_restore_keeps_the_doubt_of_the_first(new: New) -> None:
    installation = new()
    installation.append(2)
    installation.start()
    installation.guard().declare_restored()
    first = installation.recovery()
    older = installation.binding()
    installation.start().advance()
    installation.set_binding(older)
    installation.clock.advance(60)
    installation.start()
    second = installation.recovery()
    assert first is not None
    assert second is not None
    assert second.id != first.id
    assert second.doubt_until == first.doubt_until

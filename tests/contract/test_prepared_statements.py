"""Statements that go to the driver directly: their rows and errors are those of SQLAlchemy, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, bindparam, event, insert, select, text, update
from sqlalchemy.exc import DataError, IntegrityError

from punchcard.errors import InvariantError, StorageError
from punchcard.store.bulk import BulkStatement, PreparedStatement, is_listed, pipelined
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState, NewEffect, StoredEffect, effect_of
from punchcard.store.delivery.schema import effects, recoveries
from punchcard.store.engine import Store, is_storage_fault
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import new_effect

_BY_KEY = select(effects).where(is_listed(effects.c.effect_key, "b_keys"), effects.c.state == EffectState.PENDING)
_BY_KEY_PREPARED = PreparedStatement(_BY_KEY.order_by(effects.c.id))
_REJECT = PreparedStatement(
    update(effects)
    .where(effects.c.id == bindparam("b_id"))
    .values(state=EffectState.REJECTED, due_at=bindparam("b_at"))
)

_END = BulkStatement(
    update(effects)
    .where(effects.c.id == bindparam("b_id"))
    .values(state=EffectState.REJECTED, due_at=bindparam("b_at"))
)
_RENAME = BulkStatement(update(effects).where(effects.c.id == bindparam("b_id")).values(effect_key=bindparam("b_key")))


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect("a"), new_effect("b", customer="bob@example.com")], now=ManualClock().now())
    yield store
    store.close()


def test_rows_are_those_of_sqlalchemy(store: Store) -> None:
    keys = {"b_keys": ["a", "b", "c"]}
    with store.reading() as work:
        expected = [row._asdict() for row in work.execute(_BY_KEY.order_by(effects.c.id), keys)]
        rows = _BY_KEY_PREPARED.rows(work, keys)
    assert len(rows) == 2
    assert [row._asdict() for row in rows] == expected
    assert [type(value) for value in rows[0]] == [type(value) for value in expected[0].values()]


def test_an_effect_has_the_same_attributes_from_either_kind_of_row(store: Store) -> None:
    with store.reading() as work:
        (first, _) = [effect_of(row) for row in _BY_KEY_PREPARED.rows(work, {"b_keys": ["a", "b"]})]
        assert first == effect_of(work.execute(select(effects).where(effects.c.id == first.id)).one())
    values = asdict(first)
    assert first == StoredEffect(**values)
    assert repr(first) == repr(StoredEffect(**values))


def test_a_change_returns_how_many_rows_it_met(store: Store) -> None:
    with store.unit_of_work() as work:
        (first, _) = _BY_KEY_PREPARED.rows(work, {"b_keys": ["a", "b"]})
        assert _REJECT.execute(work, {"b_id": first.id, "b_at": first.due_at}) == 1
        assert _REJECT.execute(work, {"b_id": 99, "b_at": first.due_at}) == 0
        assert [row.effect_key for row in _BY_KEY_PREPARED.rows(work, {"b_keys": ["a", "b"]})] == ["b"]


def test_who_listens_to_statements_hears_of_them(store: Store) -> None:
    heard: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        heard.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with store.reading() as work:
            _BY_KEY_PREPARED.rows(work, {"b_keys": ["a"]})
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert len([statement for statement in heard if "effect_key" in statement]) == 1


def test_an_error_of_the_driver_is_one_of_sqlalchemy(store: Store) -> None:
    def add_twice() -> None:
        with store.unit_of_work() as work:
            at = ManualClock().now()
            row = {
                "id": 1,
                "noticed_at": at,
                "reason": "test",
                "from_position": 1,
                "through_position": 1,
                "read_back_from": at,
                "read_back": 0,
                "planned": 0,
                "not_planned": 0,
            }
            BulkStatement(insert(recoveries), list(row)).execute(work, [row, row])

    with pytest.raises(IntegrityError) as raised:
        add_twice()
    assert not is_storage_fault(raised.value)


def test_rows_that_are_added_together_are_as_those_added_alone(store: Store) -> None:
    """Promise: no value is cut off, rounded or reordered by the statement that adds many rows."""

    def effects_with(prefix: str) -> list[NewEffect]:
        return [
            new_effect(f"{prefix}-1", message_id="first", attributes={"birthday": "1990-01-01"}, quantity=None),
            new_effect(f"{prefix}-2", message_id="second", customer='{ö,"\\NULL}@example.com', order_id=""),
            new_effect(f"{prefix}-3", message_id="NULL", quantity="12.50", order_id=" {7} ", is_refund=True),
        ]

    at = ManualClock().now()
    with store.unit_of_work() as work:
        outbox.add(work, effects_with("together"), now=at)
        for effect in effects_with("alone"):
            outbox.add(work, [effect], now=at)
        rows = work.execute(select(effects).where(effects.c.effect_key.like("%-_")).order_by(effects.c.id)).all()
    assert [row.effect_key for row in rows] == [f"{prefix}-{n}" for prefix in ("together", "alone") for n in (1, 2, 3)]
    same = [{**row._asdict(), "id": 0, "effect_key": ""} for row in rows]
    assert same[:3] == same[3:]


@pytest.mark.parametrize("count", [1, 2])
def test_a_text_that_is_too_long_is_refused_and_not_cut_off(postgres_url: str, count: int) -> None:
    store = Store(postgres_url)
    too_long = [new_effect(f"{number}-{'x' * 200}") for number in range(count)]
    with pytest.raises(DataError), store.unit_of_work() as work:
        outbox.add(work, too_long, now=ManualClock().now())
    store.close()


def test_a_connection_that_is_lost_is_a_fault_of_the_store_and_the_next_one_works(postgres_url: str) -> None:
    store = Store(postgres_url)

    def read_after_cut() -> None:
        with store.reading() as work, psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [work.scalar(text("SELECT pg_backend_pid()"))])
            _BY_KEY_PREPARED.rows(work, {"b_keys": ["a"]})

    with pytest.raises(StorageError):
        read_after_cut()
    with store.reading() as work:
        assert _BY_KEY_PREPARED.rows(work, {"b_keys": ["a"]}) == []
    store.close()


def test_statements_that_are_sent_together_give_each_its_rows(store: Store) -> None:
    with store.unit_of_work() as work:
        with pipelined(work):
            requests = [_BY_KEY_PREPARED.request(work, {"b_keys": [key]}) for key in ("b", "missing", "a")]
        assert [[row.effect_key for row in read()] for read in requests] == [["b"], [], ["a"]]
        assert len(_BY_KEY_PREPARED.rows(work, {"b_keys": ["a", "b"]})) == 2


def test_statements_that_are_sent_together_are_one_exchange(postgres_url: str, tmp_path: Path) -> None:
    """The client waits once for each Sync that it sends."""
    with closing(Store(postgres_url)) as store, store.reading() as work:
        work.execute(text("SELECT 1"))
        driver = work.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        with (tmp_path / "messages").open("w") as file:
            driver.pgconn.trace(file.fileno())
            with pipelined(work):
                requests = [_BY_KEY_PREPARED.request(work, {"b_keys": [key]}) for key in "abcdefgh"]
            assert [read() for read in requests] == [[]] * 8
            driver.pgconn.untrace()
    messages = (tmp_path / "messages").read_text()
    assert (messages.count("\tSync"), messages.count("\tExecute")) == (1, 8)


def test_one_of_the_statements_sent_together_that_fails_undoes_all(store: Store) -> None:
    at = ManualClock().now()
    keys = {"b_keys": ["a", "b"]}

    def change() -> None:
        with store.unit_of_work() as work:
            (first, _) = _BY_KEY_PREPARED.rows(work, keys)
            with pipelined(work):
                _END.send(work, [{"b_id": first.id, "b_at": at}])
                _RENAME.send(work, [{"b_id": first.id, "b_key": "b"}])
                _END.send(work, [{"b_id": first.id, "b_at": at}])

    with pytest.raises(IntegrityError) as raised:
        change()
    assert not is_storage_fault(raised.value)
    with store.unit_of_work() as work:
        assert len(_BY_KEY_PREPARED.rows(work, keys)) == 2


def test_a_connection_lost_between_statements_sent_together_is_a_fault_of_the_store(postgres_url: str) -> None:
    store = Store(postgres_url)

    def read_after_cut() -> None:
        with store.reading() as work, psycopg.connect(postgres_url, autocommit=True) as other:
            session = work.scalar(text("SELECT pg_backend_pid()"))
            with pipelined(work):
                _BY_KEY_PREPARED.request(work, {"b_keys": ["a"]})
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [session])
                _BY_KEY_PREPARED.request(work, {"b_keys": ["b"]})

    with pytest.raises(StorageError):
        read_after_cut()
    with store.reading() as work:
        assert _BY_KEY_PREPARED.rows(work, {"b_keys": ["a"]}) == []
    store.close()


def test_nothing_runs_outside_of_a_unit_of_work(store: Store) -> None:
    with store.reading() as work:
        work.rollback()
        with pytest.raises(InvariantError):
            _BY_KEY_PREPARED.rows(work, {"b_keys": ["a"]})

"""The roles of a process in PostgreSQL: one session holds all of them, however many destinations there are."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from punchcard.errors import StorageError
from punchcard.store.engine import Store
from punchcard.store.leadership import Leadership

_NAMES = [f"delivery-gym-{number}" for number in range(150)]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with closing(Store(postgres_url)) as opened:
        yield opened


@pytest.fixture
def roles(store: Store) -> Iterator[list[Leadership]]:
    with ExitStack() as stack:
        yield [stack.enter_context(store.leadership(name)) for name in _NAMES]


@pytest.fixture
def operator(postgres_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def sessions(operator: psycopg.Connection) -> set[int]:
    """Return the sessions that hold a role."""
    database = "SELECT oid FROM pg_database WHERE datname = current_database()"
    rows = operator.execute(
        f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = ({database})".encode()
    )
    return {pid for (pid,) in rows}


def test_hundreds_of_roles_take_one_session(roles: list[Leadership], operator: psycopg.Connection) -> None:
    assert all(role.held() for role in roles)
    assert all(role.held() for role in roles)
    assert len(sessions(operator)) == 1


def test_each_role_reports_once_that_the_session_was_lost(
    roles: list[Leadership], operator: psycopg.Connection, store: Store
) -> None:
    assert all(role.held() for role in roles[:3])
    (pid,) = sessions(operator)
    operator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(StorageError):
        roles[0].held()
    assert roles[0].held()
    assert roles[3].held()  # it was not held before, so nothing was lost
    for role in roles[1:3]:
        with pytest.raises(StorageError):
            role.held()
        assert role.held()
    with store.leadership(_NAMES[1]) as rival:
        assert not rival.held()


def test_one_role_is_given_up_and_the_others_stay(roles: list[Leadership], postgres_url: str, store: Store) -> None:
    with closing(Store(postgres_url)) as other, other.leadership("routing") as waiting:
        with store.leadership("routing") as routing:
            assert routing.held()
            assert roles[0].held()
            assert not waiting.held()
        assert waiting.held()
        with other.leadership(_NAMES[0]) as rival:
            assert not rival.held()
            assert roles[0].held()


def test_a_store_that_is_closed_holds_nothing(store: Store, roles: list[Leadership], postgres_url: str) -> None:
    assert all(role.held() for role in roles[:2])
    with closing(Store(postgres_url)) as other, other.leadership(_NAMES[0]) as rival:
        assert not rival.held()
        store.close()
        assert rival.held()

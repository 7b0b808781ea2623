"""The promise of tokens: shown once, kept as digests, and one first token however many processes start."""

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from punchcard.errors import StorageError
from punchcard.store.access.token_store import create_token, ensure_admin_token, list_tokens, revoke_token, verify_token
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def names(store: Store) -> list[str]:
    with store.reading() as work:
        return [token.name for token in list_tokens(work)]


def is_valid(store: Store, token: str) -> bool:
    with store.reading() as work:
        return verify_token(work, token) is not None


def test_token_is_valid_until_revoked_and_is_not_kept(store: Store) -> None:
    clock = ManualClock()
    with store.unit_of_work() as work:
        token = create_token(work, "reporting", clock=clock)
        clock.advance(1)
        other = create_token(work, "terraform", clock=clock)
    with store.reading() as work:
        result = verify_token(work, token)
        row = work.execute(text("SELECT * FROM api_tokens WHERE name = 'reporting'")).one()
    assert result is not None
    assert result.name == "reporting"
    assert token not in [str(value) for value in row]
    assert names(store) == ["reporting", "terraform"]

    with store.unit_of_work() as work:
        assert revoke_token(work, result.id)
        assert not revoke_token(work, result.id)
    assert not is_valid(store, token)
    assert is_valid(store, other)


@pytest.mark.parametrize("invalid_text", ["", "punchcard_", "\x00", "\ud800", "å" * 1000])
def test_any_other_text_is_no_token(store: Store, invalid_text: str) -> None:
    assert not is_valid(store, invalid_text)


def test_first_token_is_made_once_and_written_for_the_owner_only(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "data" / "admin-token"
    token = ensure_admin_token(store, path, clock=ManualClock())
    assert token is not None
    assert is_valid(store, token)
    assert path.read_text() == token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_admin_token(store, path, clock=ManualClock()) is None
    assert path.read_text() == token + "\n"


def test_no_token_is_made_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="admin token cannot be written"):
        ensure_admin_token(store, tmp_path / "file" / "admin-token", clock=ManualClock())
    assert names(store) == []
    assert ensure_admin_token(store, tmp_path / "admin-token", clock=ManualClock()) is not None


def test_a_readable_file_left_from_before_is_replaced(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    path.write_text("dead")
    token = ensure_admin_token(store, path, clock=ManualClock())
    assert path.read_text() == f"{token}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_start_together_make_one_token(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    barrier = threading.Barrier(4)
    made: list[str | None] = []

    def start() -> None:
        barrier.wait()
        made.append(ensure_admin_token(store, path, clock=ManualClock()))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [token] = [item for item in made if item is not None]
    assert len(made) == 4
    assert is_valid(store, token)
    assert path.read_text() == token + "\n"

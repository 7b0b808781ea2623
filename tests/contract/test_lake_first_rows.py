"""The promise of the lake feed: what is routed first is in the lake at once, and later rows are gathered."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.store.engine import Store
from punchcard.testing.installation import Installation, award
from punchcard.testing.waiting import wait_until

PATIENCE_SECONDS = 60.0
MOMENT_SECONDS = 0.2


@pytest.fixture
def installation(tmp_path: Path, sqlite_url: str) -> Iterator[Installation]:
    store = Store(sqlite_url)
    made = Installation(tmp_path, store)
    yield made
    made.feed.close()
    made.close()
    store.close()


def waiting(installation: Installation) -> threading.Thread:
    thread = threading.Thread(target=installation.feed.wait, args=(PATIENCE_SECONDS,), daemon=True)
    thread.start()
    return thread


def test_only_the_first_rows_are_written_at_once(installation: Installation) -> None:
    feed = installation.feed
    while feed.is_behind:
        feed.flush()
    first = waiting(installation)
    installation.send(award("a"))
    installation.route()
    wait_until(lambda: not first.is_alive())
    assert feed.flush() == 1
    second = waiting(installation)
    installation.send(award("b"))
    installation.route()
    second.join(MOMENT_SECONDS)
    assert second.is_alive()
    feed.close()
    wait_until(lambda: not second.is_alive())
    assert feed.flush() == 1
    assert [event.message_id for event in installation.in_lake()] == ["a", "b"]

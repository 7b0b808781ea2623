"""The promise of a routing step: it says that nothing is left only if that is so, since a worker then waits."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from punchcard.store.engine import Store
from punchcard.testing.installation import Installation, award

LARGE = "x" * 400_000  # three of them are more than a step reads


@pytest.fixture
def installation(tmp_path: Path, sqlite_url: str) -> Iterator[Installation]:
    store = Store(sqlite_url)
    made = Installation(tmp_path, store)
    yield made
    made.close()
    store.close()


def send_one(installation: Installation) -> None:
    installation.send(award("a"))


def send_nothing(installation: Installation) -> None:
    """Nothing to read."""


def send_many(installation: Installation) -> None:
    for number in range(17):
        installation.send(award(f"m{number}"))


def send_large(installation: Installation) -> None:
    for number in range(4):
        installation.send(award(f"m{number}"), award(f"n{number}", note=LARGE))


def send_what_is_held(installation: Installation) -> None:
    installation.partner.faults["raise"] = ZeroDivisionError()
    installation.send(award("a", fault="raise"))


def send_what_must_be_halved(installation: Installation) -> None:
    installation.partner.faults["spoil"] = lambda intent: object()  # type: ignore[assignment, return-value]
    installation.send(award("a"))
    installation.send(award("bad", fault="spoil"))
    installation.send(award("c"))


@pytest.mark.parametrize(
    ("send", "has_read_all"),
    [
        pytest.param(send_one, True, id="one record"),
        pytest.param(send_nothing, True, id="none"),
        pytest.param(send_many, False, id="many records"),
        pytest.param(send_large, False, id="more bytes than a step reads"),
        pytest.param(send_what_is_held, False, id="an event is held"),
        pytest.param(send_what_must_be_halved, False, id="the step took less than it read"),
    ],
)
def test_a_step_knows_whether_it_has_read_all(
    installation: Installation, send: Callable[[Installation], None], has_read_all: bool
) -> None:
    send(installation)
    installation.router.step()
    assert installation.router.has_read_all is has_read_all

"""With a log in PostgreSQL the lake may be a folder of another machine: what is missing here was not never received."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.runtime.assembly import open_lake
from punchcard.runtime.settings import Settings, read_settings
from punchcard.runtime.shared_storage import refuse_lake_of_its_own
from punchcard.store.engine import Store
from punchcard.store.routing.positions import LAKE, note_position
from punchcard.testing.clock import ManualClock


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    with closing(Store(sqlite_url)) as store:
        yield store


def machine(folder: Path, *, is_shared: bool = True, lake: str = "") -> Settings:
    log_url = "postgresql://db/points" if is_shared else ""
    environment = {"PUNCHCARD_DATA": str(folder), "PUNCHCARD_LOG_URL": log_url, "PUNCHCARD_LAKE_URL": lake}
    return read_settings(environment)


def write_lake(settings: Settings, store: Store, *, through: int) -> None:
    """Write as a worker on this machine does: the lake, then its position in the store."""
    writer = LakeWriter(settings.lake_location(), clock=ManualClock())
    writer.append(LakeRows(), first_position=writer.last_position() + 1, last_position=through)
    with store.unit_of_work() as work:
        note_position(work, LAKE, through)


def test_a_lake_that_another_machine_writes_elsewhere_is_not_an_empty_one(tmp_path: Path, store: Store) -> None:
    first, second = machine(tmp_path / "first"), machine(tmp_path / "second")
    assert open_lake(second, store).find("visit") == []  # there is none anywhere
    write_lake(first, store, through=5)
    assert open_lake(first, store).find("visit") == []
    reader = open_lake(second, store)
    uses: list[Callable[[], object]] = [
        lambda: reader.find("visit"),
        lambda: reader.after(0, limit=9),
        lambda: reader.between(0, 9),
        reader.refuse_other_lake,
    ]
    for use in uses:
        with pytest.raises(LakeError, match=r"through 5.*PUNCHCARD_LAKE_URL") as refused:
            use()
        assert refused.value.code == "lake_elsewhere"


def test_a_shared_folder_and_a_data_folder_are_read_without_an_error(tmp_path: Path, store: Store) -> None:
    folder = str(tmp_path / "lake")
    first, second = machine(tmp_path / "first", lake=folder), machine(tmp_path / "second", lake=folder)
    write_lake(first, store, through=5)
    assert open_lake(second, store).find("visit") == []
    # On one machine a lake that was removed is made again from the log.
    assert open_lake(machine(tmp_path / "third", is_shared=False), store).find("visit") == []


def test_a_second_worker_does_not_begin_a_second_lake(tmp_path: Path, store: Store) -> None:
    first, second = machine(tmp_path / "first"), machine(tmp_path / "second")
    refuse_lake_of_its_own(second, store)
    write_lake(first, store, through=5)
    refuse_lake_of_its_own(first, store)
    with pytest.raises(ConfigurationError, match="Set PUNCHCARD_LAKE_URL"):
        refuse_lake_of_its_own(second, store)
    refuse_lake_of_its_own(machine(tmp_path / "second", lake=str(tmp_path / "new")), store)
    refuse_lake_of_its_own(machine(tmp_path / "second", is_shared=False), store)

"""The disk of PostgreSQL is full while visits arrive: each accepted visit is awarded once, when there is room again."""

from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg
import pytest

from punchcard.testing.full_disk import fill
from punchcard.testing.partner.machines import Sender, configured_machines, defects_in, sending_meanwhile
from punchcard.testing.postgres import RestartedPostgres
from punchcard.testing.product import ProductProcess, WorkerProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster

_SEGMENTS = 100  # of the write-ahead log, more than the disk has room for


class SmallDisk:
    """A PostgreSQL server with its files on a small disk of their own.

    Args:
        folder: Of the disk.
    """

    def __init__(self, server: RestartedPostgres, folder: Path) -> None:
        self.server = server
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        fill(self._ballast)

    def use_up_write_ahead_log(self) -> None:
        """Fill the disk with the server's log until the server ends."""
        with suppress(psycopg.Error), psycopg.connect(self.server.url, autocommit=True) as connection:
            for _ in range(_SEGMENTS):
                connection.execute("SELECT pg_create_restore_point('full'), pg_switch_wal()")
        wait_until(lambda: not self.server.is_running())

    def clear(self) -> None:
        """Make room, and start the server if it has ended."""
        self._ballast.unlink()
        if not self.server.is_running():
            self.server.start()


@pytest.fixture
def disk(postgres_on_small_disk: tuple[RestartedPostgres, Path]) -> SmallDisk:
    return SmallDisk(*postgres_on_small_disk)


@pytest.mark.parametrize("ends", [False, True], ids=["the server goes on", "the server ends"])
def test_a_full_disk_of_postgresql_costs_no_award(tmp_path: Path, disk: SmallDisk, ends: bool) -> None:
    sender = Sender("full")
    log = tmp_path / "worker.log"
    with ExitStack() as stack:
        sandbox = stack.enter_context(SandboxProcess(tmp_path / "sandbox"))
        environment = configured_machines(disk.server.url, sandbox, tmp_path) | {
            "PUNCHCARD_LAKE_URL": str(tmp_path / "lake"),
            "PUNCHCARD_LAKE_FLUSH_SECONDS": "0.5",
        }
        serving = stack.enter_context(ProductProcess(tmp_path / "serve", serves_only=True, environment=environment))
        worker = stack.enter_context(
            WorkerProcess(tmp_path / "worker", environment, log, arguments=["--without-engage"])
        )

        def wait_for_more_awards() -> None:
            count = len(sender.awards(sandbox))
            wait_until(lambda: len(sender.awards(sandbox)) > count + 5, lambda: log.read_text()[-3_000:])

        def is_refused() -> bool:
            disk.fill()  # what the server has freed meanwhile, too
            return sender.refused[503] > 3

        with sending_meanwhile(sender, serving):
            wait_for_more_awards()
            disk.fill()
            if ends:
                disk.use_up_write_ahead_log()
            wait_until(is_refused)
            assert "No space left on device" in serving.log or ends
            status, body = serving.call("GET", "/health/ready")
            assert (status, body["reason"]) == (503, "storage_unavailable")
            disk.clear()
            wait_for_more_awards()
        sender.wait_until_awarded(sandbox)
        wait_until(lambda: serving.call("GET", "/health/ready") == (200, {"status": "ready"}))
        assert worker.is_running()
    assert defects_in(serving.log, log.read_text()) == []

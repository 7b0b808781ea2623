"""Bad days of several machines: clocks that differ, two versions at once, a network that is cut. Each award once."""

import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.store.engine import HEAD_MIGRATION
from punchcard.testing.cut_network import CutNetwork, network_to_socket
from punchcard.testing.partner.machines import Sender, configured_machines, defects_in, sending_meanwhile
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster

REPOSITORY = Path(__file__).parents[2]
MIGRATIONS = "src/punchcard/store/migrations/versions"
FAKETIME = sorted((REPOSITORY / "tests/proxies/unpacked").glob("usr/lib/*/faketime/libfaketimeMT.so.1"))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox") / "data") as running:
        yield running


def machines_with_one_lake(url: str, sandbox: SandboxProcess, folder: Path) -> dict[str, str]:
    """Return the settings of all machines, after the configuration was applied."""
    return configured_machines(url, sandbox, folder) | {"PUNCHCARD_LAKE_URL": str(folder / "lake")}


def clock_off_by(minutes: int) -> dict[str, str]:
    """Return the variables of a process on a machine with a wrong clock."""
    if not FAKETIME:
        pytest.skip("there is no libfaketime: `make proxies` unpacks it")
    return {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME": f"{minutes:+}m",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def received_at(serving: ProductProcess, message_id: str) -> datetime:
    """Return when a visit was received, by the clock of the machine that received it."""
    wait_until(lambda: serving.trace(message_id))
    trace = serving.trace(message_id)
    assert trace is not None
    return datetime.fromisoformat(trace["receivedAt"])


def test_clocks_that_differ_by_ten_minutes_cost_nothing(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess
) -> None:
    environment = machines_with_one_lake(postgres_url, sandbox, tmp_path)
    sender = Sender("skewed")
    logs = [tmp_path / f"worker-{number}.log" for number in (1, 2)]
    ahead = environment | clock_off_by(10)
    with (
        ProductProcess(tmp_path / "ahead", serves_only=True, environment=ahead) as first,
        ProductProcess(tmp_path / "exact", serves_only=True, environment=environment) as second,
    ):
        with WorkerProcess(tmp_path / "behind", environment | clock_off_by(-10), logs[0]) as behind:
            sender.send(4, first, second)
            sender.wait_until_awarded(sandbox)
            assert received_at(first, sender.acknowledged[-2]) > datetime.now(UTC) + timedelta(minutes=5)
            sender.send(2, first, second)
            behind.kill()  # perhaps with requests in flight
        sender.send(2, first, second)
        with WorkerProcess(tmp_path / "takes-over", ahead, logs[1]):
            sender.wait_until_awarded(sandbox)
    assert defects_in(first.log, second.log, *(log.read_text() for log in logs)) == []


def test_a_clock_that_is_set_while_visits_arrive_costs_nothing(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess
) -> None:
    shown = tmp_path / "shown"
    shown.write_text("+0")
    set_later = clock_off_by(0) | {"FAKETIME_TIMESTAMP_FILE": str(shown), "FAKETIME_NO_CACHE": "1"}
    del set_later["FAKETIME"]  # it would decide
    environment = machines_with_one_lake(postgres_url, sandbox, tmp_path) | set_later
    sender = Sender("set")
    log = tmp_path / "worker.log"
    wrong_by: list[timedelta] = []
    offsets = [timedelta(), timedelta(days=-400), timedelta(days=400), timedelta(hours=-12)]

    def wait_for_more_awards() -> None:
        count = len(sender.awards(sandbox))
        wait_until(lambda: len(sender.awards(sandbox)) > count + 5)

    with (
        ProductProcess(tmp_path / "serve", serves_only=True, environment=environment) as serving,
        WorkerProcess(tmp_path / "worker", environment, log, arguments=["--without-engage"]),
    ):
        with sending_meanwhile(sender, serving):
            for offset in offsets:
                shown.write_text(f"{offset.total_seconds():+.0f}")
                wait_for_more_awards()
                wrong_by.append(received_at(serving, sender.acknowledged[-1]) - datetime.now(UTC))
        sender.wait_until_awarded(sandbox)
    assert all(abs(by - offset) < timedelta(minutes=30) for by, offset in zip(wrong_by, offsets, strict=True)), wrong_by
    assert defects_in(serving.log, log.read_text()) == []


def remove_while_written(folder: Path) -> None:
    """Remove a folder to which a process writes: a new file in it may come between."""

    def is_removed() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_removed)


def test_a_data_folder_that_is_removed_under_running_machines_costs_no_award(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess
) -> None:
    environment = machines_with_one_lake(postgres_url, sandbox, tmp_path)
    sender = Sender("removed")
    log = tmp_path / "worker.log"
    with (
        ProductProcess(tmp_path / "serve", serves_only=True, environment=environment) as serving,
        WorkerProcess(tmp_path / "worker", environment, log, arguments=["--without-engage"]) as worker,
    ):
        with sending_meanwhile(sender, serving):
            wait_until(lambda: len(sender.awards(sandbox)) > 5)
            remove_while_written(serving.data)
            remove_while_written(tmp_path / "worker")
            count = len(sender.acknowledged)
            wait_until(lambda: len(sender.awards(sandbox)) > count + 10)
        sender.wait_until_awarded(sandbox)
        assert worker.is_running()
        assert serving.call("GET", "/health/ready") == (200, {"status": "ready"})
        folders = (serving.data, tmp_path / "worker")
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 2
    assert defects_in(serving.log, log.read_text()) == []


@pytest.mark.parametrize("storage", ["postgresql", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_a_worker_that_is_frozen_in_the_middle_of_its_requests_doubles_none_when_it_goes_on(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess, request: pytest.FixtureRequest, storage: str
) -> None:
    """Promise: what it had sent is read back by the one that takes over, and what it had claimed it sends no more."""
    environment = machines_with_one_lake(postgres_url, sandbox, tmp_path)
    if storage == "kafka":
        environment["PUNCHCARD_LOG_URL"] = request.getfixturevalue("kafka").url()
    sender = Sender(f"frozen-on-{storage}")
    logs = [tmp_path / f"worker-{number}.log" for number in (1, 2)]
    with (
        ProductProcess(tmp_path / "serve", serves_only=True, environment=environment) as serving,
        WorkerProcess(tmp_path / "first", environment, logs[0], arguments=["--without-engage"]) as first,
    ):
        sender.send(3, serving)
        sender.wait_until_awarded(sandbox)
        sandbox.faults({"latencyMs": 400})  # so that requests are in flight at any moment
        with WorkerProcess(tmp_path / "second", environment, logs[1], arguments=["--without-engage"]):
            with sending_meanwhile(sender, serving):
                wait_until(lambda: len(sender.awards(sandbox)) > 10)
                first.signal(signal.SIGSTOP)
                count = len(sender.acknowledged)
                # The server ends the sessions of a machine that is silent; then the other one takes its roles.
                wait_until(lambda: len(sender.awards(sandbox)) > count + 10)
                first.signal(signal.SIGCONT)
                sandbox.faults({})
                wait_until(lambda: "lost" in logs[0].read_text() or "storage_failed" in logs[0].read_text())
                count = len(sender.acknowledged)
                wait_until(lambda: len(sender.awards(sandbox)) > count + 10)
            sender.wait_until_awarded(sandbox)
            assert first.is_running()
    assert defects_in(serving.log, *(log.read_text() for log in logs)) == []


def earlier_version(folder: Path) -> Path:
    """Return the source folder of the newest commit that did not have the newest migration; skip without a history."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    newest = next((REPOSITORY / MIGRATIONS).glob(f"*{HEAD_MIGRATION}*.py"))
    added = git("log", "--follow", "--diff-filter=A", "--format=%H", "--", str(newest)).splitlines()
    parent = git("rev-parse", "--verify", f"{added[-1]}^1") if added else ""
    if not parent:
        pytest.skip("the version before the newest migration is not in this clone")
    folder.mkdir()
    archive = folder / "source.tar"
    git("archive", "--output", str(archive), parent, "src")
    shutil.unpack_archive(archive, folder, filter="data")
    for built in (REPOSITORY / "src/punchcard").glob("*/built"):
        shutil.copytree(built, folder / built.relative_to(REPOSITORY))
    return folder / "src"


def test_two_versions_run_beside_each_other_during_an_upgrade(
    tmp_path: Path, empty_postgres_url: str, sandbox: SandboxProcess
) -> None:
    version = {"PYTHONPATH": str(earlier_version(tmp_path / "earlier"))}
    sender = Sender("upgraded")
    logs = {name: tmp_path / f"{name}.log" for name in ("old", "new")}
    environment = configured_by(version, empty_postgres_url, sandbox, tmp_path)
    old = environment | version
    assert stored_version(empty_postgres_url) < HEAD_MIGRATION
    with (
        ProductProcess(tmp_path / "old-serve", serves_only=True, environment=old) as first,
        WorkerProcess(tmp_path / "old-worker", old, logs["old"], arguments=["--without-engage"]) as worker,
    ):
        sender.send(3, first)
        sender.wait_until_awarded(sandbox)
        # The first process of the new version changes the tables under those of the old one, while visits arrive.
        with ExitStack() as stack:
            with sending_meanwhile(sender, first):
                second = stack.enter_context(
                    ProductProcess(tmp_path / "new-serve", serves_only=True, environment=environment)
                )
                assert stored_version(empty_postgres_url) == HEAD_MIGRATION
                count = len(sender.acknowledged)
                wait_until(lambda: len(sender.awards(sandbox)) > count)
            sender.send(4, first, second)
            sender.wait_until_awarded(sandbox)
            refused = command("worker", "--data", str(tmp_path / "late"), environment=old)
            assert (refused.returncode != 0, "newer" in refused.stderr) == (True, True), refused.stderr
            with WorkerProcess(tmp_path / "new-worker", environment, logs["new"]):
                sender.send(2, first, second)
                worker.stop()
                first.stop()
                sender.send(3, second)
                sender.wait_until_awarded(sandbox)
    assert defects_in(first.log, second.log, *(log.read_text() for log in logs.values())) == []


def configured_by(version: dict[str, str], url: str, sandbox: SandboxProcess, folder: Path) -> dict[str, str]:
    """Return the settings of all machines, after a version has applied the configuration."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in version.items():
            patch.setenv(name, value)
        return machines_with_one_lake(url, sandbox, folder)


def stored_version(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def network_to(postgres_url: str) -> Iterator[tuple[CutNetwork, str]]:
    """Yield a network, and the URL at which PostgreSQL is reached through it; skip where none can be made."""
    url = make_url(postgres_url)
    with network_to_socket(Path(str(url.query["host"])) / ".s.PGSQL.5432", port=5432) as network:
        there = url.set(host=network.address, query={})
        yield network, there.render_as_string(hide_password=False)


def test_a_machine_that_is_cut_off_is_replaced_and_comes_back(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess
) -> None:
    environment = machines_with_one_lake(postgres_url, sandbox, tmp_path)
    sender = Sender("partitioned")
    logs = [tmp_path / f"worker-{number}.log" for number in (1, 2)]
    with (
        network_to(postgres_url) as (network, url),
        ProductProcess(tmp_path / "serve", serves_only=True, environment=environment) as serving,
    ):
        through = environment | {"PUNCHCARD_DATABASE_URL": url, "PUNCHCARD_LOG_URL": url}
        with WorkerProcess(tmp_path / "first", through, logs[0]) as first:
            sender.send(3, serving)
            sender.wait_until_awarded(sandbox)
            with WorkerProcess(tmp_path / "second", environment, logs[1]):
                with sending_meanwhile(sender, serving):
                    network.cut()
                    at_cut = len(sender.acknowledged)
                    # The server ends the sessions of a machine that is silent; then the other one takes its roles.
                    wait_until(lambda: len(sender.awards(sandbox)) > at_cut + 2)
                    network.restore()
                sender.wait_until_awarded(sandbox)
                wait_until(lambda: "storage_failed" in logs[0].read_text())
                assert first.is_running()
    assert defects_in(serving.log, *(log.read_text() for log in logs)) == []


def test_a_session_left_idle_in_a_transaction_delays_awards_and_is_named(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess
) -> None:
    environment = machines_with_one_lake(postgres_url, sandbox, tmp_path)
    sender = Sender("idle")
    log = tmp_path / "worker.log"
    with (
        ProductProcess(tmp_path / "serve", serves_only=True, environment=environment) as serving,
        WorkerProcess(tmp_path / "worker", environment, log, arguments=["--without-engage"]) as worker,
    ):
        sender.send(3, serving)
        sender.wait_until_awarded(sandbox)
        with psycopg.connect(postgres_url) as operator:  # who looks at something, and leaves
            operator.execute("SELECT * FROM log_positions FOR UPDATE").fetchall()
            operator.execute("SELECT * FROM effects FOR UPDATE").fetchall()
            sender.send(5, serving)
            wait_until(lambda: "pg_terminate_backend" in log.read_text())
            sender.send(2, serving)
            assert len(sender.awards(sandbox)) == 3
        sender.wait_until_awarded(sandbox)
        assert worker.is_running()
    assert defects_in(serving.log, log.read_text()) == []

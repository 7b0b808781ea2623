"""`punchcard doctor`: each fault has its line with what to do, and nothing is created or changed."""

import json
import socket
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from punchcard.cli.running import run
from punchcard.clock import SystemClock
from punchcard.log.sqlite import SqliteEventLog
from punchcard.runtime.diagnosis import Diagnosis, Health
from punchcard.runtime.doctor import diagnose
from punchcard.store.engine import Store
from punchcard.store.operations.heartbeats import Heartbeat, write_heartbeat
from punchcard.testing.certificates import make_certificate
from punchcard.testing.listening import ListeningApp
from punchcard.testing.ports import reserved_port

CONFIG = '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n'


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of an installation that was started before."""
    for name in ("PUNCHCARD_DATA", "PUNCHCARD_DATABASE_URL", "PUNCHCARD_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "punchcard.toml").write_text(CONFIG)
    assert run(["apply", str(tmp_path / "punchcard.toml"), "--data", str(tmp_path / "data")]) == 0
    SqliteEventLog(tmp_path / "data" / "log.db").close()
    return tmp_path / "data"


def report(data: Path, environment: Mapping[str, str] | None = None, *, config: Path | None = None) -> list[Diagnosis]:
    with reserved_port() as port:
        variables = {"PUNCHCARD_PORT": str(port), **(environment or {})}
        return list(diagnose(variables, data=data, config=config, asks_partners=False))


def faults(diagnoses: list[Diagnosis]) -> dict[str, Health]:
    # The machine of the tests may have a full disk or a clock without NTP; and nothing runs.
    others = ("disk", "clock", "open files", "configuration", "App")
    return {
        each.subject: each.health for each in diagnoses if each.health is not Health.OK and each.subject not in others
    }


def certificate(cert: Path, key: Path) -> dict[str, str]:
    return {"PUNCHCARD_TLS_CERT": str(cert), "PUNCHCARD_TLS_KEY": str(key)}


def everything_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mode) for path in folder.rglob("*")}


def test_a_machine_without_data_is_examined_and_left_as_it_is(tmp_path: Path) -> None:
    diagnoses = report(tmp_path / "data")
    assert faults(diagnoses) == {}
    assert {"Python", "versions", "settings", "disk", "data folder", "clock", "store", "port"} <= {
        each.subject for each in diagnoses
    }
    assert everything_in(tmp_path) == {}


def test_a_folder_that_cannot_be_looked_at_is_examined_to_the_end(tmp_path: Path) -> None:
    unreadable = tmp_path / ("x" * 300)  # as a folder of another user, which the tests cannot make if they run as root
    assert [each.subject for each in report(unreadable)][-1] == "port"


def test_a_sound_installation_has_no_fault_and_is_not_changed(data: Path) -> None:
    before = everything_in(data)
    assert faults(report(data)) == {}
    after = everything_in(data)
    changed = {Path(name).name for name in after if after[name] != before.get(name)}
    assert {name for name in changed if not name.endswith(("-wal", "-shm"))} == set()


def test_each_fault_has_its_line_and_a_remedy(data: Path, tmp_path: Path) -> None:
    good, expiring, expired = (
        make_certificate(tmp_path, name, days=days) for name, days in (("good", 90), ("expiring", 5), ("expired", -2))
    )
    newer = tmp_path / "newer"
    newer.mkdir(mode=0o700)
    with closing(sqlite3.connect(newer / "punchcard.db")) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    (newer / "punchcard.db").chmod(0o600)
    damaged = tmp_path / "damaged"
    damaged.mkdir(mode=0o700)
    (damaged / "punchcard.db").write_bytes(b"no database" * 1_000)
    (damaged / "punchcard.db").chmod(0o600)
    (tmp_path / "file").write_text("")
    (tmp_path / "wrong.toml").write_text("[[sources]]\n")
    cases: list[tuple[str, Health, dict[str, str], Path, Path | None]] = [
        ("settings", Health.PROBLEM, {"PUNCHCARD_PORTS": "1"}, data, None),
        ("settings", Health.PROBLEM, {"PUNCHCARD_HOST": "127.0.0.1", "PUNCHCARD_LOG_LEVEL": "loud"}, data, None),
        ("config file", Health.PROBLEM, {}, data, tmp_path / "wrong.toml"),
        ("config file", Health.PROBLEM, {}, data, tmp_path / "missing.toml"),
        ("secret key", Health.WARNING, {"PUNCHCARD_SECRET_KEY": "short"}, tmp_path / "none", None),
        ("TLS", Health.PROBLEM, {"PUNCHCARD_TLS_CERT": str(tmp_path / "missing.crt")}, data, None),
        ("TLS", Health.PROBLEM, certificate(good[0], expired[1]), data, None),
        ("TLS", Health.PROBLEM, certificate(*expired), data, None),
        ("TLS", Health.WARNING, certificate(*expiring), data, None),
        ("store", Health.PROBLEM, {"PUNCHCARD_DATABASE_URL": "postgresql://127.0.0.1:9/none"}, data, None),
        ("store", Health.PROBLEM, {"PUNCHCARD_LOG_URL": "postgresql://127.0.0.1:9/none"}, data, None),
        ("store", Health.PROBLEM, {}, newer, None),
        ("store", Health.PROBLEM, {}, damaged, None),
        ("data folder", Health.PROBLEM, {}, tmp_path / "file", None),
    ]
    remedies = {}
    for subject, health, environment, folder, config in cases:
        diagnoses = report(folder, environment, config=config)
        fault = next(each for each in diagnoses if each.subject == subject and each.health is not Health.OK)
        assert fault.health is health, fault
        assert fault.remedy, fault
        remedies[folder.name, subject, *environment] = fault.remedy
    assert "PUNCHCARD_DATABASE_URL" in remedies["data", "store", "PUNCHCARD_DATABASE_URL"]
    assert "settings.md" in remedies["data", "store", "PUNCHCARD_LOG_URL"]
    assert "back-up.md" in remedies["damaged", "store"]
    sound = report(data, certificate(*good))
    assert faults(sound) == {}


def test_a_folder_that_others_can_read_is_named(data: Path) -> None:
    data.chmod(0o755)
    readable = [data / name for name in ("punchcard.db", "engage.duckdb", "engage-1-of-4.duckdb", "log.db-wal")]
    for path in readable:
        path.touch()
        path.chmod(0o644)
    diagnoses = report(data)
    assert faults(diagnoses) == {"data folder": Health.WARNING}
    (fault,) = [each for each in diagnoses if each.subject == "data folder"]
    assert [path for path in readable if str(path) not in fault.message] == []


def test_an_older_database_is_not_upgraded(data: Path) -> None:
    with closing(sqlite3.connect(data / "punchcard.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert faults(report(data)) == {"store": Health.WARNING}
    with closing(sqlite3.connect(data / "punchcard.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_running_processes_are_found_and_silent_ones_are_named(data: Path) -> None:
    now = SystemClock().now()
    store = Store(f"sqlite:///{data / 'punchcard.db'}")
    with store.unit_of_work() as work:
        write_heartbeat(work, Heartbeat(process="serve", host="a", seen_at=now))
        write_heartbeat(work, Heartbeat(process="worker", host="a", seen_at=now - timedelta(hours=1)))
    store.close()
    diagnoses = {each.subject: each for each in report(data)}
    assert diagnoses["serve"].message == "is running on a"
    assert diagnoses["worker"].health is Health.WARNING
    assert "engage" not in diagnoses


@pytest.mark.parametrize("is_punchcard", [True, False])
def test_who_uses_the_port_is_found_out(tmp_path: Path, *, is_punchcard: bool) -> None:
    body = b'{"status":"live"}' if is_punchcard else b"hello"

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": body})  # type: ignore[operator]

    with ListeningApp(log=None, build=lambda _: app) as listening:  # type: ignore[arg-type]  # which appends nothing
        diagnoses = report(tmp_path / "data", {"PUNCHCARD_PORT": str(listening.port)})
    assert diagnoses[-1].health is (Health.OK if is_punchcard else Health.PROBLEM)


def test_a_program_that_listens_and_never_answers_is_a_problem(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        diagnoses = report(tmp_path / "data", {"PUNCHCARD_PORT": str(silent.getsockname()[1])})
    assert diagnoses[-1].health is Health.PROBLEM


def test_a_postgresql_server_is_looked_at_without_making_tables(tmp_path: Path, empty_postgres_url: str) -> None:
    environment = {"PUNCHCARD_DATABASE_URL": empty_postgres_url}
    messages = {each.subject: each.message for each in report(tmp_path / "data", environment)}
    assert messages["store"] == "has no tables yet; the first start creates them"
    assert "PostgreSQL" in messages
    assert {each.subject: each.message for each in report(tmp_path / "data", environment)}["store"] == messages["store"]


def test_the_exit_status_and_json_say_whether_there_is_a_problem(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserved_port() as port:
        monkeypatch.setenv("PUNCHCARD_PORT", str(port))
        capsys.readouterr()
        run(["doctor", "--data", str(data), "--json"])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {frozenset(line) for line in lines} == {frozenset({"subject", "status", "message", "remedy"})}
        monkeypatch.setenv("PUNCHCARD_PORTS", "1")
        assert run(["doctor", "--data", str(data)]) == 1
        output = capsys.readouterr()
    printed = output.out
    assert "problem  settings: PUNCHCARD_PORTS: There is no such setting." in printed
    assert "→ " in printed
    assert output.err.startswith("1 problem, ")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(("limit", "health"), [(2, Health.PROBLEM), (30, Health.WARNING), (60, None)])
def test_too_few_connections_at_postgresql_are_noticed(
    tmp_path: Path, empty_postgres_url: str, limit: int, health: Health | None
) -> None:
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" CONNECTION LIMIT {limit}'.encode())
    diagnoses = report(tmp_path / "data", {"PUNCHCARD_DATABASE_URL": empty_postgres_url})
    assert faults(diagnoses).get("connections") is health
    assert all(f"may have {limit} " in each.message for each in diagnoses if each.subject == "connections")

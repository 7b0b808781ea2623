"""PostgreSQL has a bad day while visits arrive: each accepted visit is awarded once, whatever it was."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.postgres import has_ended
from punchcard.testing.impatient_proxy import ImpatientProxy, impatient_proxy
from punchcard.testing.partner.machines import Sender, configured_machines, defects_in, sending_meanwhile
from punchcard.testing.postgres import RestartedPostgres
from punchcard.testing.product import ProductProcess, WorkerProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster

_ROLE = "punchcard"
_DATABASE = "awards"
_SESSIONS = f"FROM pg_stat_activity WHERE usename = '{_ROLE}'"


@dataclass
class Machines:
    """A serving machine and a worker, which reach PostgreSQL through a proxy and as a user without privileges.

    Attributes:
        administration: The URL of their database for its administrator.
    """

    server: RestartedPostgres
    administration: str
    proxy: ImpatientProxy
    sandbox: SandboxProcess
    serving: ProductProcess
    worker: WorkerProcess
    worker_log: Path

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Execute statements as the administrator; return the rows of the last one."""
        with psycopg.connect(self.administration, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_sessions(self) -> None:
        """End all sessions of the machines: the next ones have what was set since."""
        self.execute(f"SELECT pg_terminate_backend(pid) {_SESSIONS}")

    def is_failing(self) -> bool:
        """Return whether the serving machine says that it is not ready."""
        return self.serving.call("GET", "/health/ready")[0] == 503


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, module_postgres: RestartedPostgres) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    url = make_url(module_postgres.url)
    with psycopg.connect(module_postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {_ROLE} LOGIN".encode())
        connection.execute(f"CREATE DATABASE {_DATABASE} OWNER {_ROLE}".encode())
    with ExitStack() as stack:
        proxy = stack.enter_context(impatient_proxy(Path(str(url.query["host"])) / ".s.PGSQL.5432"))
        sandbox = stack.enter_context(SandboxProcess(folder / "sandbox"))
        through = f"postgresql://{_ROLE}@127.0.0.1:{proxy.port}/{_DATABASE}"
        environment = configured_machines(through, sandbox, folder) | {
            "PUNCHCARD_LAKE_URL": str(folder / "lake"),
            "PUNCHCARD_LAKE_FLUSH_SECONDS": "0.5",
        }
        serving = stack.enter_context(ProductProcess(folder / "serve", serves_only=True, environment=environment))
        log = folder / "worker.log"
        worker = stack.enter_context(WorkerProcess(folder / "worker", environment, log, arguments=["--without-engage"]))
        administration = url.set(database=_DATABASE).render_as_string(hide_password=False)
        yield Machines(module_postgres, administration, proxy, sandbox, serving, worker, log)


@contextmanager
def session_killed_while_it_records(machines: Machines) -> Iterator[None]:
    """Kill the server's process of a session that records an attempt: the server ends all others, and recovers."""
    with psycopg.connect(machines.administration) as operator:
        operator.execute("LOCK TABLE delivery_attempts IN SHARE MODE")
        waiting = f"SELECT pid {_SESSIONS} AND wait_event_type = 'Lock' AND query LIKE '%delivery_attempts%'"
        (pid,) = wait_until(lambda: machines.execute(waiting))[0]
        os.kill(int(str(pid)), signal.SIGKILL)
        wait_until(lambda: has_ended(operator))
    yield


@contextmanager
def server_killed(machines: Machines) -> Iterator[None]:
    """Kill the first process of the server, and with it all others."""
    machines.server.kill()
    try:
        yield
    finally:
        machines.server.start()


@contextmanager
def read_only(machines: Machines) -> Iterator[None]:
    """Let nothing be written any more, in sessions that are there and in new ones, as after a switch of servers."""
    machines.execute("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    wait_until(machines.is_failing)  # in sessions that were there
    machines.end_sessions()
    try:
        yield
    finally:
        machines.execute("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


@contextmanager
def too_many_connections(machines: Machines) -> Iterator[None]:
    """Let the machines have fewer connections than they need, then none."""
    machines.execute(f"ALTER ROLE {_ROLE} CONNECTION LIMIT 2")
    machines.end_sessions()
    wait_until(lambda: "too many connections" in machines.serving.log + machines.worker_log.read_text())
    machines.execute(f"ALTER ROLE {_ROLE} CONNECTION LIMIT 0")
    machines.end_sessions()
    try:
        yield
    finally:
        machines.execute(f"ALTER ROLE {_ROLE} CONNECTION LIMIT -1")


@contextmanager
def defaults_of_an_operator(machines: Machines) -> Iterator[None]:
    """Set for our user what suits others: statements end soon, and transactions are serializable."""
    settings = {
        "statement_timeout": "1ms",
        "default_transaction_isolation": "serializable",
        "idle_session_timeout": "1s",
    }
    for name, value in settings.items():
        machines.execute(f"ALTER ROLE {_ROLE} SET {name} = '{value}'")
    machines.end_sessions()
    try:
        yield
    finally:
        machines.execute(f"ALTER ROLE {_ROLE} RESET ALL")
        machines.end_sessions()


@contextmanager
def idle_connections_reset(machines: Machines) -> Iterator[None]:
    """Reset each connection that was idle for a moment, as firewalls and balancers do after longer."""
    resets = machines.proxy.resets
    machines.proxy.idle_seconds = 0.3
    try:
        yield
    finally:
        machines.proxy.idle_seconds = float("inf")
    assert machines.proxy.resets > resets


Fault = Callable[[Machines], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("fault", "are_awarded_meanwhile"),
    [
        (session_killed_while_it_records, True),
        (server_killed, False),
        (read_only, False),
        (too_many_connections, False),
        (defaults_of_an_operator, True),
        (idle_connections_reset, True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_accepted_visit_is_awarded_once(machines: Machines, fault: Fault, are_awarded_meanwhile: bool) -> None:
    serving, sandbox = machines.serving, machines.sandbox
    sender = Sender(fault.__name__)

    def wait_for_more_awards() -> None:
        count = len(sender.awards(sandbox))
        wait_until(lambda: len(sender.awards(sandbox)) > count + 5, lambda: machines.worker_log.read_text()[-3_000:])

    with sending_meanwhile(sender, serving):
        wait_for_more_awards()
        with fault(machines):
            if are_awarded_meanwhile:
                wait_for_more_awards()
            else:
                refused = sender.refused[503]
                wait_until(lambda: sender.refused[503] > refused + 3)
        wait_for_more_awards()
    sender.wait_until_awarded(sandbox)
    wait_until(lambda: serving.call("GET", "/health/ready") == (200, {"status": "ready"}))
    assert machines.worker.is_running()
    assert defects_in(serving.log, machines.worker_log.read_text()) == []

"""Processes that start before their storage: they say what they wait for, and go on by themselves once it is there."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import tomli_w

from punchcard.testing.kafka import kafka_cluster
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.ports import reserved_port
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster


def awaited(log: Path, *names: str) -> bool:
    """Return whether the process of this log waits for something with each of these names, by its log."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    errors = [line["error"] for line in lines if line["event"] == "storage_awaited"]
    return any(all(name in error for name in names) for error in errors)


def response_of(url: str) -> tuple[int, Any]:
    try:
        with urlopen(url) as response:
            return response.status, json.load(response)
    except HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)
    except OSError:  # nobody listens yet
        return 0, None


@contextmanager
def started_first(
    folder: Path, storage: Mapping[str, str], *, name: str, start_storage: Callable[[], object]
) -> Iterator[ProductProcess]:
    """Start `serve`, `worker` and `engage`, then the storage; yield the serving process once it is ready.

    Args:
        name: Occurs in what each process waits for, by its log.
    """
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        port = stack.enter_context(reserved_port())
        serving = threads.submit(ProductProcess, folder / "serving", serves_only=True, environment=storage, port=port)
        logs = {half: folder / f"{half}.log" for half in ("worker", "engage")}
        for half, log in logs.items():
            arguments = ["--without-engage"] if half == "worker" else []
            process = WorkerProcess(folder / half, storage, log, arguments=arguments, half=half)
            stack.callback(process.stop)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: response_of(f"{address}/health/live")[0] == 200)
            status, body = response_of(f"{address}/health/ready")
            assert (status, body["reason"], name in body["message"]) == (503, "storage_unavailable", True), body
            status, body = response_of(f"{address}/v1/pixel/track?data=e30")
            assert (status, body["code"]) == (503, "storage_unavailable")
            for log in (folder / "serving" / "up.log", logs["worker"]):
                wait_until(partial(awaited, log, name))
        finally:
            start_storage()
            product = serving.result()
            stack.callback(product.stop)
        yield product


def configured(folder: Path, storage: Mapping[str, str], sandbox: SandboxProcess) -> dict[str, str]:
    """Return the settings of all machines, after the configuration was applied from another one."""
    environment = {
        **storage,
        "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
        "PUNCHCARD_LAKE_URL": str(folder / "lake"),
    }
    config = folder / "punchcard.toml"
    config.write_text(tomli_w.dumps(configuration(perkville_url=sandbox.url)))
    applied = command("apply", str(config), "--data", str(folder / "office"), environment=environment)
    assert applied.returncode == 0, applied.stderr
    return environment


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


def test_processes_wait_for_postgresql(tmp_path: Path, own_postgres: Any, sandbox: SandboxProcess) -> None:
    shared = {"PUNCHCARD_DATABASE_URL": own_postgres.url, "PUNCHCARD_LOG_URL": own_postgres.url}
    environment = configured(tmp_path, shared, sandbox)
    own_postgres.stop()
    with WorkerProcess(tmp_path / "other", environment, tmp_path / "other.log") as other:
        wait_until(lambda: awaited(tmp_path / "other.log", "connection"))
        assert other.stop() == 0
    with started_first(tmp_path, environment, name="connection", start_storage=own_postgres.start) as product:
        assert awaited(tmp_path / "engage.log", "connection")
        assert product.track("Checked In", {"email": "ann@example.com"}, messageId="visit-1") == 200
        assert product.wait_for_status("visit-1", "delivered")
    assert len(sandbox.transactions()) == 1


@pytest.mark.kafka
def test_processes_wait_for_kafka(tmp_path: Path, kafka_jars: Path, postgres_url: str, sandbox: SandboxProcess) -> None:
    with kafka_cluster(tmp_path / "kafka", kafka_jars) as cluster:
        shared = {"PUNCHCARD_DATABASE_URL": postgres_url, "PUNCHCARD_LOG_URL": cluster.url("events")}
        environment = configured(tmp_path, shared, sandbox)
        (broker,) = cluster.brokers
        broker.kill()
        with started_first(tmp_path, environment, name=broker.address, start_storage=broker.start) as product:
            assert product.track("Checked In", {"email": "ann@example.com"}, messageId="visit-1") == 200
            assert product.wait_for_status("visit-1", "delivered")
    assert len(sandbox.transactions()) == 1

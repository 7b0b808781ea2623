"""A worker on SQLite is frozen for longer than its requests may take, while another one stands by: no award twice."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tomli_w

from punchcard.delivery.stages import lease_seconds
from punchcard.destinations.port import DeliveryOptions
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.partner.machines import Sender, defects_in, sending_meanwhile
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster

OPTIONS = {"requestTimeoutSeconds": 1, "unknownWaitSeconds": 0.5, "retryBaseSeconds": 0.1}
LEASE_SECONDS = lease_seconds(DeliveryOptions(request_timeout_seconds=1, unknown_wait_seconds=0.5))
ON_THE_WAY: dict[str, object] = {"latencyMs": 500}  # so that there are requests in flight at any moment


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def serving(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    """A serving process, with its data folder beside its config file."""
    folder = tmp_path / "machine"
    folder.mkdir()
    config = folder / "punchcard.toml"
    config.write_text(tomli_w.dumps(configuration(perkville_url=sandbox.url, options=OPTIONS)))
    applied = command("apply", str(config), "--data", str(folder / "data"))
    assert applied.returncode == 0, applied.stderr
    with ProductProcess(folder, serves_only=True) as running:
        yield running


def test_a_frozen_worker_keeps_its_role_and_whoever_goes_on_awards_each_visit_once(
    tmp_path: Path, sandbox: SandboxProcess, serving: ProductProcess
) -> None:
    """Its lock on a file ends with the process, however long that is frozen: the other worker waits for its end."""
    sender = Sender("frozen")
    logs = [tmp_path / f"worker-{number}.log" for number in (1, 2)]

    def wait_for_more_awards() -> None:
        count = len(sender.awards(sandbox))
        wait_until(lambda: len(sender.awards(sandbox)) > count + 5)

    def nothing_lands() -> bool:
        landed, acknowledged = sender.awards(sandbox), len(sender.acknowledged)
        threading.Event().wait(1.0)
        wait_until(lambda: len(sender.acknowledged) > acknowledged)
        return sender.awards(sandbox) == landed

    first = WorkerProcess(serving.data, {}, logs[0], arguments=["--without-engage"])
    try:
        with ExitStack() as stack:
            with sending_meanwhile(sender, serving):
                wait_for_more_awards()
                sandbox.faults(ON_THE_WAY)
                wait_for_more_awards()
                first.signal(signal.SIGSTOP)
                second = stack.enter_context(WorkerProcess(serving.data, {}, logs[1], arguments=["--without-engage"]))
                threading.Event().wait(LEASE_SECONDS + 1.0)
                wait_until(nothing_lands, lambda: f"frozen with {len(sender.acknowledged)}, then {sender.refused}")
                first.signal(signal.SIGCONT)
                wait_for_more_awards()
                first.signal(signal.SIGSTOP)
                first.kill()  # the other one takes over, and reads back what was in flight
                sandbox.faults({})
                wait_for_more_awards()
            sender.send(1, serving)
            sender.wait_until_awarded(sandbox)
            assert second.is_running()
    finally:
        first.signal(signal.SIGCONT)
        first.stop()
    assert defects_in(serving.log, *(log.read_text() for log in logs)) == []

"""Several serving processes on one port, with one log: nothing acknowledged is lost, whichever of them ends."""

import itertools
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from punchcard.errors import PunchcardError
from punchcard.log.sqlite import SqliteEventLog
from punchcard.runtime.listening import bind_sockets
from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.waiting import wait_until

PROCESSES = 3
CONTENT = {"sources": [{"slug": "website", "write_key": WRITE_KEY}]}


@pytest.fixture
def product(tmp_path: Path) -> Iterator[ProductProcess]:
    with ProductProcess(tmp_path, CONTENT, arguments=["--processes", str(PROCESSES)]) as running:
        wait_until(lambda: len(listening_pids(running.port)) == PROCESSES, "some do not listen")
        yield running


def listening_pids(port: int) -> list[int]:
    """The processes that listen on a port of this machine, in no order."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    holders: dict[str, list[int]] = {}
    for pid in psutil.pids():
        for target in inodes.intersection(open_files(pid)):
            holders.setdefault(target, []).append(pid)
    # The first process holds all of them: a socket is its own unless another process has it too.
    return [max(pids) for pids in holders.values()]


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process refer to; nothing once it has ended."""
    targets = []
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                targets.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return targets


def metric(product: ProductProcess, name: str) -> float:
    _, text = product.call("GET", "/metrics")
    values = [line.rpartition(" ")[2] for line in str(text).splitlines() if line.startswith(name)]
    return sum(map(float, values))


def serving_children(product: ProductProcess) -> list[int]:
    return [pid for pid in listening_pids(product.port) if pid != product.pid]


class Senders:
    """Threads that send events, each request on a connection of its own."""

    def __init__(self, product: ProductProcess, threads: int = 4) -> None:
        self._product = product
        self._ending = threading.Event()
        self.acknowledged: list[str] = []
        self.unanswered = 0
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            message_id = f"m{next(self._numbers)}"
            if self._product.track("Checked In", {}, messageId=message_id) == 200:
                self.acknowledged.append(message_id)
            else:
                self.unanswered += 1

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


def test_one_process_is_killed_under_load(product: ProductProcess) -> None:
    """Promise: each acknowledged event is in the log, and another process takes the place of the killed one."""
    senders = Senders(product)
    try:
        wait_until(lambda: len(senders.acknowledged) > 100)
        for _ in range(2):
            victim = serving_children(product)[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: victim not in listening_pids(product.port))  # noqa: B023
            wait_until(lambda: len(serving_children(product)) == PROCESSES - 1, "no other took its place")
            count = len(senders.acknowledged)
            wait_until(lambda: len(senders.acknowledged) > count + 50)  # noqa: B023
    finally:
        senders.end()
    assert product.logged("serve_stopped")
    # Counts of processes that were killed are kept; a response may have been counted but not received.
    wait_until(lambda: metric(product, "punchcard_ingest_requests_total") >= len(senders.acknowledged) - 200)
    assert product.stop() == 0
    log = SqliteEventLog(product.data / "log.db")
    bodies = [record.body for record in log.read(0, records_max=10**6, bytes_max=1 << 40)]
    log.close()
    copies = Counter(
        message_id for body in bodies for message_id in [body.partition(b'"messageId": "')[2].partition(b'"')[0]]
    )
    missing = [message_id for message_id in senders.acknowledged if copies[message_id.encode()] != 1]
    assert missing == []


def test_they_share_memory_metrics_and_the_end(product: ProductProcess) -> None:
    names = {Path(f"/proc/{pid}/comm").read_text() for pid in serving_children(product)}
    assert names == {"punchcard-serve\n"}  # forked: a new interpreter has another name
    assert Path(f"/proc/{product.worker_pid()}/comm").read_text() == "punchcard-worke\n"
    with ExitStack() as opened:
        for _ in range(30):
            opened.enter_context(socket.create_connection(("127.0.0.1", product.port)))
        wait_until(lambda: metric(product, "punchcard_http_connections ") == 31)  # and the one that asks
    wait_until(lambda: metric(product, "punchcard_http_connections ") == 1)
    for number in range(40):
        assert product.track("Checked In", {}, messageId=f"n{number}") == 200
    wait_until(lambda: metric(product, 'punchcard_ingest_requests_total{call="track",status="200"}') == 40)
    for _ in range(10):  # whichever process answers: App and API are the same
        assert product.call("GET", "/api/sources")[0] == 200
    product.kill()
    wait_until(lambda: not listening_pids(product.port), "processes outlive the first one")


def test_a_port_is_not_shared_with_another_product() -> None:
    first = bind_sockets("127.0.0.1", 0, count=2)
    port = first[0].getsockname()[1]
    for bound in first:
        bound.listen()
    try:
        assert {bound.getsockname()[1] for bound in first} == {port}
        for count in (1, 2):
            with pytest.raises(PunchcardError, match="Choose another port"):
                bind_sockets("127.0.0.1", port, count=count)
    finally:
        for bound in first:
            bound.close()

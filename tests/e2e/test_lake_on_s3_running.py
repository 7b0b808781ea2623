"""The whole product with its lake on S3: what operators use reads it, and awards do not wait for it."""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.s3_server import S3Server
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.slow_proxy import slow_proxy
from punchcard.testing.unreliable_s3 import Fault, unreliable_s3
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster

_PAGES_AT_ONCE_MAX = 32  # threads of a serving process for pages, with many cores
_READERS = 40


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def own_server(tmp_path: Path, s3_server: S3Server) -> Iterator[S3Server]:
    """A server that a test may stop and freeze; skipped where `s3_server` is."""
    server = S3Server(tmp_path / "s3")
    yield server
    server.stop()


def check_in(product: ProductProcess, message_id: str) -> None:
    properties = {"email": f"{message_id}@example.com"}
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": properties}
    assert product.send("track", event)[0] == 200


def output_of(product: ProductProcess, *words: str) -> str:
    """Return what a command prints, which must succeed."""
    done = command(*words, "--data", str(product.data))
    assert done.returncode == 0, done.stderr
    return done.stdout


def message_ids_in_lake(product: ProductProcess) -> list[str]:
    query = ("lake", "query", "SELECT message_id FROM events ORDER BY 1", "--json")
    return [json.loads(line)["message_id"] for line in output_of(product, *query).splitlines()]


def lake_state(product: ProductProcess) -> str:
    return str(product.call("GET", "/health/ready")[1].get("lake", {}).get("status", ""))


def assert_outage_is_shown(product: ProductProcess) -> None:
    """See that each surface shows the cause, and nobody is asked to repair a lake that is whole."""

    def alerts_about_endpoint() -> list[str]:
        alerts = product.call("GET", "/api/alerts")[1]["data"]["alerts"]
        return [text for text in map(json.dumps, alerts) if "AWS_ENDPOINT_URL" in text]

    wait_until(lambda: lake_state(product) == "unavailable")
    assert product.call("GET", "/health/ready")[0] == 200
    assert "punchcard_lake_failing 1" in product.call("GET", "/metrics")[1]
    assert not any("lake repair" in text for text in wait_until(alerts_about_endpoint))
    done = command("lake", "query", "FROM events", "--data", str(product.data))
    assert (done.returncode != 0, "AWS_ENDPOINT_URL" in done.stderr) == (True, True)


def assert_lake_is_whole(product: ProductProcess, visits: list[str]) -> None:
    """See that all that operators use reads every visit."""
    wait_until(lambda: len(message_ids_in_lake(product)) == len(visits))
    assert message_ids_in_lake(product) == sorted(visits)
    assert visits[2] in output_of(product, "trace", visits[2])
    wait_until(lambda: len(product.call("GET", "/api/events")[1]["data"]["events"]) == min(100, len(visits)))
    assert "merged" in output_of(product, "lake", "compact")
    assert "nothing to repair" in output_of(product, "lake", "repair")
    wait_until(lambda: lake_state(product) == "")
    assert str(len(visits)) in output_of(product, "simulate", "--since", "1d")


SOAK_SECONDS = float(os.environ.get("TEST_OUTAGE_SECONDS", "300"))


@pytest.mark.parametrize(
    ("away", "outage_seconds"),
    [
        ("refusing", 0.0),
        pytest.param("refusing", SOAK_SECONDS, marks=pytest.mark.soak, id="refusing-for-minutes"),
        pytest.param("frozen", SOAK_SECONDS, marks=pytest.mark.soak, id="frozen-for-minutes"),
    ],
)
def test_awards_go_on_while_s3_is_away_and_the_lake_gets_every_event(
    tmp_path: Path,
    sandbox: SandboxProcess,
    own_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    away: str,
    outage_seconds: float,
) -> None:
    environment = {**own_server.environment(), "PUNCHCARD_LAKE_URL": own_server.new_lake()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = {"PUNCHCARD_LAKE_UPLOAD_SECONDS": "0.2"}
    visits: list[str] = []
    with ProductProcess(
        tmp_path / "product", configuration(perkville_url=sandbox.url), environment=settings
    ) as product:

        def visit() -> None:
            visits.append(f"visit-{len(visits)}")
            check_in(product, visits[-1])
            wait_until(lambda: len(sandbox.transactions()) == len(visits))  # while nobody can read the lake

        visit()
        wait_until(lambda: "punchcard_lake_position 1" in product.call("GET", "/metrics")[1])
        own_server.stop() if away == "refusing" else own_server.freeze()
        for _ in range(3):
            visit()
        assert_outage_is_shown(product)
        product.kill_worker()  # another one starts without the lake
        visit()
        back_at = time.monotonic() + outage_seconds
        while time.monotonic() < back_at:  # awards go on all the time
            visit()
            time.sleep(1.0)
        own_server.start() if away == "refusing" else own_server.thaw()
        assert_lake_is_whole(product, visits)
        booked = [transaction["trans_source_id"] for transaction in sandbox.transactions()]
        assert sorted(booked) == sorted(f"SEG:website:EVENT:{message_id}" for message_id in visits)


def test_health_and_metrics_do_not_wait_for_those_that_read_a_lake_that_does_not_answer(
    tmp_path: Path, sandbox: SandboxProcess, own_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**own_server.environment(), "PUNCHCARD_LAKE_URL": own_server.new_lake()}.items():
        monkeypatch.setenv(name, value)
    settings = {"PUNCHCARD_LAKE_UPLOAD_SECONDS": "0.2"}
    content = configuration(perkville_url=sandbox.url)
    with ProductProcess(tmp_path / "product", content, environment=settings) as product:

        def read_events() -> None:
            product.call("GET", "/api/events")

        check_in(product, "visit")
        wait_until(lambda: "punchcard_lake_position 1" in product.call("GET", "/metrics")[1])
        read_events()
        own_server.freeze()
        readers = [threading.Thread(target=read_events) for _ in range(_READERS)]
        for reader in readers:
            reader.start()
        wait_until(lambda: connections_to(own_server.port) > 0)
        assert product.call("GET", "/metrics")[0] == 200
        assert product.call("GET", "/health/ready")[0] == 200
        assert sum(reader.is_alive() for reader in readers) > _PAGES_AT_ONCE_MAX  # they wait still
        own_server.thaw()
        for reader in readers:
            reader.join()


def connections_to(port: int) -> int:
    """Return how many connections of this machine to a port have been accepted."""
    return sum(
        connection.status == psutil.CONN_ESTABLISHED and connection.raddr.port == port
        for connection in psutil.net_connections("tcp4")
        if connection.raddr
    )


def metric(product: ProductProcess, name: str) -> float:
    line = re.search(rf"^{name} (\S+)$", product.call("GET", "/metrics")[1], re.MULTILINE)
    assert line, name
    return float(line[1])


_SLOW_VISITS = 8
_LATE_SECONDS = (0.5, 3.0)  # of each response; a request may take 15 seconds


def test_awards_do_not_wait_for_a_slow_s3_and_the_lake_gets_every_event(
    tmp_path: Path, sandbox: SandboxProcess, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[str] = []
    lacking: list[float] = []  # what the lake lacks when an award arrives
    with slow_proxy(s3_server.port) as proxy:
        for name, value in s3_server.environment(endpoint=proxy.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PUNCHCARD_LAKE_URL", s3_server.new_lake())
        settings = {"PUNCHCARD_LAKE_UPLOAD_SECONDS": "0.2"}
        content = configuration(perkville_url=sandbox.url)
        with ProductProcess(tmp_path / "product", content, environment=settings) as product:

            def visit() -> None:
                visits.append(f"visit-{len(visits)}")
                check_in(product, visits[-1])
                wait_until(lambda: len(sandbox.transactions()) == len(visits))
                lacking.append(len(visits) - metric(product, "punchcard_lake_position"))

            visit()
            wait_until(lambda: metric(product, "punchcard_lake_position") == 1)
            proxy.delays = _LATE_SECONDS
            for number in range(_SLOW_VISITS):
                if number == _SLOW_VISITS // 2:
                    product.kill_worker()  # another one reads the recent message ids first, in five round trips
                visit()
            assert sum(count > 0 for count in lacking[1:]) >= _SLOW_VISITS // 2  # the lake was not waited for
            assert metric(product, "punchcard_lake_failing") == 0  # slow is not away
            assert product.call("GET", "/health/ready")[0] == 200
            wait_until(lambda: metric(product, "punchcard_lake_position") == len(visits))
            proxy.delays = 0.0, 0.0
            assert_lake_is_whole(product, visits)
            booked = [transaction["trans_source_id"] for transaction in sandbox.transactions()]
            assert sorted(booked) == sorted(f"SEG:website:EVENT:{message_id}" for message_id in visits)


def test_spoiled_responses_of_s3_cost_no_award_and_nothing_of_the_lake(
    tmp_path: Path, sandbox: SandboxProcess, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kind of fault after the other; the lake goes on in between, and is whole at the end."""
    visits: list[str] = []
    with unreliable_s3(s3_server.port) as proxy:
        for name, value in s3_server.environment(endpoint=proxy.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PUNCHCARD_LAKE_URL", s3_server.new_lake())
        settings = {"PUNCHCARD_LAKE_UPLOAD_SECONDS": "0.2"}
        content = configuration(perkville_url=sandbox.url)
        with ProductProcess(tmp_path / "product", content, environment=settings) as product:

            def visit() -> None:
                visits.append(f"visit-{len(visits)}")
                check_in(product, visits[-1])
                wait_until(lambda: len(sandbox.transactions()) == len(visits), str(proxy.faults))

            def wait_for_lake() -> None:
                visit()
                wait_until(lambda: metric(product, "punchcard_lake_position") == len(visits), str(proxy.faults))

            wait_for_lake()
            for fault in Fault:
                proxy.faults = (fault,)
                visit()
                product.kill_worker()  # another one reads the log of the table, and the recent message ids
                visit()
                command("lake", "compact", "--data", str(product.data))  # succeeds or fails
                while not proxy.spoiled[fault]:  # by chance; each visit makes a commit
                    wait_for_lake()
                proxy.faults = ()
                wait_for_lake()
            assert_lake_is_whole(product, visits)
            booked = [transaction["trans_source_id"] for transaction in sandbox.transactions()]
            assert sorted(booked) == sorted(f"SEG:website:EVENT:{message_id}" for message_id in visits)

"""The whole product with its lake on S3: what operators use reads it, and awards do not wait for it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.s3_server import S3Server
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


def check_in(product: ProductProcess, message_id: str) -> None:
    properties = {"email": f"{message_id}@example.com"}
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": properties}
    assert product.send("track", event)[0] == 200
    product.wait_for_status(message_id, "delivered")


@pytest.mark.parametrize(
    "outage_seconds", [0.0, pytest.param(300.0, marks=pytest.mark.soak)], ids=["short", "five-minutes"]
)
def test_awards_go_on_while_s3_is_away_and_the_lake_gets_every_event(
    tmp_path: Path,
    sandbox: SandboxProcess,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    outage_seconds: float,
) -> None:
    server = S3Server(tmp_path / "s3")
    environment = {**server.environment(), "PUNCHCARD_LAKE_URL": server.new_lake()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with ProductProcess(
        tmp_path / "product",
        configuration(perkville_url=sandbox.url),
        environment={"PUNCHCARD_LAKE_UPLOAD_SECONDS": "0.2"},
    ) as product:

        def output_of(*words: str) -> str:
            done = command(*words, "--data", str(product.data))
            assert done.returncode == 0, done.stderr
            return done.stdout

        def queried() -> list[str]:
            lines = output_of("lake", "query", "SELECT message_id FROM events ORDER BY 1", "--json").splitlines()
            return [json.loads(line)["message_id"] for line in lines]

        def lake_state() -> str:
            return str(product.call("GET", "/health/ready")[1].get("lake", {}).get("status", ""))

        def open_alerts() -> list[str]:
            return [json.dumps(alert) for alert in product.call("GET", "/api/alerts")[1]["data"]["alerts"]]

        numbers = list(range(1, 6))
        check_in(product, "visit-1")
        wait_until(lambda: "punchcard_lake_position 1" in product.call("GET", "/metrics")[1])
        server.stop()
        for number in range(2, 5):
            check_in(product, f"visit-{number}")
        wait_until(lambda: lake_state() == "unavailable")
        assert product.call("GET", "/health/ready")[0] == 200
        assert "punchcard_lake_failing 1" in product.call("GET", "/metrics")[1]
        alerts = wait_until(lambda: [line for line in open_alerts() if "AWS_ENDPOINT_URL" in line])
        assert not any("lake repair" in line for line in alerts)
        done = command("lake", "query", "FROM events", "--data", str(product.data))
        assert (done.returncode != 0, "AWS_ENDPOINT_URL" in done.stderr) == (True, True)
        product.kill_worker()  # another one starts without the lake
        check_in(product, "visit-5")
        back_at = time.monotonic() + outage_seconds
        while time.monotonic() < back_at:  # awards go on all the time
            numbers.append(len(numbers) + 1)
            check_in(product, f"visit-{numbers[-1]}")
            time.sleep(1.0)
        server.start()
        wait_until(lambda: len(queried()) == len(numbers))
        assert queried() == sorted(f"visit-{number}" for number in numbers)
        assert "visit-3" in output_of("trace", "visit-3")
        wait_until(lambda: len(product.call("GET", "/api/events")[1]["data"]["events"]) == min(100, len(numbers)))
        assert "merged" in output_of("lake", "compact")
        assert "nothing to repair" in output_of("lake", "repair")
        wait_until(lambda: lake_state() == "")
        simulated = output_of("simulate", "--since", "1d")
        assert str(len(numbers)) in simulated
        booked = [transaction["trans_source_id"] for transaction in sandbox.transactions()]
        assert sorted(booked) == sorted(f"SEG:website:EVENT:visit-{number}" for number in numbers)
    server.stop()

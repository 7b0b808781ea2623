"""Damage to the files of a running product: awards go on, operators see it where they look, and it can be repaired."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from punchcard.errors import LakeError
from punchcard.lake.reader import LakeReader
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("damage-sandbox")) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "product"


QUICK = {"PUNCHCARD_LAKE_FLUSH_SECONDS": "0.2"}


def start(folder: Path, sandbox: SandboxProcess) -> ProductProcess:
    return ProductProcess(folder, configuration(perkville_url=sandbox.url), environment=QUICK)


def check_in(product: ProductProcess, message_id: str) -> None:
    properties = {"email": f"{message_id}@example.com"}
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": properties}
    assert product.send("track", event)[0] == 200
    product.wait_for_status(message_id, "delivered")


def damage_lake(lake: Path) -> None:
    newest = sorted((lake / "_delta_log").glob("*.json"))
    newest[-1].write_bytes(b"garbage")
    sorted(lake.glob("day=*/*.parquet"))[0].unlink()


def in_lake(data: Path) -> list[str]:
    """The message ids of all events of the lake, none while it cannot be read."""
    try:
        return [event.message_id for event in LakeReader(str(data / "lake")).between(0, 10**9)]
    except LakeError:
        return []


def queried(data: Path) -> list[str]:
    """The same, as an operator sees them."""
    done = command("lake", "query", "SELECT message_id FROM events", "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["message_id"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("restart", [False, True], ids=["while it runs", "and a restart"])
def test_a_damaged_lake_stops_no_award_is_reported_and_is_repaired_while_all_runs(
    folder: Path, sandbox: SandboxProcess, restart: bool
) -> None:
    name = f"lake-{restart}".lower()
    sent = [f"{name}-{number}" for number in range(6)]
    product = start(folder, sandbox)
    try:
        for message_id in sent[:2]:
            check_in(product, message_id)
            wait_until(lambda item=message_id: item in in_lake(product.data))
        damage_lake(product.data / "lake")
        if restart:
            product.stop()
            product = start(folder, sandbox)
        for message_id in sent[2:4]:
            check_in(product, message_id)
        wait_until(lambda: "lake" in product.call("GET", "/health/ready")[1])
        status, ready = product.call("GET", "/health/ready")
        assert (status, ready["status"], ready["lake"]["status"]) == (200, "ready", "unavailable")
        assert "punchcard_lake_failing 1.0" in product.call("GET", "/metrics")[1]
        checked = command("check", "--data", str(product.data))
        assert checked.returncode == 1
        assert "punchcard lake repair" in checked.stdout + checked.stderr
        assert product.call("GET", "/events", headers={"Accept": "text/html"})[0] in (200, 303, 503)
        assert product.trace(sent[0]) is not None  # found in the log
        dry = command("lake", "repair", "--dry-run", "--data", str(product.data))
        assert dry.returncode == 0
        done = command("lake", "repair", "--data", str(product.data))
        assert (done.returncode, done.stderr) == (0, "")
        assert "Nothing is lost." in done.stdout
        for message_id in sent[4:]:
            check_in(product, message_id)
        wait_until(lambda: Counter(in_lake(product.data)) == Counter(sent))
        assert Counter(queried(product.data)) == Counter(sent)
        assert command("lake", "repair", "--data", str(product.data)).stdout.startswith("The data lake is intact")
        wait_until(lambda: product.call("GET", "/health/ready")[1] == {"status": "ready"})
        booked = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
        assert [booked[f"SEG:website:EVENT:{item}"] for item in sent] == [1] * len(sent)
        assert "Traceback" not in product.log
    finally:
        product.stop()


def test_an_unreadable_record_is_reported_everywhere_and_stops_no_award(folder: Path, sandbox: SandboxProcess) -> None:
    with start(folder, sandbox) as product:
        check_in(product, "record-1")
    with closing(sqlite3.connect(folder / "data" / "log.db")) as log, log:
        log.execute(
            "INSERT INTO records (received_at, write_key, call, encoding, ip, body) "
            "SELECT received_at, write_key, call, 'zstd', ip, 'garbage' FROM records LIMIT 1"
        )
    with start(folder, sandbox) as product:
        check_in(product, "record-2")
        metrics = product.call("GET", "/metrics")[1]
        assert 'punchcard_routing_quarantined_records{reason="unreadable_record"} 1.0' in metrics
        assert re.search(r'punchcard_routing_results_total\{.*reason="unreadable_record".*\} 1\.0', metrics)
        checked = command("check", "--data", str(product.data))
        assert checked.returncode == 1
        assert "unreadable_record" in checked.stdout + checked.stderr
        with closing(sqlite3.connect(product.data / "punchcard.db")) as store:
            [(message_id, body)] = store.execute("SELECT message_id, body FROM quarantined_records").fetchall()
        assert bytes(body) == b"garbage"
        traced = command("trace", message_id, "--data", str(product.data))
        assert traced.returncode == 0
        assert "failed on ingest (unreadable_record)" in traced.stdout
        status, alerts = product.call("GET", "/health/ready")
        assert (status, alerts) == (200, {"status": "ready"})

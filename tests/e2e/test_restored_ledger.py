"""A part of the data folder is lost or put back from an older copy: nothing is awarded twice, new events go on."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from punchcard.lake.reader import LakeReader
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

ANN = {"email": "ann@example.com"}
ORDER = {"email": "ann@example.com", "order_id": "1001", "revenue": 9.99}
ORDER_KEY = "SEG:perkville:ORDER:1001:order-completed"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


def wait_for_copy(product: ProductProcess, message_id: str) -> None:
    """Return once a second event with this id is known."""
    wait_until(lambda: (product.trace(message_id) or {"copies": []})["copies"], lambda: product.trace(message_id))


def copy_database(data: Path, copy: Path) -> None:
    """As the page on operating says, while Punchcard runs."""
    with closing(sqlite3.connect(data / "punchcard.db")) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def put_back(data: Path, copy: Path) -> None:
    for file in data.glob("punchcard.db*"):
        file.unlink()
    shutil.copy(copy, data / "punchcard.db")


@pytest.mark.parametrize("mode", ["400", "accept"])
def test_an_older_copy_of_the_database_finds_what_was_delivered_since(
    tmp_path: Path, sandbox: SandboxProcess, mode: str
) -> None:
    sandbox.faults({"duplicateAnswer": mode})
    folder, copy = tmp_path / "product", tmp_path / "copy.db"
    with ProductProcess(folder, configuration(perkville_url=sandbox.url)) as product:
        product.track("Checked In", ANN, messageId="before")
        product.wait_for_status("before", "delivered")
        copy_database(product.data, copy)
        product.track("Checked In", ANN, messageId="between")
        product.track("Order Completed", ORDER, messageId="order-between")
        product.wait_for_status("between", "delivered")
        product.wait_for_status("order-between", "delivered")
    put_back(product.data, copy)
    # New events that wait beside those that are routed again: the lake must not be given a range that it half knows.
    with ProductProcess(folder, serves_only=True) as serving:
        serving.track("Checked In", ANN, messageId="after")
    with ProductProcess(folder) as product:
        product.wait_for_status("after", "delivered")
        assert product.wait_for_status("before", "delivered")["transaction"]["perkvilleId"] == "1"
        lost = product.wait_for_status("between", "delivered")
        assert lost["transaction"]["perkvilleId"] == "2"
        assert [attempt["action"] for attempt in lost["attempts"]] == ["read_back"]
        assert "older copy" in lost["detail"]
        assert product.send("batch", {"batch": []})[0] == 200
        product.track("Order Completed", ORDER, messageId="order-again")
        again = product.wait_for_status("order-again", "duplicate")
        assert again["transaction"]["effectKey"] == ORDER_KEY
    assert product.logged("lake_stopped") == []
    assert product.logged("worker_stopped") == []
    (item,) = product.logged("older_store_found")
    assert item["level"] == "error"
    keys = [transaction["trans_source_id"] for transaction in sandbox.transactions()]
    assert sorted(keys) == sorted(
        [*(f"SEG:website:EVENT:{attempt}" for attempt in ("before", "between", "after")), ORDER_KEY]
    )


def test_events_go_on_after_the_log_was_lost(tmp_path: Path, sandbox: SandboxProcess) -> None:
    folder = tmp_path / "product"
    slow_lake = {"PUNCHCARD_LAKE_FLUSH_SECONDS": "60"}
    with ProductProcess(folder, configuration(perkville_url=sandbox.url), environment=slow_lake) as product:
        product.track("Checked In", ANN, messageId="before-0")
        lake = LakeReader(str(product.data / "lake"))
        wait_until(lambda: len(lake.between(0, 10**9)) == 1)  # the first event is written at once
        for number in range(1, 3):
            product.track("Checked In", ANN, messageId=f"before-{number}")
        product.wait_for_status("before-2", "delivered")
        # The worker too, or it would bring everything to the lake now: so it lacks the others, and their log.
        product.kill_worker()
        product.kill()
    for file in product.data.glob("log.db*"):
        file.unlink()
    with ProductProcess(folder) as product:
        product.track("Checked In", ANN, messageId="after")
        product.wait_for_status("after", "delivered")
        product.track("Checked In", ANN, messageId="before-2")
        product.wait_for_status("before-2", "duplicate")
    assert len(product.logged("log_lost")) == 1
    assert product.logged("lake_records_lost")
    assert product.logged("routing_stopped") == []
    assert len(sandbox.transactions()) == 4


def test_events_go_on_after_the_lake_was_lost(tmp_path: Path, sandbox: SandboxProcess) -> None:
    folder = tmp_path / "product"
    with ProductProcess(folder, configuration(perkville_url=sandbox.url)) as product:
        product.track("Checked In", ANN, messageId="before")
        product.wait_for_status("before", "delivered")
    shutil.rmtree(product.data / "lake")
    with ProductProcess(folder) as product:
        product.track("Checked In", ANN, messageId="after")
        product.wait_for_status("after", "delivered")
        product.track("Checked In", ANN, messageId="before")
        # The lake has the first one again, from the log.
        wait_for_copy(product, "before")
        trace = product.trace("before")
        assert trace is not None
        assert trace["results"][0]["status"] == "delivered"
        assert [copy["results"][0]["status"] for copy in trace["copies"]] == ["duplicate"]
    assert product.logged("lake_stopped") == []
    assert len(sandbox.transactions()) == 2

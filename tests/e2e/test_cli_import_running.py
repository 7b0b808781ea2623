"""The promise of `punchcard import`: kill it, kill the server, run it again, and each order still counts once."""

import os
import subprocess
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.ports import reserved_port
from punchcard.testing.processes import start_module
from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.long

_ROWS = 30_000
_EARNING_EVERY = 60  # the others are not mapped: they make the file long without making the test slow


def write_orders(file: Path) -> dict[str, Decimal]:
    """A file of many rows, and what must stand at the end: quantity by effect key."""
    expected = {}
    with file.open("w") as lines:
        lines.write("event,userId,timestamp,properties.order_id,properties.revenue,properties.email\n")
        for number in range(_ROWS):
            amount = Decimal(number % 997) / 100
            name = "Order Completed" if number % _EARNING_EVERY == 0 else "Product Viewed"
            lines.write(f"{name},u{number},2020-01-02T03:04:05Z,{number:06},{amount},u{number % 50}@example.com\n")
            if name == "Order Completed" and amount:
                expected[f"SEG:perkville:ORDER:{number:06}:order-completed"] = amount
    return expected


def start_import(file: Path, url: str, state: Path, *more: str) -> "subprocess.Popen[str]":
    return start_module(
        "punchcard",
        *("import", str(file), "--write-key", WRITE_KEY, "--url", url, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        environment={**os.environ, "XDG_STATE_HOME": str(state)},
    )


def wait_until_logged(data: Path, records: int) -> None:
    """Return as soon as the event log holds this many request bodies."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    log = SqliteEventLog(data / "log.db")
    try:
        while log.last_position() < records:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        log.close()


def wait_for_transactions(sandbox: SandboxProcess, number: int) -> None:
    wait_until(
        lambda: len(sandbox.transactions()) >= number,
        lambda: f"{len(sandbox.transactions())} of {number} transactions",
        seconds=2 * PATIENCE_SECONDS,
    )


def quantities(sandbox: SandboxProcess) -> dict[str, Decimal]:
    transactions = sandbox.transactions()
    assert Counter(item["trans_source_id"] for item in transactions).most_common(1)[0][1] == 1
    return {item["trans_source_id"]: Decimal(str(item["quantity"])) for item in transactions}


def test_an_import_killed_with_its_server_and_run_again_counts_each_order_once(tmp_path: Path) -> None:
    """Kill the server half-way, then the import itself; run it to the end twice: nothing lost, nothing doubled."""
    file, state, folder = tmp_path / "orders.csv", tmp_path / "state", tmp_path / "product"
    expected = write_orders(file)
    with SandboxProcess(tmp_path / "sandbox") as sandbox, reserved_port() as port:
        content = configuration(perkville_url=sandbox.url)
        first = ProductProcess(folder, content, port=port)
        importing = start_import(file, first.url, state)
        wait_until_logged(first.data, 40)
        first.kill()
        with ProductProcess(folder, port=port) as second:
            wait_until_logged(second.data, 100)
            importing.kill()
            importing.communicate()
            for _ in range(2):
                again = start_import(file, second.url, state)
                reported, errors = again.communicate(timeout=PATIENCE_SECONDS)
                assert (again.returncode, errors.count("given up")) == (0, 0)
                assert reported.startswith(f"{_ROWS} rows read, {_ROWS} sent, 0 refused")
            wait_for_transactions(sandbox, len(expected))
            assert second.track("Checked In", {"email": "last@example.com"}, messageId="last") == 200
            second.wait_for_status("last", "delivered")
            stands = quantities(sandbox)
    assert stands.pop("SEG:website:EVENT:last") == 1
    assert stands == expected


def test_an_order_of_nothing_stands_as_that_and_the_past_stays_past(tmp_path: Path) -> None:
    """A zero amount is reported as `zero_amount`; an imported event happened when the file says."""
    file = tmp_path / "orders.jsonl"
    file.write_text(
        '{"event": "Order Completed", "userId": "a", "messageId": "nothing", "timestamp": "1997-01-01T12:00:00Z",'
        ' "properties": {"order_id": "1", "revenue": 0.00, "email": "a@example.com"}}\n'
    )
    with (
        SandboxProcess(tmp_path / "sandbox") as sandbox,
        ProductProcess(tmp_path / "product", configuration(perkville_url=sandbox.url)) as product,
    ):
        importing = start_import(file, product.url, tmp_path / "state")
        assert importing.communicate(timeout=PATIENCE_SECONDS)[0].startswith("1 rows read, 1 sent, 0 refused")
        result = product.wait_for_status("nothing", "refused")
        assert result["reason"] == "zero_amount"
        trace = product.trace("nothing")
        assert trace is not None
        assert trace["event"]["timestamp"] == "1997-01-01T12:00:00Z"
        assert sandbox.transactions() == []


def test_the_summary_counts_the_rows_that_earned(tmp_path: Path) -> None:
    """Two orders earn, a repeated one and an unmapped event do not; a second run says the same."""
    file, state = tmp_path / "sales.csv", tmp_path / "state"
    file.write_bytes(
        b"\xef\xbb\xbfid;received_at;event_text;email;order_id;revenue\r\n"
        b"m1;2023-05-01 10:00:00 UTC;Order Completed;a@example.com;1;1.234,50\r\n"
        b"m2;2023-05-01 10:00:00 UTC;Order Completed;b@example.com;2;9,5\r\n"
        b"m3;2023-05-01 10:00:00 UTC;Order Completed;b@example.com;2;9,5\r\n"
        b"m4;2023-05-01 10:00:00 UTC;Product Viewed;b@example.com;3;\r\n"
    )
    with (
        SandboxProcess(tmp_path / "sandbox") as sandbox,
        ProductProcess(tmp_path / "product", configuration(perkville_url=sandbox.url)) as product,
    ):
        for _ in range(2):
            importing = start_import(file, product.url, state, "--yes", "--token", product.token)
            reported, errors = importing.communicate(timeout=PATIENCE_SECONDS)
            assert importing.returncode == 0, errors
            assert reported.startswith("4 rows read, 4 sent, 0 refused, 2 earned"), reported
        wait_for_transactions(sandbox, 2)
        product.wait_for_status("m2", "delivered")
        assert sorted(quantities(sandbox).values()) == [Decimal("9.5"), Decimal("1234.50")]
        trace = product.trace("m1")
        assert trace is not None
        assert trace["event"]["userId"] == "a@example.com"
        problem = start_import(file, product.url, state, "--yes", "--restart", "--token", "nonsense")
        reported, _ = problem.communicate(timeout=PATIENCE_SECONDS)
        assert problem.returncode == 0
        assert "does not report what the rows earned" in reported

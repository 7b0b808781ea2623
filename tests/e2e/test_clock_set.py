"""The machine's clock was set forward and back, with real processes: nothing waits for the time that it once showed."""

import sqlite3
from itertools import count
from pathlib import Path

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess

NUMBERS = count(1)
FIVE_HOURS_MICROS = 5 * 3_600 * 1_000_000


def check_in(product: ProductProcess) -> str:
    message_id = f"clock-{next(NUMBERS)}"
    properties = {"email": f"{message_id}@example.com"}
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": properties}
    assert product.send("track", event)[0] == 200
    return message_id


def move_into_the_future(data: Path) -> None:
    """Make the rows of the store as if their attempts had ended while the clock was five hours ahead."""
    with sqlite3.connect(data / "punchcard.db") as database:
        database.execute("UPDATE effects SET due_at = due_at + ? WHERE is_open", (FIVE_HOURS_MICROS,))
        database.execute("UPDATE delivery_attempts SET finished_at = finished_at + ?", (FIVE_HOURS_MICROS,))
    database.close()


def test_awards_that_wait_for_a_time_that_was_never_meant_are_listed_and_freed(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox") as sandbox:
        content = configuration(perkville_url=sandbox.url, options={"retryBaseSeconds": 600, "unknownWaitSeconds": 1})
        with ProductProcess(tmp_path / "product", content) as product:
            sandbox.faults({"status": 503, "rate": 1})
            sent = [check_in(product) for _ in range(3)]
            for message_id in sent:
                product.wait_for_status(message_id, "retrying")
            product.kill()
        sandbox.faults({})
        data = product.data
        nothing = command("retry", "--data", str(data))
        assert "Nothing to retry" in nothing.stdout
        move_into_the_future(data)
        listed = command("retry", "--data", str(data), sent[0], "--yes")
        assert listed.returncode == 0, listed.stderr
        assert sent[0] in listed.stdout
        assert "because of a wrong clock" in listed.stdout
        assert "1 back in the queue" in listed.stdout
        # The others are freed by the worker itself.
        with ProductProcess(tmp_path / "product", content) as product:
            for message_id in sent:
                product.wait_for_status(message_id, "delivered")
        emails = [transaction["email"] for transaction in sandbox.transactions()]
        assert sorted(emails) == sorted(f"{message_id}@example.com" for message_id in sent)

"""A token that is refused for a while, with real processes: nobody acts, nothing is lost, everybody can see why."""

import json
from itertools import count
from pathlib import Path

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

NUMBERS = count(1)
QUICK = {"retryBaseSeconds": 0.1, "requestTimeoutSeconds": 5, "unknownWaitSeconds": 0.5}


def check_in(product: ProductProcess) -> str:
    message_id = f"refused-{next(NUMBERS)}"
    properties = {"email": f"{message_id}@example.com"}
    event = {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": properties}
    assert product.send("track", event)[0] == 200
    return message_id


def test_a_token_that_is_refused_for_seconds_needs_nobody(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox") as sandbox:
        content = configuration(perkville_url=sandbox.url, options=QUICK)
        with ProductProcess(tmp_path / "product", content) as product:
            product.wait_for_status(check_in(product), "delivered")
            sandbox.faults({"status": 401, "rate": 1})
            sent = [check_in(product) for _ in range(5)]
            wait_until(lambda: product.logged("destination_paused"))
            sent += [check_in(product) for _ in range(5)]

            def trace() -> str:
                return str(product.wait_for_status(sent[-1], "pending")["detail"])

            wait_until(lambda: "credentials refused since" in trace() and "next check at 2" in trace())
            assert product.wait_for_status(sent[-1], "pending")["reason"] == "credentials_refused"
            shown = command("trace", sent[-1], "--data", str(product.data))
            assert "next check" in shown.stdout
            sandbox.faults({})
            for message_id in sent:
                result = product.wait_for_status(message_id, "delivered")
                assert result["detail"] is None or "refused" not in result["detail"]
            emails = [transaction["email"] for transaction in sandbox.transactions()]
            assert sorted(emails) == sorted(set(emails))
            assert {f"{message_id}@example.com" for message_id in sent} <= set(emails)
        assert [item["by"] for item in product.logged("destination_resumed")] == ["check"]


def test_a_refused_token_is_checked_by_the_worker_that_comes_after_a_crash(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox") as sandbox:
        content = configuration(perkville_url=sandbox.url, options=QUICK)
        with ProductProcess(tmp_path / "product", content) as product:
            sandbox.faults({"status": 401, "rate": 1})
            sent = check_in(product)
            wait_until(lambda: product.logged("destination_paused"))
            product.kill()
        sandbox.faults({})
        with ProductProcess(tmp_path / "product", content) as product:
            product.wait_for_status(sent, "delivered")
            shown = json.loads(command("trace", sent, "--data", str(product.data), "--json").stdout)
            assert "credentials" in json.dumps(shown)  # the attempt that was refused stays on record

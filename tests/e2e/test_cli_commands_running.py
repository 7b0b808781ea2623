"""The command line against the running product: what a person types, and what it answers."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from punchcard.testing.partner.configuration import EVENT_TO_PERK_MAP, configuration
from punchcard.testing.product import WRITE_KEY, ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGE_EXAMPLE = '{"order_id": "o283h08fh2390f923uofu23", "revenue": 9.99, "email": "example@example.com"}'


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("commands-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    """One product for all tests that leave its configuration as it was; each uses a customer of its own."""
    with ProductProcess(tmp_path_factory.mktemp("commands"), configuration(perkville_url=sandbox.url)) as running:
        yield running


@pytest.fixture
def own_product(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    """A product; the test changes its configuration."""
    with ProductProcess(tmp_path / "product", configuration(perkville_url=sandbox.url)) as running:
        yield running


def transactions_of(sandbox: SandboxProcess, email: str) -> list[dict[str, Any]]:
    return [transaction for transaction in sandbox.transactions() if transaction["email"] == email]


def send(product: ProductProcess, *arguments: str) -> str:
    done = command("send", "--write-key", WRITE_KEY, "--url", product.url, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def trace(product: ProductProcess, message_id: str) -> str:
    done = command("trace", message_id, "--data", str(product.data))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_send_prints_can_be_traced_at_once_and_when_it_is_delivered(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    order = '{"order_id": "traced", "revenue": 9.99, "email": "traced@example.com"}'
    message_id = send(product, "track", "Order Completed", "--user-id", "ann", "--properties", order)
    assert "Order Completed" in trace(product, message_id)
    product.wait_for_status(message_id, "delivered")
    reported = trace(product, message_id)
    assert "perkville: delivered" in reported
    assert "9.99 × perk 123456 for traced@example.com" in reported
    (transaction,) = transactions_of(sandbox, "traced@example.com")
    assert str(transaction["quantity"]) == "9.99"
    as_json = json.loads(command("trace", message_id, "--json", "--data", str(product.data)).stdout)
    event_trace = product.trace(message_id)
    assert event_trace is not None
    # The profile of an event is found beside routing, perhaps between the two calls.
    assert as_json["data"] | {"profile": None} == event_trace | {"profile": None}


@pytest.mark.parametrize("example", ["send_with_curl.sh", "send_with_python.py"])
def test_the_pages_example_ends_as_one_transaction_whoever_sends_it(example: str, tmp_path: Path) -> None:
    program = sys.executable if example.endswith(".py") else "sh"
    if program == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with (
        SandboxProcess(tmp_path / "sandbox") as sandbox,
        ProductProcess(tmp_path / "product", configuration(perkville_url=sandbox.url)) as product,
    ):
        sent = [program, str(ROOT / "examples" / example), product.url, WRITE_KEY]
        done = subprocess.run(sent, capture_output=True, text=True, check=True)
        message_id = done.stdout.split()[-1]
        product.wait_for_status(message_id, "delivered")
        again = send(product, "track", "Order Completed", "--user-id", "ann", "--properties", PAGE_EXAMPLE)
        product.wait_for_status(again, "duplicate")
        (transaction,) = sandbox.transactions()
        assert str(transaction["quantity"]) == "9.99"


@pytest.mark.parametrize(
    ("write_key", "arguments", "says"),
    [
        pytest.param("wk_nobody", ["track", "X", "--user-id", "a"], "write key", id="unknown write key"),
        pytest.param(WRITE_KEY, ["track", "X"], "no_user_anon_id", id="an event of nobody"),
    ],
)
def test_what_is_not_taken_is_reported_at_once(
    write_key: str, arguments: list[str], says: str, product: ProductProcess
) -> None:
    done = command("send", "--write-key", write_key, "--url", product.url, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_an_event_that_never_came_is_reported_with_where_to_look(product: ProductProcess) -> None:
    done = command("trace", "never-sent", "--data", str(product.data))
    assert (done.returncode, done.stdout) == (1, "")
    assert "never-sent" in done.stderr
    assert str(product.data) in done.stderr


def test_check_says_what_is_wrong_of_the_running_configuration_and_of_a_file(
    product: ProductProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    assert command("check", "--data", str(product.data)).returncode == 0
    problem = tmp_path / "wrong.toml"
    problem.write_text(tomli_w.dumps(configuration(perkville_url=sandbox.url, event_to_perk_map={"Checked In": "999"})))
    done = command("check", "--config", str(problem))
    assert done.returncode == 1
    assert "999" in done.stderr
    exported = tmp_path / "exported.toml"
    exported.write_text(command("export", "--data", str(product.data)).stdout)
    masked = command("check", "--config", str(exported))
    assert masked.returncode == 2
    assert "apiKey" in masked.stderr


def test_apply_shows_the_plan_then_does_it_and_export_gives_it_back(
    own_product: ProductProcess, tmp_path: Path
) -> None:
    product = own_product
    exported = command("export", "--data", str(product.data)).stdout
    changed = tmp_path / "changed.toml"
    changed.write_text(exported.replace('"Checked In" = ', '"Visited" = "123457"\n"Checked In" = '))
    plan = command("apply", str(changed), "--dry-run", "--data", str(product.data))
    assert plan.returncode == 0
    assert "Visited" in plan.stdout
    assert "Dry run" in plan.stdout
    assert command("export", "--data", str(product.data)).stdout == exported
    done = command("apply", str(changed), "--data", str(product.data))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Visited" in command("export", "--data", str(product.data)).stdout
    assert command("apply", str(changed), "--data", str(product.data)).stdout == "No changes\n"


def test_a_bad_config_file_changes_nothing_and_names_every_problem(product: ProductProcess, tmp_path: Path) -> None:
    before = command("export", "--data", str(product.data)).stdout
    bad = tmp_path / "bad.toml"
    bad.write_text('[workspace]\ntimezone = "Mars"\ncolour = "red"\n')
    done = command("apply", str(bad), "--data", str(product.data))
    assert done.returncode == 2
    assert all(
        re.match(rf"punchcard: {re.escape(str(bad))}:[23]: workspace\.", line) for line in done.stderr.splitlines()
    )
    assert done.stderr.count("\n") == 2
    assert command("export", "--data", str(product.data)).stdout == before


def test_retry_shows_asks_and_puts_back(own_product: ProductProcess, sandbox: SandboxProcess) -> None:
    product = own_product
    customer = "retried@example.com"
    problem = {"Checked In": "999", "Wrong Map Probed": "999"}
    product.write_config(configuration(perkville_url=sandbox.url, event_to_perk_map=problem))
    wait_for_map(product, "Wrong Map Probed")
    message_id = send(product, "track", "Checked In", "--user-id", "a", "--properties", json.dumps({"email": customer}))
    product.wait_for_status(message_id, "rejected")
    right = {**EVENT_TO_PERK_MAP, "Right Map Probed": "999"}
    product.write_config(configuration(perkville_url=sandbox.url, event_to_perk_map=right))
    wait_for_map(product, "Right Map Probed")
    retry = ("retry", "--data", str(product.data))

    unasked = command(*retry, stdin="")
    assert unasked.returncode == 2
    assert "--yes" in unasked.stderr
    assert message_id in unasked.stdout
    assert "Nothing to retry" in command(*retry, "--reason", "something_else", "--yes").stdout
    assert command(*retry, "--destination", "nowhere", "--yes").returncode == 2
    assert transactions_of(sandbox, customer) == []

    done = command(*retry, message_id, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "1 back in the queue."
    product.wait_for_status(message_id, "delivered")
    assert len(transactions_of(sandbox, customer)) == 1


def wait_for_map(product: ProductProcess, probe: str) -> None:
    """Return once the worker has the map: an event that only it names is no longer refused (but never awarded)."""
    numbers = count(1)

    def is_rejected() -> bool:
        message_id = f"{probe.replace(' ', '-')}-{next(numbers)}"
        assert product.track(probe, {"email": "probe@example.com"}, messageId=message_id) == 200
        return bool(product.wait_for_status(message_id, "rejected", "refused")["status"] == "rejected")

    wait_until(is_rejected)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    for arguments in (["trace", "m"], ["export"], ["retry"]):
        assert command(*arguments, "--data", str(tmp_path / "nothing")).returncode == 2
    assert os.listdir(tmp_path) == []

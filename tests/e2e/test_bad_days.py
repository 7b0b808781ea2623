"""Bad days with real processes: each fault is logged once, nothing acknowledged is lost, nothing is doubled."""

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import pytest

from punchcard.testing.full_disk import fill
from punchcard.testing.partner.configuration import EVENT_TO_PERK_MAP, configuration
from punchcard.testing.ports import reserved_port
from punchcard.testing.processes import start_module
from punchcard.testing.product import WRITE_KEY, ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

NUMBERS = count(1)
STOP_SECONDS_MAX = 60.0  # less than a hanging Perkville takes in the test of that
# A busy machine may take seconds for a request that takes milliseconds; longer than the time-out is unknown to us.
QUICK = {"retryBaseSeconds": 0.1, "requestTimeoutSeconds": 5, "unknownWaitSeconds": 0.5, "retryAttemptsMax": 100}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("bad-days-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    """One product for all tests that leave it as they found it; it has read the perk that they use."""
    with ProductProcess(tmp_path_factory.mktemp("bad-days"), healthy(sandbox)) as running:
        running.wait_for_status(check_in(running), "delivered")
        yield running


@pytest.fixture(autouse=True)
def no_faults_afterwards(sandbox: SandboxProcess) -> Iterator[None]:
    yield
    sandbox.faults({})


def healthy(sandbox: SandboxProcess) -> dict[str, object]:
    return configuration(perkville_url=sandbox.url, options=QUICK)


def event_of(message_id: str) -> dict[str, object]:
    """A check-in by a customer of its own, so that no ordering key holds it up."""
    properties = {"email": f"{message_id}@example.com", "note": "words-of-a-body"}
    return {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": properties}


def fresh_id() -> str:
    return f"bad-day-{os.getpid()}-{next(NUMBERS)}"


def check_in(product: ProductProcess) -> str:
    """Send one check-in; its message id."""
    message_id = fresh_id()
    assert product.send("track", event_of(message_id))[0] == 200
    return message_id


def key_of(message_id: str) -> str:
    return f"SEG:website:EVENT:{message_id}"


def times_awarded(sandbox: SandboxProcess, message_ids: list[str]) -> list[int]:
    """How often the award of each message stands at Perkville."""
    counter = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
    return [counter[key_of(message_id)] for message_id in message_ids]


def wait_for_attempt(product: ProductProcess, message_id: str) -> dict[str, object]:
    """The first attempt of an award, as soon as it has ended."""
    result: list[dict[str, object]] = []

    def ended() -> bool:
        trace = product.trace(message_id)
        attempts = trace["results"][0]["attempts"] if trace is not None and trace["results"] else []
        result[:] = [attempt for attempt in attempts if attempt["outcome"] is not None]
        return bool(result)

    wait_until(ended)
    return result[0]


FAULTS = [
    pytest.param({"afterCommit": True}, "unknown", id="stored, then 504"),
    pytest.param({"afterCommit": True, "reset": True}, "unknown", id="stored, then reset"),
    pytest.param({"reset": True}, "unknown", id="reset"),
    pytest.param({"status": 500}, "unknown", id="500"),
    pytest.param({"status": 503}, "retryable", id="503"),
    pytest.param({"status": 429, "retryAfter": 1}, "retryable", id="429"),
    pytest.param({"html": True}, "retryable", id="HTML with 503"),
    pytest.param({"html": True, "status": 403}, "retryable", id="HTML with 403"),
    pytest.param({"html": True, "status": 200}, "unknown", id="HTML with 200"),
    pytest.param({"latencyMs": 6_000}, "unknown", id="slower than the time-out"),
]


@pytest.mark.parametrize(("faults", "first_outcome"), FAULTS)
def test_each_fault_alone_neither_loses_nor_doubles_an_award(
    faults: dict[str, object], first_outcome: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    sandbox.faults(faults)
    sent = [check_in(product) for _ in range(3)]
    assert {wait_for_attempt(product, item)["outcome"] for item in sent} == {first_outcome}
    sandbox.faults({})
    for message_id in sent:
        product.wait_for_status(message_id, "delivered")
    assert times_awarded(sandbox, sent) == [1, 1, 1]


@pytest.mark.parametrize("mode", ["400", "409", "200"])
def test_a_key_that_a_lost_request_has_used_counts_as_delivered(
    mode: str, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    message_id = fresh_id()
    lost = {
        "business": "/v2/businesses/41/",
        "location": "/v2/locations/7/",
        "perk": "/v2/perks/123457/",
        "email": f"{message_id}@example.com",
        "quantity": "1",
        "trans_source_id": key_of(message_id),
    }
    assert sandbox.request("POST", "/v2/transactions/", body=lost, headers={"User-Agent": "lost"}).status == 201
    sandbox.faults({"duplicateAnswer": mode})
    assert product.send("track", event_of(message_id))[0] == 200
    result = product.wait_for_status(message_id, "delivered")
    assert result["attempts"][0]["status"] == int(mode)
    assert result["transaction"]["perkvilleId"] is not None
    assert times_awarded(sandbox, [message_id]) == [1]


def test_perkville_down_at_the_start_is_waited_for(tmp_path: Path) -> None:
    with (
        reserved_port() as port,
        ProductProcess(
            tmp_path / "product", configuration(perkville_url=f"http://127.0.0.1:{port}", options=QUICK)
        ) as product,
    ):
        sent = [check_in(product) for _ in range(3)]
        for message_id in sent:
            result = product.wait_for_status(message_id, "retrying")
            assert result["reason"] == "unreachable"
        with SandboxProcess(tmp_path / "sandbox", port=port) as sandbox:
            for message_id in sent:
                product.wait_for_status(message_id, "delivered")
            assert times_awarded(sandbox, sent) == [1, 1, 1]


def test_a_wrong_token_pauses_says_so_once_and_resumes_when_it_is_corrected(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    problem = "wrong-token-of-acme"
    content = configuration(perkville_url=sandbox.url, options=QUICK, api_key=problem)
    with ProductProcess(tmp_path, content, environment={"PUNCHCARD_LOG_LEVEL": "debug"}) as product:
        sent = [check_in(product) for _ in range(3)]
        wait_until(lambda: product.logged("destination_paused"))
        sent += [check_in(product) for _ in range(3)]
        assert product.wait_for_status(sent[0], "retrying")["reason"] == "credentials_refused"
        product.wait_for_status(sent[-1], "pending")
        attempts = product.wait_for_status(sent[0], "retrying")["attempts"]
        time.sleep(2)
        # The partner is asked now and then whether it takes the token by now; no award goes out for that.
        assert product.wait_for_status(sent[0], "retrying")["attempts"] == attempts
        checked = command("check", "--data", str(product.data))
        assert checked.returncode == 1
        assert "is paused, credentials refused since" in checked.stderr
        assert "next check" in checked.stderr

        product.write_config(healthy(sandbox))
        for message_id in sent:
            product.wait_for_status(message_id, "delivered")
        assert times_awarded(sandbox, sent) == [1] * 6

        # Other causes of log lines: an unknown key, a body other than JSON, a perk that is refused.
        product.send("track", event_of(fresh_id()), write_key="wk_of_somebody_else")
        product.send("track", b'{"email": "broken@example.com"')
        product.write_config(configuration(perkville_url=sandbox.url, event_to_perk_map={"Checked In": "999"}))
        wait_until(lambda: len(product.logged("configuration_changed")) == 3)
        wait_until(lambda: product.trace(check_in(product)) and product.logged("effect_parked"))
        token = product.token
    (paused,) = product.logged("destination_paused")
    assert paused["level"] == "error"
    assert len(product.logged("destination_resumed")) == 1
    secrets = (problem, "sandbox-token", WRITE_KEY, "wk_of_somebody_else", token, "@example.com", "words-of-a-body")
    assert [secret for secret in secrets if secret in product.log] == []


def test_a_perk_that_does_not_exist_is_reported_in_perkvilles_words_and_repaired_by_the_map(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    product.write_config(
        configuration(perkville_url=sandbox.url, options=QUICK, event_to_perk_map={"Checked In": "999"})
    )
    changes = len(product.logged("configuration_changed"))
    wait_until(lambda: len(product.logged("configuration_changed")) > changes)
    rejected: list[str] = []

    def is_rejected() -> bool:
        rejected.append(check_in(product))
        product.wait_for_status(rejected[-1], "rejected") if perk_of(rejected[-1]) == "999" else None
        return perk_of(rejected[-1]) == "999"

    def perk_of(message_id: str) -> str:
        wait_until(
            lambda: (product.trace(message_id) or {"results": [{"transaction": None}]})["results"][0]["transaction"]
        )
        trace = product.trace(message_id)
        assert trace is not None
        return str(trace["results"][0]["transaction"]["perk"])

    wait_until(is_rejected)
    message_id = rejected[-1]
    result = product.wait_for_status(message_id, "rejected")
    assert result["reason"] == "perk_unknown"
    assert "Perk 999" in result["detail"]
    assert "There is nothing at /v2/perks/999/" in result["detail"]

    corrected = {**EVENT_TO_PERK_MAP, "Checked In": "123460"}
    product.write_config(configuration(perkville_url=sandbox.url, options=QUICK, event_to_perk_map=corrected))
    wait_until(lambda: len(product.logged("configuration_changed")) > changes + 1)
    done = command("retry", "--reason", "perk_unknown", "--yes", "--data", str(product.data))
    assert (done.returncode, done.stderr) == (0, "")
    delivered = product.wait_for_status(message_id, "delivered")
    assert delivered["transaction"]["perk"] == "123460"
    (row,) = [
        transaction for transaction in sandbox.transactions() if transaction["trans_source_id"] == key_of(message_id)
    ]
    assert row["perk"] == 123460
    product.write_config(healthy(sandbox))
    wait_until(lambda: len(product.logged("configuration_changed")) > changes + 2)


def test_a_broken_config_file_changes_nothing_and_is_reported_once(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    product.config.write_text("[workspace]\nname = ")
    wait_until(lambda: product.logged("config_file_refused"))
    message_id = check_in(product)
    product.wait_for_status(message_id, "delivered")
    time.sleep(1.5)
    assert len(product.logged("config_file_refused")) == 1
    product.write_config(healthy(sandbox))
    assert times_awarded(sandbox, [message_id]) == [1]


def test_a_port_that_is_taken_ends_the_start_with_one_line(product: ProductProcess) -> None:
    counted = metric(product, "punchcard_ingest_requests_total", call="track", status="200")
    taken = ("up", "--config", str(product.config), "--data", str(product.data), "--port", str(product.port))
    done = command(*taken)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(product.port) in done.stderr
    # The one that runs on this folder goes on as if nothing had been, its counters too.
    assert metric(product, "punchcard_ingest_requests_total", call="track", status="200") == counted
    product.wait_for_status(check_in(product), "delivered")


METRIC = re.compile(r"^(?P<name>\w+?)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)


def metrics(product: ProductProcess) -> list[tuple[str, dict[str, str], float]]:
    status, text = product.call("GET", "/metrics")
    assert status == 200
    return [
        (match["name"], dict(re.findall(r'(\w+)="([^"]*)"', match["labels"] or "")), float(match["value"]))
        for match in METRIC.finditer(text)
    ]


def metric(product: ProductProcess, name: str, **labels: str) -> float:
    """The sum of all values of a metric with these labels."""
    return sum(value for item, have, value in metrics(product) if item == name and labels.items() <= have.items())


def test_metrics_of_both_processes_are_in_one_answer(product: ProductProcess, sandbox: SandboxProcess) -> None:
    product.send("track", {"userId": "ann", "event": "Sauna Visited"})
    product.send("page", {"userId": "ann"})
    product.wait_for_status(check_in(product), "delivered")
    sandbox.faults({"status": 503})
    waiting = check_in(product)
    product.wait_for_status(waiting, "retrying")
    # Between two attempts it is retrying; while one is made it is being sent.
    retrying = {"destination": "perkville", "state": "retrying"}
    wait_until(lambda: metric(product, "punchcard_outbox_effects", **retrying) == 1)
    wait_until(lambda: metric(product, "punchcard_outbox_oldest_seconds", **retrying) > 0)
    sandbox.faults({})
    product.wait_for_status(waiting, "delivered")

    refused = {"destination": "perkville", "status": "refused", "reason": "not_allowlisted"}
    filtered = {"status": "filtered_at_destination", "reason": "unsupported_event_type"}
    for name, labels in (
        ("punchcard_ingest_requests_total", {"call": "track", "status": "200"}),
        ("punchcard_ingest_durable_seconds_count", {}),
        ("punchcard_routing_events_total", {"source": "website"}),
        ("punchcard_routing_results_total", refused),
        ("punchcard_routing_results_total", filtered),
        ("punchcard_routing_latency_seconds_count", {}),
        ("punchcard_delivery_attempts_total", {"destination": "perkville", "outcome": "delivered"}),
        ("punchcard_delivery_attempts_total", {"destination": "perkville", "outcome": "retryable"}),
        ("punchcard_delivery_attempt_seconds_count", {"destination": "perkville"}),
        ("punchcard_delivery_latency_seconds_count", {"destination": "perkville"}),
    ):
        assert metric(product, name, **labels) >= 1, (name, labels)
    assert metric(product, "punchcard_destination_paused", destination="perkville") == 0
    wait_until(lambda: metric(product, "punchcard_lake_rows_total") >= 1)


def send_until(product: ProductProcess, stopped: threading.Event, acknowledged: list[str]) -> None:
    """Send one check-in after another; those that were answered 200 are listed."""
    while not stopped.is_set():
        message_id = fresh_id()
        if product.send("track", event_of(message_id))[0] == 200:
            acknowledged.append(message_id)


def test_sigterm_while_events_flow_ends_in_time_and_loses_nothing(tmp_path: Path, sandbox: SandboxProcess) -> None:
    sandbox.faults({"latencyMs": 30})
    product = ProductProcess(tmp_path, healthy(sandbox))
    stopped = threading.Event()
    acknowledged: list[str] = []
    sending = threading.Thread(target=send_until, args=(product, stopped, acknowledged))
    sending.start()
    try:
        wait_until(lambda: len(acknowledged) >= 60)
        worker = product.worker_pid()
        begun = time.monotonic()
        status = product.stop()
        took = time.monotonic() - begun
    finally:
        stopped.set()
        sending.join()
    assert status == 0
    assert took < STOP_SECONDS_MAX
    assert worker is not None
    assert not Path(f"/proc/{worker}").exists()
    with ProductProcess(tmp_path) as again:
        for message_id in acknowledged:
            again.wait_for_status(message_id, "delivered")
        assert set(times_awarded(sandbox, acknowledged)) == {1}


def test_sigterm_is_obeyed_in_time_even_while_perkville_hangs(tmp_path: Path, sandbox: SandboxProcess) -> None:
    content = configuration(perkville_url=sandbox.url, options={**QUICK, "requestTimeoutSeconds": 100})
    product = ProductProcess(tmp_path, content)
    product.wait_for_status(check_in(product), "delivered")
    sandbox.faults({"latencyMs": 90_000})
    message_id = check_in(product)
    wait_until(lambda: (product.trace(message_id) or {"results": [{"attempts": []}]})["results"][0]["attempts"])
    with socket.create_connection(("127.0.0.1", product.port)) as half_a_request:
        half_a_request.sendall(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        begun = time.monotonic()
        assert product.stop() == 0
        assert time.monotonic() - begun < STOP_SECONDS_MAX
    sandbox.faults({})
    with ProductProcess(tmp_path, healthy(sandbox)) as again:
        again.wait_for_status(message_id, "delivered")
        assert times_awarded(sandbox, [message_id]) == [1]


def test_a_second_up_on_the_same_data_stands_by_and_takes_over(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with ProductProcess(tmp_path, healthy(sandbox)) as first:
        sent = [check_in(first)]
        first.wait_for_status(sent[0], "delivered")
        with ProductProcess(tmp_path) as second:
            assert metric(first, "punchcard_ingest_requests_total", call="track", status="200") >= 1
            sent += [check_in(item) for _ in range(10) for item in (first, second)]
            for message_id in sent:
                second.wait_for_status(message_id, "delivered")
            first.stop()
            sent.append(check_in(second))
            second.wait_for_status(sent[-1], "delivered")
            assert times_awarded(sandbox, sent) == [1] * len(sent)


def test_a_full_disk_is_answered_503_and_costs_nothing_that_was_acknowledged(
    tmp_path: Path, sandbox: SandboxProcess, small_disk: Callable[..., AbstractContextManager[None]]
) -> None:
    with small_disk(tmp_path / "data", megabytes=48), ProductProcess(tmp_path, healthy(sandbox)) as product:
        acknowledged = [check_in(product)]
        product.wait_for_status(acknowledged[0], "delivered")
        ballast = tmp_path / "data" / "ballast"
        fill(ballast)
        statuses: Counter[int] = Counter()
        while statuses[503] < 20:
            message_id = fresh_id()
            event = event_of(message_id) | {"context": {"padding": os.urandom(10_000).hex()}}
            request = urllib.request.Request(
                f"{product.url}/v1/track",
                data=json.dumps({**event, "writeKey": WRITE_KEY}).encode(),
                headers={"Content-Type": "application/json"},
            )
            try:
                response = urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)
            except urllib.error.HTTPError as refused:
                response = refused
            with response:
                statuses[response.status] += 1
                if response.status == 200:
                    acknowledged.append(message_id)
                else:
                    assert response.headers["Retry-After"]
            assert sum(statuses.values()) < 2000, f"a disk without room takes every event: {statuses}"
            if response.status == 503:
                assert product.call("GET", "/health/ready")[0] == 503
        assert set(statuses) <= {200, 503}

        ballast.unlink()
        wait_until(lambda: product.call("GET", "/health/ready")[0] == 200)
        acknowledged.append(fresh_id())
        wait_until(lambda: product.send("track", event_of(acknowledged[-1]))[0] == 200)
        for message_id in acknowledged:
            product.wait_for_status(message_id, "delivered")
        assert set(times_awarded(sandbox, acknowledged)) == {1}
        assert product.logged("event_log_append_failed")
        wait_until(lambda: product.logged("event_log_recovered"))
        counter = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
        assert max(counter.values()) == 1


def test_up_on_postgresql_delivers(tmp_path: Path, sandbox: SandboxProcess, empty_postgres_url: str) -> None:
    with ProductProcess(
        tmp_path, healthy(sandbox), environment={"PUNCHCARD_DATABASE_URL": empty_postgres_url}
    ) as product:
        sent = [check_in(product) for _ in range(5)]
        for message_id in sent:
            product.wait_for_status(message_id, "delivered")
        assert times_awarded(sandbox, sent) == [1] * 5
    assert not (product.data / "punchcard.db").exists()


def test_serve_and_worker_as_two_processes_deliver(
    tmp_path: Path, sandbox: SandboxProcess, empty_postgres_url: str
) -> None:
    environment = {"PUNCHCARD_DATABASE_URL": empty_postgres_url}
    with ProductProcess(tmp_path, healthy(sandbox), environment=environment, serves_only=True) as product:
        done = command("apply", str(product.config), "--data", str(product.data), environment=environment)
        assert (done.returncode, done.stderr) == (0, "")
        wait_until(lambda: product.send("track", event_of(fresh_id()), strict=True)[0] == 200)
        sent = [check_in(product) for _ in range(5)]
        assert product.wait_for_status(sent[-1], "pending")["reason"] == "not_routed_yet"
        with (tmp_path / "worker.log").open("w") as log:
            worker = start_module(
                "punchcard",
                *("worker", "--data", str(product.data)),
                stderr=log,
                environment={**os.environ, **environment},
            )
        try:
            for message_id in sent:
                product.wait_for_status(message_id, "delivered")
            assert times_awarded(sandbox, sent) == [1] * 5
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(STOP_SECONDS_MAX) == 0

"""The sandbox's faults are exactly those that were switched on, and its ledger shows the truth behind them."""

import errno
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from punchcard.sandbox.faults import Fault, FaultInjector, Faults
from punchcard.testing.clock import ManualClock
from punchcard.testing.sandbox import SandboxProcess, SandboxReply

_numbers = count(1)
BUSINESS = "/v2/businesses/41/"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture
def sandbox(process: SandboxProcess) -> Iterator[SandboxProcess]:
    yield process
    process.faults({})


def new_id() -> str:
    return f"SEG:fault:{next(_numbers)}"


def post(sandbox: SandboxProcess, source_id: str, quantity: str = "1") -> SandboxReply:
    body = {
        "business": "/v2/businesses/41/",
        "location": "/v2/locations/7/",
        "perk": "/v2/perks/123456/",
        "email": "example@example.com",
        "quantity": quantity,
        "trans_source_id": source_id,
    }
    return sandbox.request("POST", "/v2/transactions/", body=body)


def stored(sandbox: SandboxProcess, source_id: str) -> int:
    return [each["trans_source_id"] for each in sandbox.transactions()].count(source_id)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 502, 503])
def test_a_status_is_answered_and_nothing_is_stored(sandbox: SandboxProcess, status: int) -> None:
    sandbox.faults({"status": status, "retryAfter": 7})
    source_id = new_id()
    response = post(sandbox, source_id)
    assert (response.status, response.headers["retry-after"]) == (status, "7")
    assert set(response.json()) == {"error_type", "errors"}
    assert sandbox.request("GET", BUSINESS).status == status
    assert stored(sandbox, source_id) == 0


def test_without_retry_after_there_is_no_such_header(sandbox: SandboxProcess) -> None:
    sandbox.faults({"status": 503})
    assert "retry-after" not in sandbox.request("GET", BUSINESS).headers


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        pytest.param({"html": True}, 503, id="503-of-itself"),
        pytest.param({"html": True, "status": 403}, 403, id="with-a-status"),
        pytest.param({"html": True, "status": 200}, 200, id="even-a-lie"),
    ],
)
def test_an_error_can_be_a_page(sandbox: SandboxProcess, faults: dict[str, object], status: int) -> None:
    sandbox.faults(faults)
    response = sandbox.request("GET", BUSINESS)
    assert (response.status, response.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert response.body.startswith(b"<!DOCTYPE html>")


def test_a_reset_connection_carries_no_answer_and_stores_nothing(sandbox: SandboxProcess) -> None:
    sandbox.faults({"reset": True})
    source_id = new_id()
    with pytest.raises(ConnectionResetError) as post_failed:
        post(sandbox, source_id)
    with pytest.raises(ConnectionResetError) as get_failed:
        sandbox.request("GET", BUSINESS)
    # Torn down by RST, not closed politely, of which Python makes the same class without a number.
    assert (post_failed.value.errno, get_failed.value.errno) == (errno.ECONNRESET, errno.ECONNRESET)
    assert stored(sandbox, source_id) == 0


def test_after_commit_stores_and_then_answers_504(sandbox: SandboxProcess) -> None:
    sandbox.faults({"afterCommit": True})
    source_id = new_id()
    assert post(sandbox, source_id).status == 504
    assert stored(sandbox, source_id) == 1
    sandbox.faults({})
    assert post(sandbox, source_id).status == 400


def test_after_commit_can_reset_instead(sandbox: SandboxProcess) -> None:
    sandbox.faults({"afterCommit": True, "reset": True})
    source_id = new_id()
    with pytest.raises(ConnectionResetError):
        post(sandbox, source_id)
    assert stored(sandbox, source_id) == 1


def test_after_commit_leaves_reads_alone(sandbox: SandboxProcess) -> None:
    sandbox.faults({"afterCommit": True, "reset": True})
    assert sandbox.request("GET", BUSINESS).status == 200


def test_after_commit_loses_the_answer_of_a_patch_too(sandbox: SandboxProcess) -> None:
    post(sandbox, new_id())
    sandbox.faults({"afterCommit": True})
    response = sandbox.request("PATCH", "/v2/connections/1/", body={"custom_attributes": {"lost": "answer"}})
    assert response.status == 504
    assert sandbox.request("GET", "/v2/connections/1/").json()["custom_attributes"] == {"lost": "answer"}


@pytest.mark.parametrize(("mode", "status"), [("400", 400), ("409", 409), ("200", 200), (409, 409)])
def test_a_duplicate_is_answered_as_switched(sandbox: SandboxProcess, mode: object, status: int) -> None:
    source_id = new_id()
    original = post(sandbox, source_id).json()
    sandbox.faults({"duplicateAnswer": mode})
    again = post(sandbox, source_id, quantity="2")
    assert again.status == status
    if status == 200:
        assert again.json() == original
    else:
        assert again.json()["errors"]["trans_source_id"][0]["code"] == "duplicate_trans_source_id"
    assert stored(sandbox, source_id) == 1


def test_a_reused_id_is_stored_twice_by_a_service_that_does_not_look_at_it(sandbox: SandboxProcess) -> None:
    source_id = new_id()
    original = post(sandbox, source_id).json()
    sandbox.faults({"duplicateAnswer": "accept"})
    again = post(sandbox, source_id)
    assert again.status == 201
    assert again.json()["transaction_id"] != original["transaction_id"]
    assert stored(sandbox, source_id) == 2
    sandbox.faults({})
    assert post(sandbox, source_id).status == 400


@pytest.mark.parametrize(
    ("faults", "quantity", "outcome"),
    [
        pytest.param({"fractional": "accept"}, "9.99", "9.99", id="fraction-accepted"),
        pytest.param({"fractional": "round"}, "9.99", "10", id="fraction-rounded"),
        pytest.param({"fractional": "round"}, "2.5", "3", id="half-up"),
        pytest.param({"fractional": "round"}, "0.4", "zero_quantity", id="rounded-to-nothing"),
        pytest.param({"fractional": "refuse"}, "9.99", "fractional_quantity", id="fraction-refused"),
        pytest.param({"fractional": "refuse"}, "9.00", "9.00", id="whole-is-no-fraction"),
        pytest.param({"negative": "accept"}, "-1", "-1", id="negative-accepted"),
        pytest.param({"negative": "refuse"}, "-1", "negative_quantity", id="negative-refused"),
    ],
)
def test_quantities_are_taken_as_switched(
    sandbox: SandboxProcess, faults: dict[str, object], quantity: str, outcome: str
) -> None:
    sandbox.faults(faults)
    response = post(sandbox, new_id(), quantity)
    result = response.json()["quantity"] if response.status == 201 else response.json()["errors"]["quantity"][0]["code"]
    assert result == outcome


def test_faults_are_read_back_and_cleared(sandbox: SandboxProcess) -> None:
    sandbox.faults({"status": 503, "rate": 0.2, "retryAfter": 1, "latencyMs": 5})
    shown = sandbox.request("GET", "/sandbox/faults").json()
    assert shown == {"status": 503, "rate": 0.2, "retryAfter": 1, "latencyMs": 5}
    sandbox.faults({"html": True})
    assert sandbox.request("GET", "/sandbox/faults").json() == {"html": True}
    sandbox.faults({})
    assert sandbox.request("GET", "/sandbox/faults").json() == {}
    assert sandbox.request("GET", BUSINESS).status == 200


def test_faults_leave_the_control_api_and_the_pages_alone(sandbox: SandboxProcess) -> None:
    sandbox.faults({"reset": True})
    assert sandbox.request("GET", "/sandbox/transactions").status == 200
    assert sandbox.request("GET", "/transactions/").status == 200


@pytest.mark.parametrize(
    ("faults", "named"),
    [
        pytest.param({"stauts": 503}, "stauts", id="unknown-key"),
        pytest.param({"status": "503"}, "$.status", id="wrong-type"),
        pytest.param({"status": 99}, "$.status", id="no-status"),
        pytest.param({"status": 204}, "204", id="bodiless-status"),
        pytest.param({"rate": 2}, "$.rate", id="rate-above-one"),
        pytest.param({"rate": -0.1}, "$.rate", id="rate-below-nothing"),
        pytest.param({"retryAfter": -1}, "$.retryAfter", id="wait-backwards"),
        pytest.param({"latencyMs": -5}, "$.latencyMs", id="early-answer"),
        pytest.param({"duplicateAnswer": "500"}, "$.duplicateAnswer", id="unknown-answer"),
        pytest.param({"fractional": "maybe"}, "$.fractional", id="unknown-word"),
        pytest.param({"negative": True}, "$.negative", id="boolean-for-word"),
        pytest.param({"requestsPerSecond": 0}, "$.requestsPerSecond", id="no-requests-at-all"),
        pytest.param({"reset": 1}, "$.reset", id="number-for-boolean"),
        pytest.param(b"{", "truncated", id="broken-json"),
        pytest.param(b"[]", "object", id="list"),
    ],
)
def test_faults_that_are_not_known_are_refused_by_name(sandbox: SandboxProcess, faults: object, named: str) -> None:
    sandbox.faults({"html": True})
    response = sandbox.request("PUT", "/sandbox/faults", body=faults)
    assert response.status == 400
    assert named in response.json()["error"]
    assert sandbox.request("GET", "/sandbox/faults").json() == {"html": True}


def test_a_throttled_request_is_answered_429(sandbox: SandboxProcess) -> None:
    sandbox.faults({"requestsPerSecond": 0.001})
    assert sandbox.request("GET", BUSINESS).status == 200
    response = sandbox.request("GET", BUSINESS)
    assert (response.status, int(response.headers["retry-after"]) > 900) == (429, True)
    sandbox.faults({"requestsPerSecond": 0.001, "retryAfter": 3})
    sandbox.request("GET", BUSINESS)
    assert sandbox.request("GET", BUSINESS).headers["retry-after"] == "3"


def test_the_throttle_lets_so_many_through_in_a_second() -> None:
    clock = ManualClock()
    injector = FaultInjector(clock)
    injector.set_faults(Faults(requests_per_second=5))
    assert [injector.seconds_to_wait() for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]
    clock.advance(0.2)
    assert [injector.seconds_to_wait() for _ in range(2)] == [0, 1]
    clock.advance(100)
    assert [injector.seconds_to_wait() for _ in range(6)] == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(("rate", "fewest", "most"), [(0, 0, 0), (0.2, 150, 250), (1, 1000, 1000)])
def test_the_rate_is_the_share_of_requests_that_are_hit(rate: float, fewest: int, most: int) -> None:
    injector = FaultInjector(ManualClock(seed=1))
    injector.set_faults(Faults(reset=True, rate=rate))
    hits = sum(injector.next_fault(is_write=True) is Fault.RESET for _ in range(1000))
    assert fewest <= hits <= most


def test_requests_are_counted(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        sandbox.request("GET", BUSINESS)
        sandbox.request("GET", "/v2/nothing/")
        sandbox.faults({"afterCommit": True})
        post(sandbox, new_id())
        sandbox.faults({"reset": True})
        with pytest.raises(ConnectionResetError):
            sandbox.request("GET", BUSINESS)
        assert sandbox.counts() == {
            "requests": 4,
            "status_200": 1,
            "status_404": 1,
            "status_504": 1,
            "response_lost": 1,
            "reset": 1,
            "no_response": 1,
        }

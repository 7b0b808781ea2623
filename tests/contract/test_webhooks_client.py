"""The client of Webhooks against a real receiver: what arrives, what each response leads to, whom it never reaches."""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy, read_networks
from punchcard.destinations.port import Effect, EffectKey, Performed
from punchcard.destinations.webhooks.client import WebhooksClient
from punchcard.destinations.webhooks.settings import read_settings
from punchcard.errors import DeliveryError, OutcomeUnknownError, RejectedError, RetryableError
from punchcard.testing.webhook_receiver import ReceivedRequest, Reply, WebhookReceiver

pytestmark = pytest.mark.anyio

LOOPBACK = NetworkPolicy(allowed=read_networks(["127.0.0.0/8"]))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


@asynccontextmanager
async def client_to(
    url: str, *, network: NetworkPolicy = LOOPBACK, timeout_seconds: float = 10, **settings: object
) -> AsyncIterator[WebhooksClient]:
    client = WebhooksClient(
        read_settings({"url": url, **settings}, {"requestTimeoutSeconds": timeout_seconds}), network=network
    )
    try:
        yield client
    finally:
        await client.close()


def effect(message_id: str, body: Mapping[str, object] | None = None) -> Effect:
    payload = {"messageId": message_id, "body": {"messageId": message_id, **(body or {})}}
    return Effect(
        kind="webhook_call",
        effect_key=EffectKey(f"SEG:website:EVENT:{message_id}"),
        email="",
        event_name="Order Completed",
        item=None,
        quantity=None,
        attributes=None,
        payload=json.dumps(payload),
    )


async def test_a_call_arrives_signed_with_its_headers(receiver: WebhookReceiver) -> None:
    headers = {"Authorization": "Bearer t", "X-Team": "loyalty"}
    async with client_to(receiver.url, headers=headers, sharedSecret="secret") as client:
        performed = await client.perform(effect("m1", {"event": "Café ☕"}))
    assert performed.status == 200
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hook")
    assert json.loads(request.body) == {"messageId": "m1", "event": "Café ☕"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["x-team"] == "loyalty"
    assert request.headers["user-agent"].startswith("punchcard/")
    # As a receiver of Segment's webhooks verifies it.
    assert request.headers["x-signature"] == hmac.new(b"secret", request.body, hashlib.sha1).hexdigest()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RejectedError),
        (401, RejectedError),
        (404, RejectedError),
        (501, RejectedError),
        (408, RetryableError),
        (423, RetryableError),
        (429, RetryableError),
        (500, RetryableError),
        (503, RetryableError),
        (502, OutcomeUnknownError),
        (504, OutcomeUnknownError),
    ],
)
async def test_each_status_leads_to_its_retry_class(
    receiver: WebhookReceiver, status: int, kind: type[DeliveryError]
) -> None:
    receiver.replies.append(Reply(status=status, headers={"Retry-After": "3"}, body=b"because"))
    async with client_to(receiver.url) as client:
        with pytest.raises(kind) as caught:
            await client.perform(effect("m1"))
    assert caught.value.status == status
    assert "because" in caught.value.message


async def test_redirects_are_not_followed(receiver: WebhookReceiver) -> None:
    with WebhookReceiver() as other:
        for status in (301, 302, 303, 307, 308):
            receiver.replies.append(Reply(status=status, headers={"Location": other.url}))
            async with client_to(receiver.url) as client:
                with pytest.raises(RejectedError) as caught:
                    await client.perform(effect("m1"))
            assert caught.value.code == "webhook_redirected"
        assert other.requests == []


async def test_a_response_that_does_not_come_is_unknown(receiver: WebhookReceiver) -> None:
    receiver.replies.append(Reply(resets=True))
    async with client_to(receiver.url) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.perform(effect("m1"))
    receiver.replies.append(Reply(delay_seconds=2))
    async with client_to(receiver.url, timeout_seconds=0.3) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.perform(effect("m2"))
    assert receiver.message_ids()["m1"] == 1


async def test_a_receiver_that_is_not_there_surely_got_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with client_to(f"http://127.0.0.1:{port}/") as client:
            with pytest.raises(RetryableError) as caught:
                await client.perform(effect("m1"))
    assert caught.value.code == "unreachable"


# --- private addresses ---


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"])
async def test_private_addresses_are_refused_however_they_are_written(receiver: WebhookReceiver, host: str) -> None:
    async with client_to(f"http://{host}:{receiver.port}/hook", network=PUBLIC_ONLY) as client:
        with pytest.raises(RetryableError) as caught:
            await client.perform(effect("m1"))
    assert caught.value.code in ("address_not_allowed", "unreachable")
    if host in ("127.0.0.1", "localhost"):
        assert caught.value.code == "address_not_allowed"
        assert "webhookAllowedNetworks" in caught.value.message
    assert receiver.requests == []


async def test_a_network_that_is_named_is_reached(receiver: WebhookReceiver) -> None:
    network = NetworkPolicy(allowed=read_networks(["127.0.0.1/32"]))
    async with client_to(f"http://localhost:{receiver.port}/hook", network=network) as client:
        await client.perform(effect("m1"))
    assert receiver.message_ids() == {"m1": 1}


class Rebinding:
    """A name server that answers with a public address at first and with a private one from then on."""

    def __init__(self, port: int) -> None:
        self.addresses = iter(["93.184.216.34"])
        self.port = port

    async def resolve(self, host: str, port: int) -> list[Any]:
        address = next(self.addresses, "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, self.port))]


async def test_a_name_that_is_bound_to_another_address_later_is_refused_when_it_connects(
    receiver: WebhookReceiver,
) -> None:
    resolver = Rebinding(receiver.port)
    (first,) = await resolver.resolve("hook.example", receiver.port)
    assert PUBLIC_ONLY.permits(first[4][0])  # a check before the connection is opened sees a public address
    settings = read_settings({"url": f"http://hook.example:{receiver.port}/hook"}, {})
    client = WebhooksClient(settings, network=PUBLIC_ONLY, resolve=resolver.resolve)
    with pytest.raises(RetryableError) as caught:
        await client.perform(effect("m1"))
    await client.close()
    assert caught.value.code == "address_not_allowed"
    assert receiver.requests == []


async def test_a_proxy_of_the_environment_does_not_lead_around_the_check(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{receiver.port}")
    # The proxy itself may be connected to, and would fetch what may not.
    async with client_to("http://169.254.169.254/latest/meta-data", network=LOOPBACK) as client:
        with pytest.raises(RetryableError) as caught:
            await client.perform(effect("m1"))
    assert caught.value.code == "address_not_allowed"
    assert receiver.requests == []


# --- batches ---


async def test_a_batch_is_one_request_with_an_array(receiver: WebhookReceiver) -> None:
    async with client_to(receiver.url, batchSize=10, sharedSecret="secret") as client:
        results = await client.perform_batch([effect(f"m{number}") for number in range(3)])
        await client.perform(effect("alone"))
    assert [type(result) for result in results] == [Performed] * 3
    batch, alone = receiver.requests
    assert json.loads(batch.body) == [{"messageId": "m0"}, {"messageId": "m1"}, {"messageId": "m2"}]
    assert json.loads(alone.body) == [{"messageId": "alone"}]
    assert batch.headers["x-signature"] == hmac.new(b"secret", batch.body, hashlib.sha1).hexdigest()


async def test_one_event_that_is_refused_does_not_keep_the_others_from_the_receiver(receiver: WebhookReceiver) -> None:
    def decide(request: ReceivedRequest) -> Reply:
        has_bad = any(event["messageId"] == "bad" for event in request.events)
        return Reply(status=400, body=b"bad event") if has_bad else Reply()

    receiver.decide = decide
    names = ["m0", "m1", "bad", "m3", "m4", "m5", "m6"]
    async with client_to(receiver.url, batchSize=10) as client:
        results = await client.perform_batch([effect(name) for name in names])
    kinds = {name: type(result) for name, result in zip(names, results, strict=True)}
    assert kinds == {name: RejectedError if name == "bad" else Performed for name in names}
    assert len(receiver.requests) < 8


async def test_refused_credentials_of_a_batch_are_not_verified_event_by_event(receiver: WebhookReceiver) -> None:
    receiver.decide = lambda _: Reply(status=401)
    async with client_to(receiver.url, batchSize=10) as client:
        results = await client.perform_batch([effect(f"m{number}") for number in range(8)])
    assert len(receiver.requests) == 1
    assert {type(result) for result in results} == {RejectedError}


async def test_a_receiver_that_refuses_everything_gets_a_limited_number_of_requests(receiver: WebhookReceiver) -> None:
    receiver.decide = lambda _: Reply(status=400)
    async with client_to(receiver.url, batchSize=1000) as client:
        results = await client.perform_batch([effect(f"m{number}") for number in range(500)])
    assert len(results) == 500
    assert len(receiver.requests) <= 32
    codes = {result.code for result in results if isinstance(result, DeliveryError)}
    assert codes == {"webhook_refused", "batch_refused"}


async def test_an_unreachable_receiver_leaves_every_event_of_a_batch_to_be_retried(receiver: WebhookReceiver) -> None:
    receiver.replies.append(Reply(resets=True))
    async with client_to(receiver.url, batchSize=10) as client:
        results = await client.perform_batch([effect(f"m{number}") for number in range(3)])
    assert {type(result) for result in results} == {OutcomeUnknownError}


# --- check ---


@pytest.mark.parametrize(("status", "is_ok"), [(200, True), (404, True), (405, True), (500, True), (301, False)])
async def test_the_check_sends_no_event(receiver: WebhookReceiver, status: int, *, is_ok: bool) -> None:
    receiver.replies.append(Reply(status=status))
    async with client_to(receiver.url) as client:
        (finding,) = await client.check()
    assert finding.ok is is_ok
    (request,) = receiver.requests
    assert (request.method, request.body) == ("HEAD", b"")


async def test_the_check_names_a_private_address(receiver: WebhookReceiver) -> None:
    async with client_to(receiver.url, network=PUBLIC_ONLY) as client:
        (finding,) = await client.check()
    assert not finding.ok
    assert "private address 127.0.0.1" in finding.message


async def test_several_calls_at_once_keep_their_own_results(receiver: WebhookReceiver) -> None:
    receiver.decide = lambda request: Reply(status=400 if request.events[0]["messageId"] == "m3" else 200)
    async with client_to(receiver.url) as client:
        results = await asyncio.gather(*(client.perform(effect(f"m{n}")) for n in range(6)), return_exceptions=True)
    assert [type(result) for result in results] == [*[Performed] * 3, RejectedError, Performed, Performed]

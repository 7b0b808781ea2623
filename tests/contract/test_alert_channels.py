"""Notices reach a real mail server and a real receiver of webhooks."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.contract.alert_world import CHANNEL, SECRET, World
from tests.contract.mail_server import MailServer

from punchcard.operations.alert_channels import ChannelError, Notice, SendingContext, send_notice
from punchcard.operations.alert_notices import NoticeDispatcher
from punchcard.store.operations.alert_notices import NoticeState, read_channel_health
from punchcard.testing.clock import ManualClock
from punchcard.testing.webhook_receiver import Reply, WebhookReceiver
from punchcard.workspace.model import AlertChannel


@pytest.fixture
def sqlite_world(sqlite_url: str) -> Iterator[World]:
    world = World(sqlite_url)
    yield world
    world.store.close()


def context_of(world: World) -> SendingContext:
    snapshot = world.watch.newest()
    return SendingContext(network=snapshot.network, zone=snapshot.zone, clock=world.clock)


def test_the_webhook_is_signed_and_repeats_the_same_bytes(sqlite_world: World) -> None:
    world = sqlite_world
    with WebhookReceiver() as receiver:
        world.channels = CHANNEL.format(name="ops", url=receiver.url, severity="info") + f'secret = "{SECRET}"\n'
        world.configure(enabled=False)
        world.dispatcher = NoticeDispatcher(world.store, clock=world.clock, current=world.watch.newest)
        receiver.replies.append(Reply(status=500))
        world.look()
        world.send()
        assert world.notice_states() == [NoticeState.PENDING]
        world.clock.advance(31)
        world.send()
        assert world.notice_states() == [NoticeState.SENT]
        first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    content = json.loads(second.body)
    assert set(content) == {"type", "timestamp", "data"}
    assert content["type"] == "alert.raised"
    assert {"kind", "severity", "title", "detail", "remedy", "url", "since"} <= set(content["data"])
    signed = f"{second.headers['webhook-id']}.{second.headers['webhook-timestamp']}.".encode() + second.body
    digest = base64.b64encode(hmac.new(b"twenty-four secret bytes", signed, hashlib.sha256).digest()).decode()
    assert second.headers["webhook-signature"] == f"v1,{digest}"


def test_a_webhook_reaches_no_private_address_that_is_not_allowed(sqlite_world: World) -> None:
    world = sqlite_world
    with WebhookReceiver() as receiver:
        world.channels = CHANNEL.format(name="ops", url=receiver.url, severity="info")
        world.configure(enabled=False)
        world.dispatcher = NoticeDispatcher(world.store, clock=world.clock, current=world.watch.newest)
        world.look()
        strict = replace(world.watch.newest(), network=type(world.watch.newest().network)())
        world.dispatcher.send_due("ops", strict)
        assert receiver.requests == []
    with world.store.reading() as work:
        assert "private address" in read_channel_health(work, ["ops"])["ops"].error


def test_a_mail_is_sent_and_a_refused_one_is_sent_again(sqlite_world: World) -> None:
    world = sqlite_world
    with MailServer() as server:
        world.channels = CHANNEL.format(name="ops", url=server.url, severity="warning")
        world.configure(enabled=False)
        world.dispatcher = NoticeDispatcher(world.store, clock=world.clock, current=world.watch.newest)
        server.refusals = 1
        world.look()
        world.send()
        with world.store.reading() as work:
            assert read_channel_health(work, ["ops"])["ops"].error
        world.clock.advance(31)
        world.send()
        (mail,) = server.mails
    assert mail["Subject"].startswith("[Punchcard] Warning: Perkville is off")
    assert mail["To"] == "ops@example.com"
    text = mail.get_content()
    assert "Its events are recorded only" in text
    assert "https://points.example.com/destinations/perkville" in text
    assert "<" not in text


def test_a_server_that_is_away_is_an_error_with_its_reason(sqlite_world: World) -> None:
    channel = AlertChannel(slug="ops", name="ops", url="mailto://127.0.0.1:9?from=a@example.com&to=b@example.com")
    body = _any_body()
    with pytest.raises(ChannelError, match=r"127\.0\.0\.1"):
        send_notice(channel, body, context_of(sqlite_world))


def _any_body() -> Notice:
    from punchcard.operations.alert_channels import check_notice

    channel = AlertChannel(slug="ops", name="ops", url="https://a.example")
    return check_notice(channel, public_url="https://points.example.com", clock=ManualClock())

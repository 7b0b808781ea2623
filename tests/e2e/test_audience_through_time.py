"""The page's example from end to end on a clock that is set by hand: every part is real, Perkville is the sandbox.

An order makes a member, which is synced to Perkville and earns points once; thirty days later, with no
further order, the member has left, which is synced to Perkville too. A hundred days pass in some seconds.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from punchcard.clock import to_micros
from punchcard.delivery.attempts import perform_attempt
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.engage.computation_engine import ComputationEngine
from punchcard.engage.fact_store import FactStore
from punchcard.engage.sync_dispatch import SyncDispatcher
from punchcard.lake.reader import LakeReader
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import Router
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.sandbox import SandboxProcess
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import compile_snapshot

KEY = "order_completed_last_30days"
BEGIN = datetime(2026, 2, 20, 12, tzinfo=UTC)
CONFIGURATION = """
[[sources]]
slug = "website"
write_key = "wk"

[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "sandbox-token"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Order Completed" = "123456", "Audience Entered" = "123457" }}
[destinations.options]
apiBaseUrl = "{url}"

[[audiences]]
name = "Order Completed Last 30days"
definition = "event('Order Completed').within(30 days).count() >= 1"
destinations = ["perkville"]
send = ["identify", "track"]
"""


class Pipeline:
    """All of one installation, step by step, on a clock of its own."""

    def __init__(self, folder: Path, perkville_url: str) -> None:
        self.clock = ManualClock(BEGIN)
        self.store = Store(with_tables(f"sqlite:///{folder / 'punchcard.db'}"))
        content = CONFIGURATION.format(url=perkville_url).encode()
        self.workspace = read_content(content, "punchcard.toml", environment={})
        self.configure(enabled=True)
        self.log = SqliteEventLog(folder / "log.db")
        lake = str(folder / "lake")
        self.feed = LakeFeed(
            lake=LakeWriter(lake, clock=self.clock), log=self.log, store=self.store, clock=self.clock, rows_max=10**6
        )
        self.router = Router(
            log=self.log,
            store=self.store,
            clock=self.clock,
            current=lambda: self.snapshot,
            index=MessageIndex(1_000),
            feed=self.feed,
            on_effects=lambda _: None,
            batch_bytes=10**6,
        )
        self.facts = FactStore(folder / "engage.duckdb")
        self.engine = ComputationEngine(
            store=self.store, lake=LakeReader(lake), facts=self.facts, clock=self.clock, current=lambda: self.snapshot
        )
        self.dispatcher = SyncDispatcher(store=self.store, log=self.log, clock=self.clock)

    def configure(self, *, enabled: bool) -> None:
        """Switch Perkville on or off."""
        keyring = Keyring("a secret")
        destinations = tuple(replace(destination, enabled=enabled) for destination in self.workspace.destinations)
        workspace = replace(self.workspace, destinations=destinations)
        apply(self.store, workspace, clock=self.clock, keyring=keyring, actor="test")
        self.snapshot = compile_snapshot(load(self.store, keyring), keyring=keyring)

    def receive(self, event: dict[str, Any]) -> None:
        """An event is durable."""
        body = json.dumps(event).encode()
        self.log.append([NewRecord(to_micros(self.clock.now()), "wk", "track", "identity", body, "")])

    def run_until_idle(self) -> None:
        """Every loop takes steps until none has anything to do."""
        while (
            self.router.step()
            + self.feed.flush()
            + self.engine.step()
            + self.dispatcher.step(self.snapshot)
            + self._sent()
        ):
            continue

    def _sent(self) -> int:
        perkville = self.snapshot.destinations["perkville"]
        target = DeliveryTarget(
            slug="perkville",
            partner=perkville.partner,
            settings=perkville.settings,
            options=perkville.partner.delivery_options(perkville.settings),
            fingerprint=perkville.fingerprint,
            enabled=perkville.destination.enabled,
        )
        return asyncio.run(self._deliver(target))

    async def _deliver(self, target: DeliveryTarget) -> int:
        client, telemetry = target.partner.client(target.settings), DeliveryTelemetry(target.slug)
        sent, answered = 0, []
        try:
            while True:
                done = cycle(self.store, target, answered, room=5, clock=self.clock, telemetry=telemetry)
                answered = []
                for attempt in done.attempts:
                    result = await perform_attempt(
                        client, attempt, send_before=done.send_before, clock=self.clock, telemetry=telemetry
                    )
                    answered.append(
                        CompletedAttempt(attempt=attempt, result=result, seconds=0, fingerprint=target.fingerprint)
                    )
                sent += len(answered)
                if not answered:
                    return sent
        finally:
            await client.close()

    def close(self) -> None:
        """Release everything."""
        self.facts.close()
        self.log.close()
        self.store.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def pipeline(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[Pipeline]:
    made = Pipeline(tmp_path, sandbox.url)
    yield made
    made.close()


def order(pipeline: Pipeline, number: int) -> None:
    pipeline.receive(
        {
            "type": "track",
            "event": "Order Completed",
            "userId": "ann",
            "messageId": f"order-{number}",
            "properties": {"order_id": f"o{number}", "revenue": 9.99, "email": "ann@example.com"},
        }
    )


def at_perkville(sandbox: SandboxProcess) -> Any:
    """What Perkville holds of Ann under the audience's key."""
    response = sandbox.request("GET", "/v2/connections/?business=41&user__emails__email=ann@example.com").json()
    return (response["objects"][0]["custom_attributes"] or {}).get(KEY)


def perks(sandbox: SandboxProcess) -> list[str]:
    """The perks that were given, in order."""
    return [str(transaction["perk"]).rstrip("/").rpartition("/")[2] for transaction in sandbox.transactions()]


def test_an_order_makes_a_member_at_perkville_until_thirty_days_are_over(
    pipeline: Pipeline, sandbox: SandboxProcess
) -> None:
    order(pipeline, 1)
    pipeline.run_until_idle()
    assert at_perkville(sandbox) is True
    assert sorted(perks(sandbox)) == ["123456", "123457"]
    pipeline.clock.advance(30 * 86_400 - 60)
    pipeline.run_until_idle()
    assert at_perkville(sandbox) is True
    pipeline.clock.advance(60)
    pipeline.run_until_idle()
    assert at_perkville(sandbox) is False
    assert len(perks(sandbox)) == 2, "leaving earns nothing"
    pipeline.clock.advance(40 * 86_400)
    order(pipeline, 2)
    pipeline.run_until_idle()
    assert at_perkville(sandbox) is True
    assert sorted(perks(sandbox)) == ["123456", "123456", "123457", "123457"], "each entry earns points once"


def test_another_order_in_time_keeps_a_member_in_and_tells_nothing(pipeline: Pipeline, sandbox: SandboxProcess) -> None:
    order(pipeline, 1)
    pipeline.run_until_idle()
    pipeline.clock.advance(29 * 86_400)
    order(pipeline, 2)
    pipeline.run_until_idle()
    requested = sandbox.counts()["requests"]
    pipeline.clock.advance(29 * 86_400)
    pipeline.run_until_idle()
    assert sandbox.counts()["requests"] == requested, "nothing has changed, so nobody was asked or told anything"
    assert at_perkville(sandbox) is True


def test_a_call_that_comes_by_while_perkville_is_switched_off_is_sent_once_it_is_on(
    pipeline: Pipeline, sandbox: SandboxProcess
) -> None:
    order(pipeline, 1)
    pipeline.router.step()
    pipeline.feed.flush()
    pipeline.engine.step()
    assert pipeline.dispatcher.step(pipeline.snapshot) == 2, "in the log, and not routed yet"
    pipeline.configure(enabled=False)
    pipeline.run_until_idle()
    pipeline.clock.advance(120)
    pipeline.run_until_idle()
    assert sandbox.transactions() == []
    pipeline.configure(enabled=True)
    pipeline.run_until_idle()
    pipeline.run_until_idle()
    assert at_perkville(sandbox) is True
    assert sorted(perks(sandbox)) == ["123456", "123457"], "entering earns its points, and once"
    reported = sandbox.counts()["requests"]
    pipeline.clock.advance(3_600)
    pipeline.run_until_idle()
    assert sandbox.counts()["requests"] == reported

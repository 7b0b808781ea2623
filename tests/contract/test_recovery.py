"""What an older store is missing is planned again: from the lake as it was planned then, from the log as ever.

The promise: exactly the effects that were planned then, under their keys of then, each in doubt; and one line in the
log for each that cannot be planned any more.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from punchcard.clock import to_micros
from punchcard.engage.recovery import RestoredSync
from punchcard.events.parse import read_request
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.operations.alerts import find_alerts
from punchcard.routing.recovery import LakeReplay
from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.recoveries import Recovery, RecoveryReason, mark_routed, newest_recovery, start_recovery
from punchcard.store.delivery.schema import result_counts
from punchcard.store.engage.synced import Synced, save_synced, synced_value_of_email
from punchcard.store.engine import Store
from punchcard.store.routing.held import waiting_destinations
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.testing.clock import ManualClock
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, DestinationFilter, Source, Workspace
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import Snapshot, compile_snapshot

SLUG = "perkville"
MAP = {"Order Completed": "123456", "Order Refunded": "123456", "Checked In": "123457"}
PENDING = {"destination": SLUG, "status": "pending"}


def visit(message_id: str | None = "m1", **more: object) -> dict[str, object]:
    body: dict[str, object] = {"type": "track", "event": "Checked In", "userId": "ann"}
    body |= {"properties": {"email": "ann@example.com"}} | more
    return body if message_id is None else {**body, "messageId": message_id}


@dataclass
class Restored:
    """A store that has routed nothing, with a log and a lake that have gone on."""

    folder: Path
    store: Store
    clock: ManualClock = field(default_factory=ManualClock)
    keyring: Keyring = field(default_factory=lambda: Keyring("a secret"))
    rows: LakeRows = field(default_factory=LakeRows)
    last: int = 0

    def __post_init__(self) -> None:
        self.log = SqliteEventLog(self.folder / "log.db")
        self.configure()

    def configure(self, *, event_map: dict[str, str] | None = None, **changes: Any) -> None:
        settings = {"apiKey": "k", "businessId": "41", "locationId": "7", "sendEmail": False}
        settings["eventToPerkMap"] = MAP if event_map is None else event_map  # type: ignore[assignment]
        destination = Destination(slug=SLUG, type=SLUG, sources=("website",), settings=settings)
        workspace = Workspace(
            sources=(Source(slug="website", name="Website", write_keys=("wk",)),),
            destinations=() if changes.pop("removed", False) else (replace(destination, **changes),),
        )
        apply(self.store, workspace, clock=self.clock, keyring=self.keyring, actor="test")

    def snapshot(self) -> Snapshot:
        return compile_snapshot(load(self.store, self.keyring), keyring=self.keyring)

    def in_lake(
        self, body: dict[str, object], *results: dict[str, object], call: str = "track", source: str = "website"
    ) -> int:
        """An event that the lake holds with its results; the position of its record."""
        position = self.last = self.last + 1
        received = self.clock.now()
        text = json.dumps(body).encode()
        items = read_request(text, call=call, received_at=received, position=position)
        texts = [json.dumps(list(results))] * len(items)
        self.rows.add_record(items, source=source, received_at=to_micros(received), position=position, results=texts)
        return position

    def in_log(self, body: dict[str, object], *, call: str = "track") -> None:
        """A record that the log still holds, at the next position."""
        received = to_micros(self.clock.now())
        self.log.append([NewRecord(received, "wk", call, "identity", json.dumps(body).encode(), "")])

    def replay(self) -> Recovery:
        """Bring the rows to the lake, and plan what is missing."""
        writer = LakeWriter(str(self.folder / "lake"), clock=self.clock)
        writer.append(self.rows, first_position=1, last_position=self.last)
        now = self.clock.now()
        with self.store.unit_of_work() as work:
            start_recovery(
                work,
                reason=RecoveryReason.LAKE,
                from_position=0,
                through_position=max(self.last, self.log.last_position()),
                read_back_from=now + timedelta(seconds=10),
                doubt_until=None,
                now=now,
            )
        lake = LakeReader(str(self.folder / "lake"))
        replay = LakeReplay(store=self.store, log=self.log, lake=lake, clock=self.clock, current=self.snapshot)
        assert replay.run(stopping=lambda: False)
        with self.store.reading() as work:
            assert position_of(work, ROUTING) == self.last
            recovery = newest_recovery(work)
        assert recovery is not None
        return recovery

    def effects(self) -> list[StoredEffect]:
        with self.store.reading() as work:
            result = ledger.page(work, ledger.LedgerQuery(destination=SLUG), count=100)
        return sorted(result, key=lambda item: item.id)


@pytest.fixture
def restored(store_url: str, tmp_path: Path) -> Iterator[Restored]:
    with closing(Store(store_url)) as store:
        made = Restored(tmp_path, store)
        yield made
        made.log.close()


def test_what_was_planned_is_planned_again_and_in_doubt(restored: Restored) -> None:
    restored.in_lake(visit(), {**PENDING, "effectKey": "SEG:website:EVENT:m1"})
    order = {"email": "ann@example.com", "order_id": "7", "revenue": "9.99"}
    restored.in_lake(
        visit("m2", event="Order Completed", properties=order),
        {**PENDING, "effectKey": "SEG:website:ORDER:7:order-completed"},
    )
    refund = {"email": "ann@example.com", "order_id": "7", "refund_id": "r1"}
    restored.in_lake(
        visit("m3", event="Order Refunded", properties=refund), {**PENDING, "effectKey": "SEG:website:REFUND:7:r1"}
    )
    recovery = restored.replay()
    effects = restored.effects()
    assert [(item.effect_key, item.requested_quantity, item.is_refund) for item in effects] == [
        ("SEG:website:EVENT:m1", Decimal(1), False),
        ("SEG:website:ORDER:7:order-completed", Decimal("9.99"), False),
        ("SEG:website:REFUND:7:r1", None, True),
    ]
    assert {(item.state, item.reason) for item in effects} == {(EffectState.UNKNOWN, "store_restored")}
    assert {item.due_at for item in effects} == {recovery.read_back_from}
    assert (recovery.planned, recovery.not_planned) == (3, 0)


def test_the_key_and_the_id_of_then_stand(restored: Restored) -> None:
    """A key of an older version, and an id that was derived from the place in the log."""
    restored.in_lake(visit(None), {**PENDING, "effectKey": "SEG:older:form"})
    restored.replay()
    (effect,) = restored.effects()
    assert effect.effect_key == "SEG:older:form"
    assert effect.message_id.startswith("derived-")


@pytest.mark.parametrize(
    "result",
    [
        {"destination": SLUG, "status": "refused", "reason": "not_allowlisted"},
        {"destination": SLUG, "status": "filtered_at_destination", "reason": "FILTERED_BY_RULES"},
        {"destination": SLUG, "status": "duplicate", "reason": "same_effect", "effectKey": "SEG:website:EVENT:m0"},
        {"destination": SLUG, "status": "conflict", "reason": "same_key_other_content", "effectKey": "SEG:x"},
        {"destination": None, "status": "failed_on_ingest", "reason": "unknown_source"},
    ],
    ids=lambda result: result["status"],
)
def test_what_planned_nothing_then_plans_nothing_now(restored: Restored, result: dict[str, object]) -> None:
    restored.in_lake(visit(), result)
    assert restored.replay().planned == 0
    assert restored.effects() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"sources": ()},
        {"filters": (DestinationFilter(title="none", condition="type = 'track'", actions=({"type": "DROP"},)),)},
        {"consent": ("marketing",)},
    ],
    ids=["disabled", "detached", "filtered", "consent"],
)
def test_a_gate_that_was_passed_then_is_not_checked_again(restored: Restored, changes: dict[str, Any]) -> None:
    restored.in_lake(visit(), {**PENDING, "effectKey": "SEG:website:EVENT:m1"})
    restored.configure(**changes)
    assert restored.replay().planned == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"event_map": {}}, "not_allowlisted"), ({"removed": True}, "destination_removed")],
    ids=["unmapped", "removed"],
)
def test_what_cannot_be_planned_any_more_is_named(restored: Restored, changes: dict[str, Any], reason: str) -> None:
    restored.in_lake(visit(), {**PENDING, "effectKey": "SEG:website:EVENT:m1"})
    restored.in_lake(visit("m2"), {**PENDING, "effectKey": "SEG:website:EVENT:m2"})
    restored.configure(**changes)
    with capture_logs() as lines:
        recovery = restored.replay()
    assert (recovery.planned, recovery.not_planned) == (0, 2)
    named = [line for line in lines if line["event"] == "lost_effect_not_planned"]
    assert [(item["message_id"], item["reason"]) for item in named] == [("m1", reason), ("m2", reason)]
    with restored.store.reading() as work:
        (alert,) = find_alerts(work, restored.snapshot(), now=restored.clock.now())
    assert "2 awards cannot be planned again" in alert.detail


def test_an_event_of_the_partner_endpoint_is_planned_under_the_settings_that_came_with_it(restored: Restored) -> None:
    settings = {"businessId": "41", "locationId": "7", "eventToPerkMap": {"Class Attended": "123460"}}
    body = {"batch": [visit(event="Class Attended")], "settings": settings}
    restored.in_lake(body, {**PENDING, "effectKey": "SEG:website:EVENT:m1"}, call="partner")
    restored.in_log(body, call="partner")
    restored.replay()
    (effect,) = restored.effects()
    assert effect.item == "123460"


def test_an_identify_and_a_track_call_of_one_change_are_both_known_again(restored: Restored) -> None:
    """Else the track call is sent once more after a restore, and its points with it."""
    own = f"engage-{SLUG}"
    restored.in_lake(own_call(1, value=True), source=own, call="identify")
    restored.in_lake(own_call(1, value=True, call="track"), source=own)
    recovery = restored.replay()
    with restored.store.unit_of_work() as work:
        mark_routed(work, recovery.id, now=restored.clock.now())
    lake = LakeReader(str(restored.folder / "lake"))
    assert RestoredSync(store=restored.store, lake=lake, clock=restored.clock).step()
    with restored.store.reading() as work:
        synced = synced_value_of_email(work, destination=SLUG, key="vip", email="ann@example.com", account="")
    assert synced is not None
    assert (synced.value, synced.sequence, synced.tracked, synced.track_sequence) == ("true", 1, "true", 1)


def test_an_event_that_was_held_is_planned_as_if_it_were_new(restored: Restored) -> None:
    restored.in_lake(visit(), {**PENDING, "reason": "planning_failed"})
    assert restored.replay().planned == 1
    (effect,) = restored.effects()
    assert (effect.effect_key, effect.state) == ("SEG:website:EVENT:m1", EffectState.UNKNOWN)


def test_an_event_that_was_held_is_held_again_while_the_log_has_it(restored: Restored) -> None:
    restored.in_lake(visit(), {**PENDING, "reason": "destination_on_hold", "detail": "on hold"})
    restored.in_log(visit())
    assert restored.replay().planned == 0
    assert restored.effects() == []
    with restored.store.reading() as work:
        assert waiting_destinations(work) == [SLUG]


def test_an_event_that_was_held_passes_no_gate_that_is_closed(restored: Restored) -> None:
    restored.in_lake(visit(), {**PENDING, "reason": "destination_on_hold"})
    restored.configure(enabled=False)
    assert restored.replay().planned == 0
    assert restored.effects() == []


def test_a_record_of_the_log_that_the_lake_has_lost_is_planned_in_doubt(restored: Restored) -> None:
    restored.in_log(visit("m1"))
    restored.in_log(visit("m2"))
    restored.last = 1
    restored.in_lake(visit("m2"), {**PENDING, "effectKey": "SEG:website:EVENT:m2"})
    assert restored.replay().planned == 2
    effects = restored.effects()
    assert {item.effect_key for item in effects} == {"SEG:website:EVENT:m1", "SEG:website:EVENT:m2"}
    assert {item.state for item in effects} == {EffectState.UNKNOWN}


def test_events_count_as_they_did(restored: Restored) -> None:
    restored.in_lake(visit(), {**PENDING, "effectKey": "SEG:website:EVENT:m1"})
    restored.in_lake(visit("m2"), {"destination": SLUG, "status": "refused", "reason": "missing_email"})
    restored.replay()
    with restored.store.reading() as work:
        columns = result_counts.c
        rows = work.execute(select(columns.destination, columns.status, columns.reason, columns.count))
        result = {(row[0], row[1], row[2]): row[3] for row in rows}
    assert result == {
        ("", "received", ""): 2,
        (SLUG, "pending", ""): 1,
        (SLUG, "refused", "missing_email"): 1,
    }


def own_call(sequence: int, value: object, *, call: str = "identify", email: str = "ann@example.com") -> dict[str, Any]:
    """A call as Engage sends it."""
    context: dict[str, object] = {"personas": {"computation_key": "vip", "computation_class": "audience"}}
    body: dict[str, Any] = {"type": call, "userId": "ann", "messageId": f"engage-0a1b-{sequence}-{call}"}
    if call == "identify":
        return {**body, "traits": {"email": email, "vip": value}, "context": context}
    properties = {"audience_key": "vip", "vip": value}
    context["traits"] = {"email": email}
    return {**body, "event": "Audience Entered", "properties": properties, "context": context}


def test_engage_knows_again_what_it_has_sent_before_it_goes_on(restored: Restored) -> None:
    at = restored.clock.now()
    known = Synced(
        destination=SLUG, key="vip", email="ann@example.com", profile_id=5, value="false", sequence=3, sent_at=at
    )
    newer = replace(known, email="bob@example.com", sequence=9)
    with restored.store.unit_of_work() as work:
        save_synced(work, known)
        save_synced(work, newer)
    own = f"engage-{SLUG}"
    restored.in_lake(own_call(4, value=True), source=own, call="identify")
    restored.in_lake(own_call(5, value=False, call="track"), source=own)
    restored.in_lake(own_call(2, value=True, email="bob@example.com"), source=own, call="identify")
    restored.in_lake(own_call(7, value=True, email="eve@example.com"), source="website", call="identify")
    restored.in_lake(own_call(1, value=True, email="new@example.com"), source=own, call="identify")
    recovery = restored.replay()
    sync = RestoredSync(store=restored.store, lake=LakeReader(str(restored.folder / "lake")), clock=restored.clock)
    assert not sync.step(), "routing is not through yet"
    with restored.store.unit_of_work() as work:
        mark_routed(work, recovery.id, now=at)
    assert sync.step()
    with restored.store.reading() as work:
        result = {
            email: synced_value_of_email(work, destination=SLUG, key="vip", email=email, account="")
            for email in ("ann@example.com", "bob@example.com", "eve@example.com", "new@example.com")
        }
    ann, new = result["ann@example.com"], result["new@example.com"]
    assert ann is not None
    assert (ann.sequence, ann.value, ann.profile_id) == (5, "false", 5)
    assert (ann.tracked, ann.track_sequence) == ("false", 5)
    assert result["bob@example.com"] == newer
    assert result["eve@example.com"] is None
    assert new is not None
    assert (new.sequence, new.value) == (1, "true")
    assert sync.step()

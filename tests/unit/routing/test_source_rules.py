"""The rules of a source: what is stored, planned and counted of events that they rewrite or stop."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from punchcard.clock import to_micros
from punchcard.engage.person_events import is_counted
from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.events.parse import EVENT_BYTES_MAX
from punchcard.filters.transformation_definitions import TransformationDefinition
from punchcard.filters.transformations import Transformations
from punchcard.lake.lake_event import LakeEvent, LakeResult
from punchcard.lake.selection import EventSelection
from punchcard.log.port import LogRecord
from punchcard.operations.backtest import plan_events
from punchcard.operations.simulation import SimulationScope, plan_stretch
from punchcard.routing.batch import Batch, is_quarantined, lake_rows, plan_batch, result_batch
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.planning import Planner
from punchcard.routing.records import read_record, read_routed
from punchcard.routing.rule_steps import RewritingError, Ruled, Step, Violation, rewrite, stopped
from punchcard.routing.source_rules import SourceRules, TransformationStep
from punchcard.store.routing.event_results import EventStatus, decode_batch, encode_batch, is_stopped_by_rules
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.persistence import StoredWorkspace
from punchcard.workspace.snapshot import Snapshot, compile_snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class FunctionStep:
    """A step that is a function of the event."""

    function: Callable[[Event], Ruled | None]
    is_final: bool = False

    def apply(self, event: Event) -> Ruled | None:
        return self.function(event)


def renamed(old: str, new: str) -> Step:
    def apply(event: Event) -> Ruled | None:
        if event.wire.event != old:
            return None
        body = {**json.loads(event.raw), "event": new}
        note = Note("transformed", f"event {old} renamed to {new}")
        return Ruled(event=rewrite(event, json.dumps(body).encode()), notes=(note,))

    return FunctionStep(apply)


def hidden(name: str) -> Step:
    def apply(event: Event) -> Ruled | None:
        body = json.loads(event.raw)
        if body["properties"].pop(name, None) is None:
            return None
        return Ruled(event=rewrite(event, json.dumps(body).encode()), notes=(Note("hidden", f"{name} removed"),))

    return FunctionStep(apply, is_final=True)


def blocked(name: str) -> Step:
    return FunctionStep(lambda event: stopped("blocked", f"{name} is blocked") if event.wire.event == name else None)


def noted(name: str) -> Step:
    violation = Violation("plan", "Required", "properties.total", "total is missing")
    return FunctionStep(lambda event: Ruled(event=event, violations=(violation,)) if event.wire.event == name else None)


def failing(name: str) -> Step:
    def apply(event: Event) -> Ruled | None:
        if event.wire.event == name:
            raise ZeroDivisionError("a defect")
        return None

    return FunctionStep(apply)


SNAPSHOT: Snapshot = compile_snapshot(
    StoredWorkspace(
        revision=1,
        workspace=Workspace(
            sources=(Source(slug="website", name="Website", write_keys=("wk",)),),
            destinations=(
                Destination(
                    slug="perkville",
                    type="perkville",
                    sources=("website",),
                    settings={
                        "apiKey": "k",
                        "businessId": "41",
                        "locationId": "7",
                        "eventToPerkMap": {"Checked In": "1", "Bonus": "2"},
                    },
                ),
            ),
        ),
    ),
    keyring=Keyring("k"),
)


def track(name: str, message_id: str = "m1", **properties: object) -> dict[str, object]:
    own = {"email": "ann@example.com", **properties}
    return {"type": "track", "event": name, "userId": "ann", "messageId": message_id, "properties": own}


def record(*events: dict[str, object], position: int = 1) -> LogRecord:
    body = json.dumps({"batch": events}).encode()
    return LogRecord(
        received_at=to_micros(NOW),
        write_key="wk",
        call="batch",
        encoding="identity",
        body=body,
        ip="",
        position=position,
    )


def planned(steps: Sequence[Step], *records: LogRecord, index: MessageIndex | None = None) -> Batch:
    rules = SourceRules(steps) if steps else None
    planner = Planner(SNAPSHOT.routes["wk"], ZoneInfo("UTC"), rules=rules)
    return plan_batch(records, SNAPSHOT, planners={"wk": planner}, index=index or MessageIndex(10))


def statuses(batch: Batch) -> list[tuple[str | None, str, str | None]]:
    return [
        (result.destination, result.status.value, result.reason) for results in batch.results[0] for result in results
    ]


def test_destinations_and_lake_see_the_event_as_it_was_rewritten() -> None:
    batch = planned([renamed("check_in", "Checked In")], record(track("check_in"), track("Other", "m2")))
    (effect,) = batch.planned_effects
    assert effect.planned.intent.item == "1"
    assert effect.event.message_id == "m1"
    assert statuses(batch) == [("perkville", "refused", "not_allowlisted")]
    rewritten = batch.items[0][0]
    assert isinstance(rewritten, Event)
    assert (rewritten.wire.event, [note.detail for note in rewritten.notes]) == (
        "Checked In",
        ["event check_in renamed to Checked In"],
    )


def test_the_log_read_again_gives_what_was_routed_whatever_the_rules_are_now() -> None:
    steps = [renamed("check_in", "Checked In"), noted("Other")]
    batch = planned(steps, record(track("check_in"), track("Other", "m2"), track("Plain", "m3")))
    stored = decode_batch(encode_batch(result_batch(batch)))
    (routed,) = stored.records
    items = read_routed(batch.records[0], routed)
    assert items == batch.items[0]
    assert items != read_record(batch.records[0])
    received = [to_micros(NOW)]
    assert (
        lake_rows(stored, [items], received).to_arrow().to_pylist()
        == lake_rows(stored, batch.items, received).to_arrow().to_pylist()
    )


def test_of_transformed_events_the_changes_are_stored_once_and_not_their_texts() -> None:
    change = TransformationDefinition(name="T", condition="event = 'check_in'", values=[("properties.a", "x" * 50)])
    definitions = [change, replace(change, renames=[("seat", "place")], values=(), new_event_name="Checked In")]
    steps = [TransformationStep(Transformations(definitions))]
    events = [track("check_in", f"m{number}", seat=number, note="n" * 900) for number in range(50)]
    batch = planned(steps, record(*events, track("Other", "m50")))
    assert len(batch.planned_effects) == 50
    body = encode_batch(result_batch(batch))
    (routed,) = decode_batch(body).records
    assert len(body) < 1_000
    assert b"ann@example.com" not in body
    items = read_routed(batch.records[0], routed)
    assert items == batch.items[0]
    assert [note.detail for note in items[7].notes] == [
        f'transformation "T": properties.a (none) → "{"x" * 50}"',
        'transformation "T": event "check_in" → "Checked In"',
        'transformation "T": properties.seat → properties.place (7)',
    ]


def test_what_another_step_changes_too_is_stored_as_text() -> None:
    renaming = TransformationDefinition(name="T", condition="all", renames=[("seat", "place")])
    steps = [hidden("card"), TransformationStep(Transformations([renaming]))]
    batch = planned(steps, record(track("Checked In", card="4111", seat=4), track("Checked In", "m2", seat=5)))
    (routed,) = decode_batch(encode_batch(result_batch(batch))).records
    assert ([event.index for event in routed.rewritten], [same.indices for same in routed.transformed]) == ([0], [[1]])
    assert read_routed(batch.records[0], routed) == batch.items[0]


def test_texts_of_an_older_version_are_still_read() -> None:
    text = json.dumps({**track("Checked In"), "extra": 1}).encode()
    old = {"position": 1, "source": "website", "results": [0], "rewritten": [[0, text, [["transformed", "a note"]]]]}
    (routed,) = decode_batch(msgspec.msgpack.encode({"distinct": [[]], "records": [old]})).records
    (item,) = read_routed(record(track("check_in")), routed)
    assert isinstance(item, Event)
    assert (item.raw, item.wire.event, item.notes) == (text, "Checked In", (Note("transformed", "a note"),))


def test_results_of_an_older_version_have_no_rewritten_events() -> None:
    body = {"distinct": [], "records": [{"position": 3, "source": "website", "results": []}]}
    (routed,) = decode_batch(msgspec.msgpack.encode(body)).records
    assert routed.rewritten == ()
    assert msgspec.to_builtins(routed) == body["records"][0]


def test_a_stopped_event_is_stored_whole_but_for_what_must_never_be_stored() -> None:
    steps = [hidden("card"), renamed("check_in", "Checked In"), blocked("Checked In")]
    batch = planned(steps, record(track("check_in", card="4111", seat=4)))
    (item,) = batch.items[0]
    assert isinstance(item, Event)
    body = json.loads(item.raw)
    assert body["event"] == "check_in"
    assert body["properties"] == {"email": "ann@example.com", "seat": 4}
    assert [note.detail for note in item.notes] == ["card removed", "event check_in renamed to Checked In"]
    assert statuses(batch) == [(None, "filtered_at_source", "blocked")]
    assert batch.planned_effects == []
    assert batch.message_keys == {"website m1"}


def test_a_message_id_is_recognized_whatever_the_rules_make_of_its_copies() -> None:
    index = MessageIndex(10)
    first = planned([blocked("Checked In")], record(track("Checked In")), index=index)
    index.add_all(first.message_keys)
    later = planned([blocked("Checked In")], record(track("Checked In"), position=2), index=index)
    assert statuses(later) == [(None, "duplicate", "duplicate_message_id")]
    unblocked = planned([], record(track("Other"), position=3), index=index)
    assert statuses(unblocked) == [(None, "duplicate", "duplicate_message_id")]
    both = planned([blocked("Checked In")], record(track("Checked In"), track("Checked In")))
    assert [status for _, status, _ in statuses(both)] == ["filtered_at_source", "duplicate"]


def test_a_step_that_fails_on_one_event_quarantines_that_one() -> None:
    batch = planned([failing("Odd")], record(track("Odd"), track("Checked In", "m2")))
    (result,) = batch.results[0][0]
    assert (result.status, result.reason) == (EventStatus.FAILED_ON_INGEST, "internal_error")
    assert is_quarantined(batch.results[0][0])
    assert "ZeroDivisionError" in str(result.detail)
    assert [effect.event.message_id for effect in batch.planned_effects] == ["m2"]
    assert batch.message_keys == {"website m2"}


def test_violations_are_collected_with_the_place_of_their_event() -> None:
    batch = planned([noted("Checked In")], record(track("Plain", "m0"), track("Checked In")))
    assert [(number, index, violation.field) for number, index, violation in batch.violations] == [
        (0, 1, "properties.total")
    ]
    assert len(batch.planned_effects) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"userId": None, "anonymousId": None},
        {"event": ""},
        {"properties": []},
        {"userId": 7},
        {"extra": "x" * EVENT_BYTES_MAX},
    ],
)
def test_a_rewritten_event_must_be_valid(change: dict[str, object]) -> None:
    (event,) = read_record(record(track("Checked In")))
    assert isinstance(event, Event)
    with pytest.raises(RewritingError):
        rewrite(event, json.dumps({**json.loads(event.raw), **change}).encode())


def row(*results: LakeResult, name: str = "check_in") -> LakeEvent:
    body = track(name)
    return LakeEvent(
        message_id="m1",
        type="track",
        event=name,
        user_id="ann",
        anonymous_id=None,
        email="ann@example.com",
        source="website",
        received_at=NOW,
        timestamp=NOW,
        log_position=1,
        event_index=0,
        payload=json.dumps(body).encode(),
        results=results,
    )


STOPPED = LakeResult(None, "filtered_at_source", "blocked")


@pytest.mark.parametrize(
    ("result", "is_stopped"),
    [
        (STOPPED, True),
        (LakeResult(None, "filtered_at_source", "no_destination"), False),
        (LakeResult(None, "filtered_at_source", "suppressed"), False),
        (LakeResult("perkville", "filtered_at_source", "blocked"), False),
        (LakeResult("perkville", "refused", "not_allowlisted"), False),
    ],
)
def test_engage_counts_no_event_that_the_rules_have_stopped(result: LakeResult, is_stopped: bool) -> None:
    assert is_stopped_by_rules([result]) is is_stopped
    assert is_counted(row(result)) is not is_stopped


def test_a_replayed_event_goes_through_the_rules_only_if_they_had_stopped_it() -> None:
    steps = [hidden("email"), renamed("check_in", "Checked In"), renamed("Bonus", "Checked In"), blocked("Never")]
    rules = {"website": SourceRules(steps)}
    passed = LakeResult("perkville", "refused", "not_allowlisted")
    rows = [row(STOPPED), row(passed), row(passed, name="Bonus"), replace_name(row(STOPPED), "Never")]
    destination = replace(SNAPSHOT.destinations["perkville"])
    plans = list(plan_events(rows, destination, zone=ZoneInfo("UTC"), rules=rules))
    assert [getattr(plan, "item", None) or plan.reason for _, _, plan in plans] == [  # type: ignore[union-attr]
        "1",
        "not_allowlisted",
        "2",
        "blocked",
    ]
    # The row that a replay brings to the log again is the rewritten one; what must not be stored is not removed twice.
    assert (plans[0][0].event, json.loads(plans[0][0].payload)["event"]) == ("Checked In", "Checked In")
    assert plans[0][0].email == "ann@example.com"


def replace_name(event: LakeEvent, name: str) -> LakeEvent:
    return msgspec.structs.replace(event, event=name, payload=json.dumps(track(name)).encode())


def test_a_simulation_does_not_count_what_the_rules_would_still_stop() -> None:
    destination = SNAPSHOT.destinations["perkville"]
    scope = SimulationScope(
        destination=destination,
        current=destination,
        zone=ZoneInfo("UTC"),
        begin=NOW,
        end=NOW,
        rules={"website": SourceRules([blocked("Checked In")])},
    )
    planned_stretch = plan_stretch(OneRow(row(STOPPED, name="Checked In")), scope, EventSelection(), 0, 1)
    assert (planned_stretch.rows, dict(planned_stretch.refused)) == ([], {("Checked In", "blocked"): 1})
    free = plan_stretch(OneRow(row(STOPPED, name="Checked In")), replace(scope, rules={}), EventSelection(), 0, 1)
    assert [planned_row.message_id for planned_row in free.rows] == ["m1"]


@dataclass
class OneRow:
    """A lake with one event."""

    event: LakeEvent

    def last_position(self) -> int:
        return 1

    def count_names(self, selection: EventSelection, *, through: int) -> dict[tuple[str, str | None], int]:
        return {}

    def split(self, selection: EventSelection, *, through: int, parts: int) -> list[tuple[int, int]]:
        return [(0, 1)]

    def select(
        self, selection: EventSelection, *, after: tuple[int, int] = (0, -1), through: int
    ) -> Iterator[tuple[int, list[LakeEvent]]]:
        yield 1, [self.event]

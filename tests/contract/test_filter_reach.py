"""Saving a filter shows what it would have done to last week's events that earn points."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.clock import to_micros
from punchcard.events.model import Event
from punchcard.events.parse import read_request
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.testing.clock import ManualClock
from punchcard.traces.filter_reach import find_reach, tell_reach
from punchcard.workspace.model import Destination, DestinationFilter, Workspace

NOW = ManualClock().now()
STATUSES = '[{"destination":"perkville","status":"pending","reason":null,"detail":null,"effectKey":null}]'


@pytest.fixture
def lake(tmp_path: Path) -> LakeReader:
    """Two weeks of check-ins by staff and others, of a source that is mapped and one that is not."""
    url = str(tmp_path / "lake")
    writer = LakeWriter(url)
    position = 0
    for days_ago in (13, 6, 1):
        for source in ("website", "other"):
            for name in ("Checked In", "Order Completed", "Sauna Visited"):
                position += 1
                received = NOW - timedelta(days=days_ago)
                events = [
                    {"type": "track", "userId": "u", "event": name, "messageId": f"{position}-{person}",
                     "properties": {"email": f"{person}@{'gym' if person < 2 else 'home'}.example"}}
                    for person in range(5)
                ]  # fmt: skip
                body = json.dumps({"batch": events}).encode()
                items = read_request(body, call="batch", received_at=received, position=position)
                assert all(isinstance(item, Event) for item in items)
                rows = LakeRows()
                rows.add_record(
                    items,
                    source=source,
                    received_at=to_micros(received),
                    position=position,
                    results=[STATUSES] * len(items),
                )
                writer.append(rows, first_position=position, last_position=position)
    return LakeReader(url)


def workspace(*filters: DestinationFilter, enabled: bool = True) -> Workspace:
    return Workspace(
        destinations=(
            Destination(
                slug="perkville",
                type="perkville",
                sources=("website",),
                settings={"eventToPerkMap": {"Checked In": "1", "Order Completed": "2"}},
                filters=filters,
                enabled=enabled,
            ),
        )
    )


def a_filter(condition: str, *actions: dict[str, object], enabled: bool = True) -> DestinationFilter:
    return DestinationFilter(
        title="no staff", condition=condition, actions=actions or ({"type": "DROP"},), enabled=enabled
    )


STAFF = a_filter("contains( properties.email, '@gym.example' )")


def test_a_new_filter_is_reported_with_its_counts(lake: LakeReader) -> None:
    (message,) = tell_reach(workspace(), workspace(STAFF), lake=lake, now=NOW)
    assert message == (
        'Filter "no staff" of Perkville would have dropped 8 of the 20 mapped events of the last 7 days: '
        '"Checked In" 4, "Order Completed" 4.'
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param([], [], id="none"),
        pytest.param([STAFF], [STAFF], id="as it was"),
        pytest.param([], [a_filter("event = 'Sauna Visited'")], id="drops only what earns nothing"),
        pytest.param([], [a_filter("all", enabled=False)], id="switched off"),
        pytest.param([], [a_filter("all", {"type": "DROP_PROPERTIES", "fields": {"": ["x"]}})], id="drops no event"),
    ],
)
def test_nothing_is_reported_of_filters_that_cost_nobody_points(
    lake: LakeReader, before: Sequence[DestinationFilter], after: Sequence[DestinationFilter]
) -> None:
    assert find_reach(workspace(*before), workspace(*after), lake=lake, now=NOW) == []


@pytest.mark.parametrize(
    ("before", "after", "dropped"),
    [
        pytest.param([STAFF], [a_filter("all")], 20, id="changed condition"),
        pytest.param([a_filter("all", enabled=False)], [a_filter("all")], 20, id="switched on"),
        pytest.param([], [a_filter("all", {"type": "SAMPLE", "percent": 0})], 20, id="sample"),
    ],
)
def test_a_changed_filter_is_reported(
    lake: LakeReader, before: Sequence[DestinationFilter], after: Sequence[DestinationFilter], dropped: int
) -> None:
    (item,) = find_reach(workspace(*before), workspace(*after), lake=lake, now=NOW)
    assert (item.dropped.total(), item.seen) == (dropped, 20)


def test_a_destination_that_is_switched_off_has_no_reach(lake: LakeReader) -> None:
    assert find_reach(workspace(), workspace(STAFF, enabled=False), lake=lake, now=NOW) == []


def test_before_the_first_event_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert tell_reach(workspace(), workspace(STAFF), lake=LakeReader(str(tmp_path / "none")), now=NOW) == []

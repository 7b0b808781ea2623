"""What an operator can do about an event that the rules of its source have stopped."""

from datetime import UTC, datetime

import pytest

from punchcard.operations.remedies import trace_remedies
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.trace import EventTrace, ResultTrace

REPLAY = "/destinations/loyalty/replays?message_id=m%2F1"


def result_of(reason: str, destination: str | None = None) -> ResultTrace:
    """Return the result of a stopped event."""
    status = EventStatus.FILTERED_AT_DESTINATION if destination else EventStatus.FILTERED_AT_SOURCE
    return ResultTrace(
        destination=destination, status=status, reason=reason, detail=None, transaction=None, attempts=()
    )


def trace_of(result: ResultTrace) -> EventTrace:
    """Return the trace of an event with this result."""
    received_at = datetime(2026, 1, 2, tzinfo=UTC)
    return EventTrace(message_id="m/1", received_at=received_at, source="web", event=b"{}", results=(result,))


@pytest.mark.parametrize(
    ("reason", "page"),
    [
        ("unplanned", "/sources/web/protocols"),
        ("schema_violation", "/sources/web/protocols"),
        ("common_schema_violation", "/sources/web/protocols"),
        ("event_switched_off", "/sources/web/schema"),
        ("dropped_by_transformation", "/transformations"),
        ("transformation_failed", "/transformations"),
        ("source_rules_unusable", "/transformations"),
    ],
)
def test_stopped_event_leads_to_the_rule_and_can_be_replayed(reason: str, page: str) -> None:
    result = result_of(reason)
    trace = trace_of(result)
    assert [remedy.path for remedy in trace_remedies(result, trace, {"loyalty": "Gym points"})] == [page, REPLAY]
    assert [
        remedy.label for remedy in trace_remedies(result, trace, {"loyalty": "Gym points", "hook": "Webhooks"})[1:]
    ] == [
        "Replay to Gym points",
        "Replay to Webhooks",
    ]


def test_event_that_cannot_be_replayed_has_no_button() -> None:
    result = result_of("suppressed")
    trace = trace_of(result)
    assert trace_remedies(result, trace, {"loyalty": "Gym points"}) == []


def test_transformation_of_one_destination_leads_to_its_replay() -> None:
    result = result_of("dropped_by_transformation", "loyalty")
    trace = trace_of(result)
    assert [remedy.path for remedy in trace_remedies(result, trace)] == ["/transformations", REPLAY]

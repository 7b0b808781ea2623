"""What `punchcard trace` prints: everything that answers "why did Ann not get her points?"."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

from punchcard.cli.trace_text import print_text
from punchcard.destinations.perkville.definition import PERKVILLE
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.attempts import AttemptTrace
from punchcard.traces.conflicts import ConflictTrace
from punchcard.traces.event_profile import ProfileTrace
from punchcard.traces.trace import EventTrace, ResultTrace, TransactionTrace

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
DELIVERED = ResultTrace(
    destination="perkville",
    status=EventStatus.DELIVERED,
    reason=None,
    detail=None,
    transaction=TransactionTrace(
        effect_key="SEG:perkville:ORDER:1:order-completed",
        kind="Transaction",
        item="123456",
        email="ann@example.com",
        quantity="9.99",
        partner_id="17",
        attributes=None,
        columns=PERKVILLE.summary_columns,
    ),
    attempts=(
        AttemptTrace(
            number=1,
            action="send",
            started_at=AT,
            status=None,
            outcome="unknown",
            duration_ms=10_000,
            detail="no answer in 10 s",
        ),
        AttemptTrace(
            number=2,
            action="read_back",
            started_at=AT + timedelta(seconds=20),
            status=200,
            outcome="delivered",
            duration_ms=12,
            detail=None,
        ),
    ),
)
TRACE = EventTrace(
    message_id="m1",
    received_at=AT,
    source="website",
    event=b'{"type":"track","event":"Order Completed","properties":{"revenue":9.990}}',
    results=(DELIVERED,),
)


def text_of(trace: EventTrace) -> str:
    output = io.StringIO()
    print_text(trace, Console(file=output, highlight=False, soft_wrap=True))
    return output.getvalue()


def lines_of(trace: EventTrace) -> list[str]:
    return [" ".join(line.split()) for line in text_of(trace).splitlines()]


def test_a_delivered_award_is_traced_from_receipt_to_the_partners_id() -> None:
    lines = lines_of(TRACE)
    assert lines[0] == "track Order Completed m1"
    assert lines[1] == "received 2026-01-02 03:04:05.678 UTC from source website"
    for line in (
        "perkville: delivered",
        "transaction 9.99 × perk 123456 for ann@example.com",
        "effect key SEG:perkville:ORDER:1:order-completed",
        "Perkville id 17",
        "attempt 1 2026-01-02 03:04:05.678 UTC · send · unknown · 10000 ms · no answer in 10 s",
        "attempt 2 2026-01-02 03:04:25.678 UTC · read back · HTTP 200 · delivered · 12 ms",
    ):
        assert line in lines
    assert not any(line.startswith("next step") for line in lines)


def test_its_profile_is_reported_with_their_audiences() -> None:
    ann = ProfileTrace(
        public_id="use_a", ids=[("email", "ann@example.com"), ("user_id", "ann")], audiences=["lapsed", "regulars"]
    )
    lines = lines_of(replace(TRACE, profile=ann))
    assert lines[2:4] == ["profile use_a: email ann@example.com, user_id ann", "audiences lapsed, regulars"]
    many = replace(ann, ids=[("anonymous_id", f"visit-{number}") for number in range(20)], audiences=[])
    assert lines_of(replace(TRACE, profile=many))[2].endswith("anonymous_id visit-5 and 14 more")


def test_the_event_is_shown_digit_by_digit() -> None:
    assert '"revenue": 9.990' in text_of(TRACE)


def test_a_refusal_is_reported_with_its_reason() -> None:
    refused = ResultTrace(
        destination="perkville",
        status=EventStatus.REFUSED,
        reason="missing_email",
        detail="there is no email in the event",
        transaction=None,
        attempts=(),
    )
    lines = lines_of(replace(TRACE, results=(refused,)))
    assert lines[-2:] == ["perkville: refused (missing_email)", "why there is no email in the event"]


def test_what_needs_a_person_is_reported_with_the_next_step() -> None:
    parked = replace(
        DELIVERED, status=EventStatus.PARKED, reason="perk_unknown", detail="gave up after 10 tries", effect_id=7
    )
    lines = lines_of(replace(TRACE, results=(parked,)))
    assert lines[-2:] == ["what to do correct the map", "next step punchcard retry m1"]


def test_a_conflict_and_the_next_try_are_reported() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    conflict = ConflictTrace(id=17, message_id="m2", resolution=None, resolved_at=None, resolved_by=None)
    waiting = replace(
        DELIVERED, status=EventStatus.RETRYING, reason="timeout", next_attempt_at=at, next_attempt=3, conflict=conflict
    )
    lines = lines_of(replace(TRACE, results=(waiting,)))
    assert "next try 2026-01-02 03:04:05.000 UTC, attempt 3" in lines
    assert "conflict with message m2: unresolved" in lines
    assert lines[-1] == "next step punchcard conflicts 17"


def test_a_result_before_any_destination_and_an_unknown_source_are_reported() -> None:
    failed = ResultTrace(
        destination=None,
        status=EventStatus.FAILED_ON_INGEST,
        reason="unknown_source",
        detail=None,
        transaction=None,
        attempts=(),
    )
    lines = lines_of(replace(TRACE, source=None, results=(failed,)))
    assert "an unknown source" in lines[1]
    assert lines[-1] == "before any destination: failed on ingest (unknown_source)"


def test_later_copies_are_reported() -> None:
    duplicate = ResultTrace(
        destination="perkville",
        status=EventStatus.DUPLICATE,
        reason="same_message_id",
        detail=None,
        transaction=None,
        attempts=(),
    )
    copy = replace(TRACE, received_at=AT + timedelta(hours=1), results=(duplicate,))
    last = lines_of(replace(TRACE, copies=(copy,)))[-1]
    assert last == "The same message id was received again 2026-01-02 04:04:05.678 UTC: duplicate (same_message_id)"


def test_a_user_property_is_reported_as_one() -> None:
    assert DELIVERED.transaction is not None
    transaction = replace(
        DELIVERED.transaction, kind="User property", item=None, quantity=None, attributes={"vip": True}
    )
    lines = lines_of(replace(TRACE, results=(replace(DELIVERED, transaction=transaction),)))
    assert 'user property {"vip":true} for ann@example.com' in lines


def test_what_senders_wrote_cannot_steer_the_terminal() -> None:
    nasty = replace(
        TRACE,
        message_id="m\x1b[2J1",
        event='{"type":"track","event":"\\u001b[2J [red]\u202e"}'.encode(),
        results=(replace(DELIVERED, detail="\x1b]0;owned\x07"),),
    )
    text = text_of(nasty)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "[red]" in text


def test_an_event_that_cannot_be_read_is_shown_as_it_came() -> None:
    assert "{broken" in text_of(replace(TRACE, event=b"{broken\xff"))

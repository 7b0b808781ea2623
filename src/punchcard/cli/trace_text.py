"""Prints the trace of an event as text."""

from datetime import datetime

import msgspec
from rich.console import Console
from rich.text import Text

from punchcard.cli.output import printable
from punchcard.destinations.definition import LedgerColumn
from punchcard.events.model import WireEvent
from punchcard.operations.remedies import next_step, trace_remedies
from punchcard.operations.statuses import Tone, status_label, status_tone
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.attempts import AttemptTrace
from punchcard.traces.event_profile import ProfileTrace
from punchcard.traces.trace import EventTrace, ResultTrace, TransactionTrace

_STYLES = {
    Tone.SUCCESS: "green",
    Tone.PROGRESS: "yellow",
    Tone.NEUTRAL: "cyan",
    Tone.WARNING: "bold red",
    Tone.ERROR: "bold red",
}
_LABEL_WIDTH = 14
_NEEDING_A_PERSON = (EventStatus.PARKED, EventStatus.REJECTED, EventStatus.CONFLICT)
_IDS_MAX = 6


def print_text(trace: EventTrace, console: Console) -> None:
    """Print the trace: the event, its result at each destination, its later copies, events of other sources."""
    console.print(Text(f"{_title(trace.event)}  ", style="bold") + Text(printable(trace.message_id)))
    _line(console, "received", f"{_instant(trace.received_at)} from {_source(trace)}")
    if trace.profile is not None:
        _line(console, "profile", f"{trace.profile.public_id}: {_ids(trace.profile)}")
        if trace.profile.audiences:
            _line(console, "audiences", ", ".join(trace.profile.audiences))
    for note in trace.notes:
        _line(console, "note", note)
    console.print(Text("  event", style="dim"))
    for line in _pretty(trace.event).splitlines():
        console.print(Text(f"    {line}"))
    for result in trace.results:
        _print_result(result, trace, console)
    for replay in trace.replays:
        status = replay.status.value.replace("_", " ") + (f" ({replay.reason})" if replay.reason else "")
        replayed = (
            f"Replayed to {replay.destination} {_instant(replay.replayed_at)} by replay {replay.replay}: {status}"
        )
        console.print(Text("\n") + Text(printable(replayed)))
    for copy in trace.copies:
        results = ", ".join(sorted({_status_text(result) for result in copy.results}))
        console.print(Text(f"\nThe same message id was received again {_instant(copy.received_at)}: {results}"))
    for other in trace.others:
        console.print(Text(f"\nAnother event with the same message id, from {_source(other)}:\n", style="bold"))
        print_text(other, console)


def _print_result(result: ResultTrace, trace: EventTrace, console: Console) -> None:
    heading = result.destination or "before any destination"
    console.print(
        Text(f"\n{heading}: ", style="bold") + Text(_status_text(result), style=_STYLES[status_tone(result.status)])
    )
    if result.detail:
        _line(console, "why", result.detail)
    if result.transaction is not None:
        transaction = result.transaction
        if transaction.summary is not None:
            _line(console, "effect", transaction.summary)
        else:
            _line(console, transaction.kind.lower(), f"{_effect_text(transaction)} for {transaction.email}")
        _line(console, "effect key", transaction.effect_key)
        if transaction.partner_id is not None:
            label = transaction.label_of(LedgerColumn.PARTNER_ID) or "destination's id"
            _line(console, label, transaction.partner_id)
    for attempt in result.attempts:
        _line(console, f"attempt {attempt.number}", _attempt_text(attempt))
    if result.next_attempt_at is not None:
        _line(console, "next try", f"{_instant(result.next_attempt_at)}, attempt {result.next_attempt}")
    if result.conflict is not None:
        _line(
            console,
            "conflict",
            f"with message {result.conflict.message_id}: {result.conflict.resolution or 'unresolved'}",
        )
    step = next_step(result)
    remedies = trace_remedies(result, trace)
    if step and result.status in _NEEDING_A_PERSON:
        _line(console, "what to do", step)
    for remedy in remedies:
        if remedy.command:
            _line(console, "next step", remedy.command)


def _line(console: Console, label: str, words: str) -> None:
    console.print(Text(f"  {label:<{_LABEL_WIDTH}}", style="dim") + Text(printable(words)))


def _ids(profile: ProfileTrace) -> str:
    ids = [f"{type_} {value}" for type_, value in profile.ids]
    return ", ".join(ids[:_IDS_MAX]) + (f" and {len(ids) - _IDS_MAX} more" if len(ids) > _IDS_MAX else "")


def _title(event: bytes) -> str:
    try:
        wire = msgspec.json.decode(event, type=WireEvent)
    except msgspec.DecodeError:
        return "Unreadable event"
    # Calls for single events have their type in the path only.
    kind = wire.type or ("track" if wire.event else "event")
    return printable(f"{kind} {wire.event or wire.name or ''}".rstrip())


def _pretty(event: bytes) -> str:
    # Formatted without parsing numbers: 9.990 is shown as it was sent.
    try:
        text = msgspec.json.format(event, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = event.decode(errors="replace")
    return "\n".join(printable(line) for line in text.splitlines())


def _source(trace: EventTrace) -> str:
    return "an unknown source (unknown write key)" if trace.source is None else f"source {trace.source}"


def _status_text(result: ResultTrace) -> str:
    return printable(status_label(result.status).lower() + (f" ({result.reason})" if result.reason else ""))


def _attempt_text(attempt: AttemptTrace) -> str:
    words = [_instant(attempt.started_at), attempt.action.replace("_", " ")]
    if attempt.status is not None:
        words.append(f"HTTP {attempt.status}")
    words.append(attempt.outcome or "no response yet")
    if attempt.duration_ms is not None:
        words.append(f"{attempt.duration_ms} ms")
    if attempt.detail:
        words.append(attempt.detail)
    return " · ".join(words)


def _effect_text(transaction: TransactionTrace) -> str:
    if transaction.item is None:
        return msgspec.json.encode(transaction.attributes).decode()
    quantity = "pending amount" if transaction.quantity is None else transaction.quantity
    label = transaction.label_of(LedgerColumn.ITEM).lower()
    return f"{quantity} × {label} {transaction.item}" if label else f"{quantity} × {transaction.item}"


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03d} UTC"

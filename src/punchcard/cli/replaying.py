"""What `punchcard replay` does: shows the plan, asks, has the worker do it, and shows how far that is."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from punchcard.cli.confirmation import confirm
from punchcard.cli.interruption import INTERRUPTED, NOTHING_CHANGED, explain_interruption, explained_interruption
from punchcard.cli.listing import open_console, print_json_lines, print_list
from punchcard.cli.options import unknown_name
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.errors import ConfigurationError
from punchcard.operations.instants import read_instant
from punchcard.operations.replay_planning import LAKE_SECONDS, plan_replay, read_points_per_unit, wait_for_lake
from punchcard.operations.replays import (
    cancel_replay,
    count_results,
    get_replay,
    pause_replay,
    resume_replay,
    save_replay,
    start_replay,
)
from punchcard.operations.sentences import count_noun
from punchcard.operations.statuses import ROUTING_STATUSES
from punchcard.runtime.assembly import open_keyring, open_lake, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.operations.replays import Replay, ReplayPlan, ReplaySelection, ReplayStatus, list_replays
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.replayed_events import count_replayed
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SnapshotWatch

_ACTOR = "command line"
_CHANGES = {"pause": pause_replay, "resume": resume_replay, "cancel": cancel_replay}
_LISTED_MAX = 50
_POLL_SECONDS = 0.5
_STALLED_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Selected:
    """Which events are meant, as it was typed."""

    since: str | None
    until: str | None
    events: Sequence[str]
    sources: Sequence[str]
    customer: str | None
    statuses: Sequence[str]
    reasons: Sequence[str]
    message_ids: Sequence[str]

    def read(self, snapshot: Snapshot) -> ReplaySelection:
        """The same with its instants.

        Raises:
            ConfigurationError: one is none, or a source or status is unknown.
        """
        now, zone = SystemClock().now(), snapshot.zone
        begin, end = (
            None if text is None else read_instant(text, option=option, now=now, zone=zone, is_past=True)
            for option, text in (("--since", self.since), ("--until", self.until))
        )
        return ReplaySelection(
            since=begin,
            until=end,
            events=tuple(self.events),
            sources=tuple(_read_source(source, snapshot) for source in self.sources),
            customer=self.customer,
            statuses=tuple(_read_status(status) for status in self.statuses),
            reasons=tuple(self.reasons),
            message_ids=tuple(self.message_ids),
        )


def _read_status(text: str) -> EventStatus:
    known = [status.value for status in ROUTING_STATUSES]
    if text in tuple(EventStatus) and text not in known:
        raise ConfigurationError(
            f"--status {text}: This is a status of awards, and a replay selects events by what routing decided. "
            "`punchcard retry` puts parked and rejected awards back in the queue."
        )
    if text not in known:
        raise unknown_name("--status", text, known, kind="status")
    return EventStatus(text)


def _read_source(slug: str, snapshot: Snapshot) -> str:
    known = {source for routed in snapshot.destinations.values() for source in routed.destination.sources}
    if slug not in known:
        raise unknown_name("--source", slug, known, kind="source")
    return slug


def replay_events(
    settings: Settings, slug: str, selected: Selected, *, dry_run: bool, sure: bool, wait: bool, as_json: bool
) -> int:
    """Plan a replay and show it; once it is confirmed, have it done.

    Args:
        as_json: Print only the replay as it is at the end, as in the Public API.

    Returns:
        0 if it was done, there is nothing to do or only the plan was wanted; 1 if the operator declined, or it failed.

    Raises:
        ConfigurationError: there is no such destination, it is off, or there is nobody to ask.
        StorageError: store or lake is away.
    """
    with _opened(settings, slug) as (store, snapshot, destination):
        lake = open_lake(settings, store)
        if not wait_for_lake(store, lake, seconds=LAKE_SECONDS):
            print("The data lake does not have the newest events yet: they are not in this plan.", file=sys.stderr)
        with explained_interruption(NOTHING_CHANGED):
            replay = plan_replay(
                store,
                lake,
                snapshot,
                slug,
                selected.read(snapshot),
                clock=SystemClock(),
                actor=_ACTOR,
                points_per_unit=read_points_per_unit(destination),
            )
        if not as_json:
            _show_plan(replay.plan, destination_names(snapshot)[slug])
        if dry_run or not replay.plan.awards:
            if as_json:
                _print_body(store, replay)
            return 0
        if not destination.destination.enabled:
            name = destination_names(snapshot)[slug]
            raise ConfigurationError(f"{name} is off: `punchcard destination on {slug}`, then replay its events")
        if as_json and not sure:
            raise ConfigurationError(
                "--json shows no plan to confirm. Use --yes to replay, or --dry-run to see the plan."
            )
        if not sure and not _agreed(replay.plan):
            print("Nothing was changed.", file=sys.stderr)
            return 1
        with store.unit_of_work() as work:
            save_replay(work, replay)
            started = start_replay(work, replay.id, destination, actor=_ACTOR, now=SystemClock().now())
        if not as_json:
            print(f"Replay {replay.id} has started.")
        elif not wait:
            _print_body(store, started)
        return _follow(store, started, as_json=as_json) if wait else 0


def change_replay(settings: Settings, slug: str, id: str, action: str, *, as_json: bool) -> int:
    """Pause, resume or cancel a replay; returns the exit status.

    Raises:
        ConfigurationError: there is no such replay, or it is in another state.
        StorageError: the store is away.
    """
    with _opened(settings, slug) as (store, _, _):
        try:
            with store.unit_of_work() as work:
                replay = _CHANGES[action](work, id, slug, actor=_ACTOR, now=SystemClock().now())
        except NotFoundError as error:
            hint = f"See its replays: `punchcard replay --destination {slug} --list`."
            raise ConfigurationError(f"--{action} {id}: {error.message} {hint}") from error
        if as_json:
            _print_body(store, replay)
    if not as_json:
        print(f"Replay {id} is {replay.status}.")
    return 0


def show_replays(settings: Settings, slug: str, *, as_json: bool) -> int:
    """Print the replays of a destination, newest first; returns the exit status.

    Raises:
        ConfigurationError: there is no such destination.
        StorageError: the store is away.
    """
    with _opened(settings, slug) as (store, snapshot, _), store.reading() as work:
        replays = list_replays(work, destination=slug, count=_LISTED_MAX)
        results = {replay.id: count_results(work, replay) for replay in replays} if as_json else {}

    print_list(
        replays,
        columns={
            "id": lambda replay: replay.id,
            "created": lambda replay: f"{replay.created_at:%Y-%m-%d %H:%M} UTC",
            "by": lambda replay: replay.actor,
            "status": lambda replay: replay.status.value,
            "events": lambda replay: f"{replay.plan.events:,}",
            "done": lambda replay: f"{replay.done:,}",
            "replayed": lambda replay: f"{replay.appended:,}",
            "detail": lambda replay: replay.detail,
        },
        body=lambda replay: _body(replay, results[replay.id]),
        as_json=as_json,
        empty=f"{destination_names(snapshot)[slug]} has no replays",
    )
    return 0


def _body(replay: Replay, results: dict[str, int]) -> object:
    from punchcard.api.replays import replay_view

    return replay_view(replay, results, now=SystemClock().now())


def _print_body(store: Store, replay: Replay) -> None:
    with store.reading() as work:
        results = count_results(work, replay)
    print_json_lines([_body(replay, results)])


@contextmanager
def _opened(settings: Settings, slug: str) -> Iterator[tuple[Store, Snapshot, RoutedDestination]]:
    store = open_store(settings)
    try:
        snapshot = SnapshotWatch(store, open_keyring(settings), clock=SystemClock()).current()
        destination = snapshot.destinations.get(slug)
        if destination is None:
            raise unknown_name("--destination", slug, snapshot.destinations)
        yield store, snapshot, destination
    finally:
        store.close()


def _show_plan(plan: ReplayPlan, name: str) -> None:
    console = open_console()
    period = ""
    if plan.first_received_at is not None and plan.last_received_at is not None:
        period = f", received {plan.first_received_at:%Y-%m-%d %H:%M} to {plan.last_received_at:%Y-%m-%d %H:%M} UTC"
    lines = [
        ("events", f"{plan.events:,}{period}"),
        ("awards", f"{plan.awards:,} at {name}"),
        ("quantity", f"{plan.quantity:,f}"),
        ("points", "not known: the partner does not say" if plan.points is None else f"{plan.points:,f}"),
        ("in ledger", f"{plan.already_in_ledger:,} already: nothing is done again"),
        *(("refused", f"{count:,} {reason}") for reason, count in plan.refused.items()),
    ]
    for label, words in lines:
        console.print(Text(f"{label:<10}", style="dim") + Text(printable(words)))
    if plan.sample:
        table = Table("message id", "event", "email", "received", "quantity", "item", box=None, title="For example")
        for award in plan.sample:
            cells = (
                award.message_id,
                award.event,
                award.email,
                f"{award.received_at:%Y-%m-%d %H:%M} UTC",
                "" if award.quantity is None else f"{award.quantity:f}",
                award.item or "",
            )
            table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
        console.print(table)


def _agreed(plan: ReplayPlan) -> bool:
    return confirm(f"Replay these events for {count_noun(plan.awards, 'award')}?")


def _follow(store: Store, replay: Replay, *, as_json: bool) -> int:
    """Show how far the worker is until the replay is over; returns the exit status."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    moved_at, is_shown = time.monotonic(), False
    try:
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("replaying", total=replay.plan.events, completed=replay.done)
            while not replay.status.is_over and replay.status is not ReplayStatus.PAUSED:
                time.sleep(_POLL_SECONDS)
                with store.reading() as work:
                    newer = get_replay(work, replay.id, replay.destination)
                if newer != replay:
                    moved_at = time.monotonic()
                elif not is_shown and time.monotonic() - moved_at > _STALLED_SECONDS:
                    is_shown = True
                    reason = newer.detail or "It does not move. Is a worker running?"
                    progress.console.print(printable(reason))
                replay = newer
                progress.update(task, completed=min(replay.done, replay.plan.events))
    except KeyboardInterrupt:
        explain_interruption(
            f"The replay goes on. Cancel it: punchcard replay --destination {replay.destination} --cancel {replay.id}"
        )
        return INTERRUPTED
    failed = 1 if replay.status is ReplayStatus.FAILED else 0
    if as_json:
        _print_body(store, replay)
        return failed
    with store.reading() as work:
        results = count_replayed(work, replay.id)  # by routing: their deliveries may have just begun
    counts = [_result_text(status, count) for status, count in sorted(results.items())]
    detail = f". {replay.detail}" if replay.detail else ""
    print(printable(f"Replay {replay.status}: {', '.join(counts) or 'nothing'}{detail}"))
    return failed


def _result_text(status: str, count: int) -> str:
    match status:
        case "pending":
            return f"{count_noun(count, 'award')} queued"
        case "duplicate":
            return f"{count:,} in the ledger already"
        case _:
            return f"{count:,} {status.replace('_', ' ')}"

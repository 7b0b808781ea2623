"""Replays as the store keeps them: what was asked for, what was planned, and how far each has come.

Whatever advances a replay names the place at which it stood: of two processes, or of a step and a person who cancels it
meanwhile, only one succeeds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from punchcard.store.operations.destination_rows import find_row, list_rows
from punchcard.store.operations.schema import replays
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable

_START: Final = (0, -1)


class ReplayStatus(StoredEnum):
    """The states of a replay."""

    PLANNED = "planned"  # must be confirmed
    RUNNING = "running"
    PAUSED = "paused"  # a person has stopped it for a while
    COMPLETED = "completed"
    CANCELED = "canceled"  # a person has ended it; what was replayed stays
    FAILED = "failed"  # it cannot go on; the detail says why

    @property
    def is_over(self) -> bool:
        """True if nothing more comes of the replay."""
        return self in (ReplayStatus.COMPLETED, ReplayStatus.CANCELED, ReplayStatus.FAILED)


class ReplaySelection(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Which events are replayed; an empty member selects all.

    Attributes:
        since: Received from here on; `until` before this instant.
        reasons: Codes that the result of an event has at the destination now.
        statuses: Statuses that routing has given it there.
    """

    since: datetime | None = None
    until: datetime | None = None
    events: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    customer: str | None = None
    reasons: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()


class SampleEvent(msgspec.Struct, frozen=True, rename="camel"):
    """An event of a plan, with what it would earn."""

    message_id: str
    event: str
    email: str
    received_at: datetime
    quantity: Decimal | None
    item: str | None


class EventCount(msgspec.Struct, frozen=True, rename="camel"):
    """What the events of one name would earn."""

    event: str
    events: int
    awards: int
    quantity: Decimal


class ReplayPlan(msgspec.Struct, frozen=True, rename="camel"):
    """What a replay would do under the configuration under which it was planned.

    Attributes:
        events: Selected.
        awards: Of them, those that would earn something now.
        quantity: The sum of the awards' units; a refund that carries no amount is not in it.
        points: Units times what one gives; None if the partner does not say.
        already_in_ledger: Events with an effect in the ledger already.
        refused: Events that would earn nothing, by reason.
        first_received_at: Of the events; None if there are none.
        by_event: By event name, those with the most awards first.
        sample: Some of the awards.
    """

    events: int = 0
    awards: int = 0
    quantity: Decimal = Decimal(0)
    points: Decimal | None = None
    already_in_ledger: int = 0
    refused: Mapping[str, int] = {}
    first_received_at: datetime | None = None
    last_received_at: datetime | None = None
    by_event: tuple[EventCount, ...] = ()
    sample: tuple[SampleEvent, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A replay.

    Attributes:
        done: Events of the plan that were looked at.
        appended: Events that were brought to the log again.
        through_position: The lake's last log position when it was planned: later events are not its.
        after: The place of the last event that was looked at.
        appended_position: Of its last record in the log, 0 before the first.
        resumed_at: When it went on the last time, with `done_at_resume` of its events done.
        detail: What it waits for, or why it failed; "" for none.
    """

    id: str
    destination: str
    status: ReplayStatus
    selection: ReplaySelection
    plan: ReplayPlan
    actor: str
    created_at: datetime
    through_position: int
    done: int = 0
    appended: int = 0
    after: tuple[int, int] = field(default=_START)
    appended_position: int = 0
    started_at: datetime | None = None
    resumed_at: datetime | None = None
    done_at_resume: int = 0
    ended_at: datetime | None = None
    detail: str = ""

    def time_left(self, now: datetime) -> timedelta | None:
        """Return how long it will take at the pace since it went on the last time; None if that is not known."""
        done = self.done - self.done_at_resume
        if self.status is not ReplayStatus.RUNNING or self.resumed_at is None or done <= 0:
            return None
        left = max(0, self.plan.events - self.done)
        return (now - self.resumed_at) * left / done


_json = msgspec.json.Encoder()
_selection = msgspec.json.Decoder(ReplaySelection)
_plan = msgspec.json.Decoder(ReplayPlan)


def add_replay(work: Connection, replay: Replay) -> None:
    """Keep a new replay."""
    work.execute(
        insert(replays).values(
            id=replay.id,
            destination=replay.destination,
            status=replay.status,
            selection=storable(_json.encode(replay.selection).decode()),
            plan=storable(_json.encode(replay.plan).decode()),
            actor=storable(replay.actor),
            created_at=replay.created_at,
            events=replay.plan.events,
            done=replay.done,
            appended=replay.appended,
            through_position=replay.through_position,
            after_position=replay.after[0],
            after_index=replay.after[1],
            appended_position=replay.appended_position,
            started_at=replay.started_at,
            resumed_at=replay.resumed_at,
            done_at_resume=replay.done_at_resume,
            detail=storable(replay.detail),
        )
    )


def replay_by_id(work: Connection, destination: str, replay_id: str) -> Replay | None:
    """A destination's replay, None if there is none with this id."""
    row = find_row(work, replays, destination, replay_id)
    return None if row is None else _replay_of(row)


def list_replays(work: Connection, destination: str, *, count: int) -> Sequence[Replay]:
    """Return a destination's newest replays, newest first."""
    rows = list_rows(work, replays, destination, count=count, newest_by="created_at")
    return [_replay_of(row) for row in rows]


def replays_with_status(work: Connection, status: ReplayStatus) -> Sequence[Replay]:
    """The replays in a state, oldest first."""
    query = select(replays).where(replays.c.status == status).order_by(replays.c.created_at, replays.c.id)
    return [_replay_of(row) for row in work.execute(query)]


def change_status(
    work: Connection,
    replay: Replay,
    status: ReplayStatus,
    *,
    possible_from: Collection[ReplayStatus],
    now: datetime,
    detail: str = "",
) -> bool:
    """Move a replay to another state; False if it is in none from which that is possible."""
    values: dict[str, object] = {"status": status, "detail": storable(detail)}
    if status is ReplayStatus.RUNNING:
        values |= {"resumed_at": now, "done_at_resume": replays.c.done}
        if replay.started_at is None:
            values["started_at"] = now
    if status.is_over:
        values["ended_at"] = now
    changed = update(replays).where(replays.c.id == replay.id, replays.c.status.in_(list(possible_from)))
    return work.execute(changed.values(**values)).rowcount == 1


def note_progress(
    work: Connection, replay: Replay, *, after: tuple[int, int], done: int, appended: int, appended_position: int
) -> bool:
    """Note how far a running replay has come; False if it is not running, or not where it was, any more."""
    moved = (
        update(replays)
        .where(
            replays.c.id == replay.id,
            replays.c.status == ReplayStatus.RUNNING,
            replays.c.after_position == replay.after[0],
            replays.c.after_index == replay.after[1],
        )
        .values(
            after_position=after[0],
            after_index=after[1],
            done=replays.c.done + done,
            appended=replays.c.appended + appended,
            appended_position=max(appended_position, replay.appended_position),
            detail="",
        )
    )
    return work.execute(moved).rowcount == 1


def note_wait(work: Connection, replay: Replay, detail: str) -> None:
    """Note what a running replay waits for."""
    waiting = update(replays).where(replays.c.id == replay.id, replays.c.status == ReplayStatus.RUNNING)
    work.execute(waiting.values(detail=storable(detail)))


def _replay_of(row: Row[*tuple[Any, ...]]) -> Replay:
    return Replay(
        id=row.id,
        destination=row.destination,
        status=ReplayStatus(row.status),
        selection=_selection.decode(row.selection),
        plan=_plan.decode(row.plan),
        actor=row.actor,
        created_at=row.created_at,
        through_position=row.through_position,
        done=row.done,
        appended=row.appended,
        after=(row.after_position, row.after_index),
        appended_position=row.appended_position,
        started_at=row.started_at,
        resumed_at=row.resumed_at,
        done_at_resume=row.done_at_resume,
        ended_at=row.ended_at,
        detail=row.detail,
    )

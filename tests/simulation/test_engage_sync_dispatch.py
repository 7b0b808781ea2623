"""Whatever people do and wherever processes die, a destination ends up in sync, and gets nothing twice in a row.

Crashes hit any write of store or log, just before it stands or just after, and take the process with them.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from punchcard.engage.sync_dispatch import SyncDispatcher
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.store.engage import engage_tables
from punchcard.store.engine import Store
from punchcard.store.routing.positions import ROUTING, advance, position_of
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.examples import examples
from punchcard.testing.fresh_store import with_tables
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import compile_snapshot

_STEPS_MAX = 100
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
EXAMPLES = settings(max_examples=examples(60, part=12), deadline=None, suppress_health_check=list(HealthCheck))
SETTINGS = {"apiKey": "k", "businessId": "41", "locationId": "7", "sendEmail": False, "eventToPerkMap": {}}
DEFINITIONS = {
    "bought": "event('Order Completed').count() >= 1",
    "recent": "event('Order Completed').within(30 minutes).count() >= 1",
    "tried_once": "event('Order Completed').count() = 1",
    "lapsed": "event('Order Completed').count() >= 1 AND event('Order Completed').within(5 minutes).count() = 0",
}

PEOPLE = st.sampled_from(["ann", "bea"])
steps = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("order"), PEOPLE),
            st.tuples(st.just("order"), PEOPLE),
            st.tuples(st.just("browse"), PEOPLE),
            st.tuples(st.just("sign in"), PEOPLE),
            st.tuples(st.just("new email"), PEOPLE),
            st.tuples(st.just("new email"), PEOPLE),
            st.tuples(st.just("wait"), st.sampled_from([1, 15, 59, 61, 301, 1_801])),
            st.tuples(st.just("wait"), st.sampled_from([15, 61, 301, 1_801])),
            st.tuples(st.sampled_from(["route", "pause", "resume", "resync", "switch off", "switch on"]), st.none()),
        ),
        st.one_of(
            st.none(),
            st.tuples(st.just("engine"), st.integers(1, 4), st.booleans()),
            st.tuples(st.just("teller"), st.integers(1, 3), st.booleans()),
        ),
    ),
    min_size=3,
    max_size=12,
)


class CrashError(BaseException):  # not an Exception: the engine isolates those, and a dead process isolates nothing
    """The process is dead."""


class Death:
    """Decides which write is the process's last.

    Args:
        part: The part of Engage with the counted writes: the engine or the dispatcher.
        left: Which of them fails.
        stands: It is written all the same.
    """

    def __init__(self, part: str = "", left: int = 0, stands: bool = False) -> None:
        self.part = part
        self.left = left
        self.stands = stands
        self.at_work = ""

    @contextmanager
    def write(self) -> Iterator[None]:
        self.left -= self.part == self.at_work
        dies = self.part == self.at_work and self.left == 0
        if dies and not self.stands:
            raise CrashError
        yield
        if dies:
            raise CrashError


class DyingStore(Store):
    """A store with writes that can be a process's last."""

    death: Death | None = None

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        if self.death is None:
            with super().unit_of_work() as work:
                yield work
            return
        with self.death.write(), super().unit_of_work() as work:
            yield work


class DyingLog(SqliteEventLog):
    """A log with writes that can be a process's last."""

    death: Death | None = None

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        if self.death is None:
            return super().append(records)
        with self.death.write():
            return super().append(records)


class Run:
    """People, Engage and what enters the log on behalf of one destination."""

    def __init__(self, folder: Path, store: DyingStore, log: DyingLog, *, key: str, rhythm: str) -> None:
        self.store, self.log, self.key = store, log, key
        self.world = EngageWorld(folder, store, BEGIN, events_max=4)
        keyring = Keyring("a secret")
        workspace = Workspace(
            sources=(Source(slug="web", name="Web", write_keys=("wk",)),),
            destinations=(Destination(slug="perkville", type="perkville", sources=("web",), settings=SETTINGS),),
        )
        apply(store, workspace, clock=self.world.clock, keyring=keyring, actor="test")
        self.world.destinations = compile_snapshot(load(store, keyring), keyring=keyring).destinations
        self.audience = self.world.audience(
            key, DEFINITIONS[key], destinations=("perkville",), sync=rhythm, when_removed="false"
        )
        self.world.configure(self.audience)
        self.dispatcher: SyncDispatcher | None = None
        self.death = Death()
        self.number = 0
        self.resyncs = 0

    def happen(self, what: str, detail) -> None:
        """Let something happen outside."""
        self.number += 1
        number = f"m{self.number}"
        order = {"type": "track", "event": "Order Completed", "messageId": number}
        match what:
            case "order":
                self.world.receive([{**order, "userId": detail, "properties": {"email": f"{detail}@example.com"}}])
            case "browse":
                properties = {"email": f"{detail}@home.example"}
                self.world.receive([{**order, "anonymousId": f"device of {detail}", "properties": properties}])
            case "sign in":
                ids = {"userId": detail, "anonymousId": f"device of {detail}"}
                self.world.receive([{"type": "identify", "messageId": number, "traits": {}, **ids}])
            case "new email":
                traits = {"email": f"{detail}{self.number}@example.com"}
                self.world.receive([{"type": "identify", "userId": detail, "messageId": number, "traits": traits}])
            case "wait":
                self.world.advance(seconds=detail)
            case "switch off" | "switch on":
                self.world.configure(replace(self.audience, enabled=what == "switch on"))
            case "route":
                with self.store.unit_of_work() as work:
                    last = max(1, self.log.last_position())
                    advance(work, ROUTING, expected=position_of(work, ROUTING), to=last)
            case _:
                with self.store.unit_of_work() as work:
                    self._order(work, what)

    def _order(self, work: Connection, what: str) -> None:
        at = self.world.clock.now()
        if what == "pause":
            engage_tables.pause(work, "perkville", at=at, actor="test")
        elif what == "resume":
            engage_tables.resume(work, "perkville")
        else:
            self.resyncs += 1
            engage_tables.enqueue_everybody(work, destination="perkville", key=self.key, at=at, is_resync=True)

    def work(self) -> None:
        """Let Engage do what it does, until there is nothing to do or it dies."""
        self.store.death = self.log.death = death = self.death
        try:
            for _ in range(_STEPS_MAX):
                death.at_work = "engine"
                moved = (self.world.engine or self.world.start()).step()
                if self.dispatcher is None:
                    self.dispatcher = SyncDispatcher(store=self.store, log=self.log, clock=self.world.clock)
                death.at_work = "teller"
                if not self.dispatcher.step(self.world.current()) and not moved:
                    return
            raise AssertionError("there was always something left to do")
        except CrashError:
            event(f"died in the {death.at_work}")
            self.world.crash()
            self.dispatcher = None
        finally:
            self.store.death = self.log.death = None

    def end(self) -> None:
        """Let everything come to rest."""
        for what in ("switch on", "resume"):
            self.happen(what, None)
        for hours in (0, 2, 2):
            self.world.advance(hours=hours)
            for _ in range(_STEPS_MAX):
                length = self.log.last_position()
                self.work()
                self.happen("route", None)
                if self.log.last_position() == length:
                    break

    def synced_values(self) -> dict[str, list[bool]]:
        """Return the values that the destination received of each email, each message id once, as routing does."""
        calls = {}
        for record in self.log.read(0, records_max=100_000, bytes_max=1_000_000_000):
            body = zstandard.ZstdDecompressor().decompress(record.body) if record.encoding == "zstd" else record.body
            for call in json.loads(body)["batch"]:
                calls.setdefault(call["messageId"], call)
        result = defaultdict(list)
        for call in calls.values():
            result[call["traits"]["email"]].append(call["traits"][self.key])
        return result

    def members(self) -> dict[int, bool]:
        """Of each profile whether it is in the audience, by the facts."""
        with self.store.reading() as work:
            profiles = work.exec_driver_sql("SELECT id FROM profiles WHERE merged_into IS NULL").scalars().all()
        inside = self.world.values(self.key)
        return {profile: profile in inside for profile in profiles}

    def emails(self) -> dict[str, int]:
        """The owner of each email."""
        with self.store.reading() as work:
            rows = work.exec_driver_sql("SELECT value, profile_id FROM external_ids WHERE type = 'email'")
            return dict(tuple(row) for row in rows)


@EXAMPLES
@example(
    key="bought",
    rhythm="real-time",
    steps=[(("order", "ann"), ("engine", 1, False)), (("order", "ann"), ("engine", 4, True)), (("wait", 1), None)],
)
@given(key=st.sampled_from(sorted(DEFINITIONS)), rhythm=st.sampled_from(["real-time", "every 1 hour"]), steps=steps)
def test_a_destination_ends_up_with_the_current_values_and_nothing_twice_consecutively(key, rhythm, steps):
    with (
        TemporaryDirectory() as folder,
        closing(DyingStore(with_tables(f"sqlite:///{folder}/store.db"))) as store,
        closing(DyingLog(Path(folder) / "log.db")) as log,
    ):
        run = Run(Path(folder), store, log, key=key, rhythm=rhythm)
        for (what, detail), dies in steps:
            run.happen(what, detail)
            if dies and run.death.left <= 0:
                run.death = Death(*dies)
            run.work()
        run.death = Death()
        run.end()
        assert run.world.engine.check() == 0
        reported, members, emails = run.synced_values(), run.members(), run.emails()
        for email, values in reported.items():
            assert values[-1] == members[emails[email]], email
            repeated = sum(before == after for before, after in pairwise(values))
            assert repeated <= run.resyncs, email
            assert values[0], email
        for profile in (key for key, inside in members.items() if inside and key in emails.values()):
            with store.reading() as work:
                newest = engage_tables.newest_email(work, profile)
            assert newest in reported, f"{newest} is in and was not told so"
        run.world.crash()

"""The Public API on its own socket, over a real store, log and lake that a test controls step by step.

Real: everything from the log to the ledger, including the destination's mapping. Scripted: time, and the responses of
the partner. Routing, the lake and delivery only run when a test calls them.
"""

import asyncio
import functools
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from punchcard.api.app import build_api
from punchcard.api.profile_app import build_profile_app
from punchcard.app.app import build_app
from punchcard.clock import Clock, to_micros
from punchcard.delivery.attempts import SendBefore, perform_attempt
from punchcard.delivery.outcomes import PartnerResult
from punchcard.delivery.request_permits import OwnPermits
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.engage.computation_engine import ComputationEngine
from punchcard.engage.erasure import erase_for_regulations
from punchcard.engage.fact_store import FactStore
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.reader import LakeReader
from punchcard.lake.writer import LakeWriter
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import EventLog, NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.operations.deletion_records import SuppressedRecords
from punchcard.operations.deletion_runner import DeletionRunner
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.live import LiveEvents
from punchcard.operations.reconciliation_runner import ReconciliationPlan, ReconciliationRunner
from punchcard.operations.replay_runner import ReplayRunner
from punchcard.operations.running_configuration import RunningConfiguration
from punchcard.operations.simulations import SimulationRunner
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import Router
from punchcard.routing.suppression import Suppressions
from punchcard.runtime.reconciling import reconciled_destination
from punchcard.store.access.token_store import create_token
from punchcard.store.delivery.effects import Attempt
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import facts_with_tables, with_tables
from punchcard.testing.listening import ListeningApp
from punchcard.testing.partner.configuration import SLUG
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings
from punchcard.testing.waiting import PATIENCE_SECONDS
from punchcard.traces.browse import EventBrowser
from punchcard.traces.trace import TraceReader
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import open_keyring
from punchcard.workspace.snapshot import SnapshotWatch
from punchcard.workspace.subject_vault import SubjectVault

SCRIPTED = ScriptedSettings()
# The same for all, so that its slow derivation is made once a process.
_SECRET_KEY = "the key of a test"
_REPLAY_ROUNDS = 21  # one customer's awards of a whole portion go out one by one


class ApiResponse(NamedTuple):
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The only error of a response in the documented format; fails if it has another."""
        content = self.json()
        assert set(content) == {"errors"}, content
        (error,) = content["errors"]
        assert set(error) == {"type", "message", "field", "status"}, error
        assert error["status"] == self.status
        assert isinstance(error["type"], str)
        assert error["type"]
        assert isinstance(error["message"], str)
        assert error["message"]
        return dict(error)


class _CountedPermits(OwnPermits):
    """Permits that call a function before each request."""

    def __init__(self, clock: Clock, before_request: Callable[[int], None]) -> None:
        super().__init__(0, clock)
        self._before_request = before_request
        self._count = 0

    async def acquire(self) -> None:
        self._count += 1
        await asyncio.to_thread(self._before_request, self._count)
        await super().acquire()


class PublicApiServer:
    """The app and everything behind it; as a context manager it is closed at the end.

    Args:
        folder: Folder of log, lake and key.
        store_url: URL of an empty database.
        config: The configuration, as text of a config file.
        lake_url, log: Location of the lake, and the event log, which is closed at the end; in `folder` by default.
    """

    def __init__(self, folder: Path, store_url: str, config: str, *, lake_url: str = "", log: EventLog | None = None):
        self.public_url = ""  # the setting
        self.clock = ManualClock()
        self.store = Store(with_tables(store_url))
        self.log: EventLog = log or SqliteEventLog(folder / "log.db")
        key = folder / "secret-key"
        if not key.exists():
            key.write_text(_SECRET_KEY)
        self._keyring = open_keyring(None, key)
        self.subjects = SubjectVault(self._keyring)
        self.watch = SnapshotWatch(self.store, self._keyring, clock=self.clock)
        self.configure(config)
        lake = lake_url or str(folder / "lake")
        writer = LakeWriter(lake, clock=self.clock)
        self._feed = LakeFeed(lake=writer, log=self.log, store=self.store, clock=self.clock, rows_max=10**6)
        self.restart_routing()
        self.partner = ScriptedPartner(clock=self.clock)
        self.delivers_really = False  # True: by the destination's own client, where its settings say
        self._facts_path = folder / "engage.duckdb"
        self.lake_location = lake
        self._engine: ComputationEngine | None = None
        reader = LakeReader(lake)
        self.traces = TraceReader(log=self.log, lake=reader, store=self.store)
        self.browser = EventBrowser(log=self.log, lake=reader, store=self.store, current=self.watch.current)
        with self.store.unit_of_work() as work:
            self.token = create_token(work, "test", clock=self.clock)
        self._listening = ListeningApp(self.log, self._both)
        self.port = self._listening.port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        if self._engine is not None:
            self.facts.close()
        self.log.close()
        self.store.close()

    def configure(self, config: str) -> None:
        """Apply the text of a config file."""
        content = read_content(config.encode(), "punchcard.toml", environment={})
        apply(self.store, content, clock=self.clock, keyring=self._keyring, actor="config file")

    # --- what happens behind the API ---

    def send(self, *events: Mapping[str, object] | bytes, write_key: str = "wk_website", call: str = "track") -> None:
        """Append events to the log, each as one request.

        Args:
            events: Bytes unchanged, anything else as JSON.
        """
        for event in events:
            body = event if isinstance(event, bytes) else json.dumps(event).encode()
            received_at = to_micros(self.clock.now())
            self.log.append([NewRecord(received_at, write_key, call, "identity", body, "")])

    def route(self) -> None:
        """Route everything that waits, and write what the source schema gathers of it."""
        while self._router.step():
            continue
        self._router.write_schema()

    def restart_routing(self) -> None:
        """Restart routing from the stored state, as in a new process."""
        self._router = Router(
            log=self.log,
            store=self.store,
            clock=self.clock,
            current=self.watch.newest,
            index=MessageIndex(1000),
            feed=self._feed,
            on_effects=lambda slugs: None,
            batch_bytes=1 << 20,
            suppressions=Suppressions(self.store, self.subjects, clock=self.clock),
        )

    def feed_lake(self) -> None:
        """Write all routed events to the lake, and delete their results from the store."""
        self._feed.flush()

    def run_replays(self, *, slug: str = SLUG, steps_max: int = 1_000) -> None:
        """Confirmed replays are done to their end, with routing and delivery beside them."""
        runner = self.replay_runner()
        for _ in range(steps_max):
            if not runner.step():
                return
            self.route()
            self.deliver(slug=slug, rounds=_REPLAY_ROUNDS)

    def replay_runner(self) -> ReplayRunner:
        """What does replays, as in a restarted process."""
        return ReplayRunner(
            store=self.store,
            log=self.log,
            lake=LakeReader(self.lake_location),
            clock=self.clock,
            current=self.watch.newest,
        )

    def engage(self) -> None:
        """Run Engage until it is idle: identities, traits, audiences of the events in the lake."""
        if self._engine is None:
            self.facts = FactStore(facts_with_tables(self._facts_path))
            self._engine = ComputationEngine(
                store=self.store,
                lake=LakeReader(self.lake_location),
                facts=self.facts,
                clock=self.clock,
                current=self.watch.newest,
            )
        while self._engine.step():
            continue
        eraser = LakeEraser(self.lake_location, clock=self.clock)
        if erase_for_regulations(self.store, self.facts, self.subjects, eraser):
            self.facts.close()
            self._engine = None
            self.engage()

    def run_regulations(self, *, rounds: int = 20) -> None:
        """Do what regulations request, as worker and Engage do; time passes."""
        runner = self.deletion_runner()
        suppressed_records = SuppressedRecords(self.store, self.log, clock=self.clock)
        for _ in range(rounds):
            self.route()
            self.feed_lake()
            self.engage()
            suppressed_records.step()
            runner.step()
            self.clock.advance(10)

    def deletion_runner(self) -> DeletionRunner:
        """What does regulations, as in a restarted process."""
        return DeletionRunner(
            store=self.store,
            log=self.log,
            lake=LakeReader(self.lake_location),
            eraser=LakeEraser(self.lake_location, clock=self.clock),
            vault=self.subjects,
            clock=self.clock,
            current=self.watch.newest,
        )

    def deliver(self, *, slug: str = SLUG, rounds: int = 1) -> None:
        """Claim and send what is due, in rounds; the scripted partner responds."""
        target = self._target(slug)
        telemetry = DeliveryTelemetry(slug)
        completed: list[CompletedAttempt] = []
        for _ in range(rounds):
            done = cycle(self.store, target, completed, room=100, clock=self.clock, telemetry=telemetry)
            completed = []
            for attempt in done.attempts:
                result = asyncio.run(self._perform(target, attempt, send_before=done.send_before))
                completed.append(
                    CompletedAttempt(attempt=attempt, result=result, seconds=0.0, fingerprint=target.fingerprint)
                )
            cycle(self.store, target, completed, room=0, clock=self.clock, telemetry=telemetry)
            completed = []

    async def _perform(self, target: DeliveryTarget, attempt: Attempt, *, send_before: SendBefore) -> PartnerResult:
        partner, settings = (target.partner, target.settings) if self.delivers_really else (self.partner, SCRIPTED)
        client = partner.client(settings, network=target.network)
        try:
            return await perform_attempt(
                client,
                attempt,
                send_before=send_before,
                clock=self.clock,
                telemetry=DeliveryTelemetry(target.slug),
            )
        finally:
            await client.close()

    def reconcile(
        self,
        *,
        slug: str = SLUG,
        plan: ReconciliationPlan | None = None,
        before_request: Callable[[int], None] = lambda number: None,
    ) -> bool:
        """Take the oldest reconciliation as far as possible, as the worker does; False if there is none.

        Args:
            before_request: Called before each request to the partner, with its number from 1.
        """
        runner = ReconciliationRunner(
            slug,
            store=self.store,
            clock=self.clock,
            current=lambda: reconciled_destination(self.watch.newest(), slug),
            permits=_CountedPermits(self.clock, before_request),
            plan=plan or ReconciliationPlan(),
        )

        async def run() -> bool:
            return await runner.run_once(asyncio.Event())

        return asyncio.run(run())

    def simulate(self, *, points: Mapping[str, Decimal] | None = None) -> bool:
        """Run the oldest simulation; False if there is none.

        Args:
            points: Points per unit of each value, as the partner would say.
        """
        runner = SimulationRunner(
            store=self.store,
            lake=LakeReader(self.lake_location),
            clock=self.clock,
            current=self.watch.newest,
            points_of=lambda _: points or {},
        )
        return runner.run_next()

    def claim(self, *, slug: str = SLUG) -> None:
        """Claim what is due without results: the requests are in delivery."""
        cycle(self.store, self._target(slug), [], room=100, clock=self.clock, telemetry=DeliveryTelemetry(slug))

    def _target(self, slug: str) -> DeliveryTarget:
        routed = self.watch.newest().destinations[slug]
        return DeliveryTarget(
            slug=slug,
            partner=routed.partner,
            settings=routed.settings,
            options=replace(routed.partner.delivery_options(routed.settings), requests_per_second=0, tries_max=3),
            fingerprint=routed.fingerprint,
            network=routed.network,
            enabled=routed.destination.enabled,
        )

    # --- client ---

    def request(
        self, method: str, target: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        """Send exactly this request, with the token unless `headers` replace it, and read the response.

        Args:
            target: The request target as sent, percent-encoded.
            headers: An empty value removes the header.
        """
        all_headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, target, body, {name: value for name, value in all_headers.items() if value})
            response = connection.getresponse()
            return ApiResponse(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def _both(self, commit: GroupCommit) -> Any:
        """Combine App, Public API and Profile API, divided by path like in the serving process.

        Each is built on its first request, because building one takes longer than most tests that do not use it.
        """
        dependencies = Dependencies(
            store=self.store,
            lake=LakeReader(self.lake_location),
            traces=self.traces,
            browser=self.browser,
            live=LiveEvents(tail=self.browser.tail, browser=self.browser),
            clock=self.clock,
            configuration=RunningConfiguration(
                self.store, self._keyring, self.watch, lake=LakeReader(self.lake_location), clock=self.clock
            ),
            commit=commit,
        )
        build = functools.cache(lambda builder, url: builder(replace(dependencies, public_url=url)))

        async def both(scope: Any, receive: Any, send: Any) -> None:
            is_api, is_profile = f"{scope['path']}/".startswith("/api/"), scope["path"].startswith("/v1/spaces/")
            builder = build_profile_app if is_profile else build_api if is_api else build_app
            await build(builder, self.public_url)(scope, receive, send)

        return both

"""A small world around Engage: real store, lake and facts, and a controlled clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from punchcard.clock import to_micros
from punchcard.computations.printer import to_text
from punchcard.engage.computation_engine import ComputationEngine, ComputationEngineSettings
from punchcard.engage.fact_opening import open_facts, shard_paths
from punchcard.engage.facts import Facts
from punchcard.events.parse import read_request
from punchcard.lake.reader import LakeReader
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.profiles.rules import IdentityRules
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import facts_with_tables
from punchcard.testing.partner.configuration import SLUG
from punchcard.workspace.computations import compile_computations
from punchcard.workspace.model import Computation
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

_ROUTED = f'[{{"destination":"{SLUG}","status":"pending","reason":null,"detail":null,"effectKey":"k"}}]'
_REPEATED = (
    '[{"destination":null,"status":"duplicate","reason":"duplicate_message_id","detail":"again","effectKey":null}]'
)


@dataclass
class EngageWorld:
    """Everything that Engage needs, in a folder.

    Args:
        folder: An empty folder.
        store: The store of the tested engine.
        begin: The initial time.
        zone: Time zone in which days begin and end.
        shards: Number of the parts that the facts are divided into.
    """

    folder: Path
    store: Store
    begin: datetime
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    rules: IdentityRules = field(default_factory=IdentityRules)
    events_max: int = 20_000
    changes_max: int = 20_000
    destinations: Mapping[str, RoutedDestination] = field(default_factory=dict)
    computations: dict[str, Computation] = field(default_factory=dict)
    position: int = 0
    shards: int = 1

    def __post_init__(self) -> None:
        self.clock = ManualClock(self.begin)
        self.writer = LakeWriter(str(self.folder / "lake"), clock=self.clock)
        self.facts_paths = shard_paths(self.folder / "engage.duckdb", self.shards)
        self.facts_path = self.facts_paths[0]
        self.engine: ComputationEngine | None = None
        self.facts: Facts | None = None
        self._snapshot: Snapshot | None = None

    def configure(self, *computations: Computation) -> None:
        """Set the computations."""
        self.computations = {computation.key: computation for computation in computations}
        self._snapshot = None

    def move_to(self, zone: str) -> None:
        """Change the time zone in which days begin and end."""
        self.zone = ZoneInfo(zone)
        self._snapshot = None

    def identify_by(self, rules: IdentityRules) -> None:
        """Change the identity rules."""
        self.rules = rules
        self._snapshot = None

    def audience(self, key: str, definition: Any, **more: Any) -> Computation:
        """Return an audience with a definition, as text or model."""
        text = definition if isinstance(definition, str) else to_text(definition)
        return Computation(kind="audience", key=key, name=key, definition=text, **more)

    def trait(self, key: str, definition: Any, **more: Any) -> Computation:
        """Return a computed trait."""
        text = definition if isinstance(definition, str) else to_text(definition)
        return Computation(kind="computed_trait", key=key, name=key, definition=text, **more)

    def current(self) -> Snapshot:
        """Return the compiled configuration."""
        if self._snapshot is None:
            computations, invalid = compile_computations(self.computations.values())
            self._snapshot = Snapshot(
                revision=1,
                zone=self.zone,
                day_zone=self.zone,
                by_write_key={},
                destinations=self.destinations,
                known_names=frozenset(),
                computations=MappingProxyType(computations),
                invalid_computations=MappingProxyType(invalid),
                identity=self.rules,
                own_write_keys={slug: f"own-{slug}" for slug in self.destinations},
            )
        return self._snapshot

    def receive(
        self,
        events: Sequence[Mapping[str, Any]],
        *,
        source: str = "web",
        repeated: Sequence[bool] | None = None,
        call: str = "batch",
    ) -> None:
        """Append events to the lake as one log record, as routing does.

        Args:
            call: `webhook` for a batch that Segment's cloud forwards, which may hold any number of events.
        """
        self.position += 1
        received = self.clock.now()
        body = json.dumps({"batch": list(events)}).encode()
        items = read_request(body, call=call, received_at=received, position=self.position, ip="")
        rows = LakeRows()
        is_repeated = repeated or [False] * len(items)
        rows.add_record(
            items,
            source=source,
            received_at=to_micros(received),
            position=self.position,
            results=[_REPEATED if is_duplicate else _ROUTED for is_duplicate in is_repeated],
        )
        self.writer.append(rows, first_position=self.position, last_position=self.position)

    def start(self) -> ComputationEngine:
        """Start Engage, or restart it after a stop."""
        if self.facts is not None:
            self.facts.close()
        self.facts = open_facts([facts_with_tables(path) for path in self.facts_paths])
        self.engine = ComputationEngine(
            store=self.store,
            lake=LakeReader(str(self.folder / "lake")),
            facts=self.facts,
            clock=self.clock,
            current=self.current,
            settings=ComputationEngineSettings(events_max=self.events_max, changes_max=self.changes_max),
        )
        return self.engine

    def run_until_idle(self) -> None:
        """Step until there is nothing left to do."""
        engine = self.engine or self.start()
        while engine.step():
            continue

    def advance(self, **duration: float) -> None:
        """Advance the clock."""
        self.clock.advance(timedelta(**duration).total_seconds())

    def crash(self, *, loses_facts: bool = False) -> None:
        """Stop immediately, optionally with the loss of the facts."""
        if self.facts is not None:
            self.facts.close()
        self.facts = self.engine = None
        if loses_facts:
            for path in self.facts_paths:
                path.unlink(missing_ok=True)
                path.with_name(path.name + ".wal").unlink(missing_ok=True)

    def values(self, key: str) -> dict[int, str]:
        """Return the people who have a value of a computed trait, with its JSON text."""
        if self.facts is None:
            self.start()
        assert self.facts is not None
        rows = self.facts.rows("SELECT profile, json FROM traits WHERE name = ? AND computation <> ''", key)
        return {profile: value for profile, value in rows if value not in ("false", "null")}

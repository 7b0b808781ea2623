"""Engage with its people in shards is SIGKILLed at any moment and loses files; Perkville has nothing less or twice."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from punchcard.computations.parser import parse_audience, parse_trait
from punchcard.engage.fact_opening import open_facts, shard_paths
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.partner.machines import defects_in
from punchcard.testing.product import ProductProcess, WorkerProcess
from punchcard.testing.reference import Happened, Person, expected_result
from punchcard.testing.s3_server import S3Server
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.cluster

SHARDS = 3
PEOPLE = 12
PERKS = {"Order Completed": "123456", "Audience Entered": "123457"}
AUDIENCES = {
    "buyers": "event('Order Completed').count() >= 3",
    "bought_after": (
        "event('Cart Viewed').where( event('Order Completed').within(parent: 1 day).count() >= 1 ).count() >= 1"
    ),
    "both": "trait('buyers') = true AND event('Cart Viewed').count() >= 2",
}
TRAITS = {
    "orders": "event('Order Completed').count()",
    "spent": "event('Order Completed').sum(property('revenue'))",
}
SETTINGS = {
    "PUNCHCARD_ENGAGE_SHARDS": str(SHARDS),
    "PUNCHCARD_ENGAGE_SNAPSHOT_HOURS": "0.0002",  # of 0.7 seconds
    "PUNCHCARD_ENGAGE_EVENTS_MAX": "10",  # several steps for what is sent between two kills
    "PUNCHCARD_LAKE_UPLOAD_SECONDS": "0.2",
}
# What the process is doing when it is killed, and what its machine has lost when it starts again.
ROUNDS = [
    ("in a step", "nothing"),
    ("after a snapshot", "all files"),
    ("in a step", "one file"),
    ("starting", "nothing"),
    ("in a snapshot", "all files"),
    ("in a step", "all files"),
    ("in a snapshot", "one file"),
    ("in a step", "nothing"),
]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture(params=["folder", "s3"])
def lake_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "lake")
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.new_lake()


class Customers:
    """Customers who visit a shop without a name, sign in, and buy: each sign-in merges two profiles.

    Args:
        chance: Decides who does what.
    """

    def __init__(self, product: ProductProcess, chance: random.Random) -> None:
        self.product = product
        self.orders: list[str] = []
        self.events = 0
        self._chance = chance
        self._lives: dict[str, list[Happened]] = {f"customer{number}": [] for number in range(PEOPLE)}
        self._devices = 0

    def act(self, count: int) -> None:
        """Send the events of some visits."""
        for _ in range(count):
            person = self._chance.choice(list(self._lives))
            self._devices += 1
            device = f"device-{self._devices}"
            for _ in range(self._chance.randrange(1, 3)):
                self._send(person, {"anonymousId": device}, self._chance.choice(["Order Completed", "Cart Viewed"]))
            self._send(person, {"anonymousId": device, "userId": person}, "Cart Viewed")

    def _send(self, person: str, ids: dict[str, str], name: str) -> None:
        self.events += 1
        message_id, at = f"message-{self.events}", time.time_ns() // 1000
        properties: dict[str, Any] = {"email": f"{person}@example.com"}
        if name == "Order Completed":
            self.orders.append(f"order-{self.events}")
            properties |= {"order_id": self.orders[-1], "revenue": self.events}
        event = {"type": "track", "event": name, "messageId": message_id, "properties": properties, **ids}
        body = json.dumps(event).encode()
        wait_until(lambda: self.product.send("track", body)[0] == 200)  # a busy disk is answered by 503: send again
        self._lives[person].append(Happened(at, self.events, name, "website", properties, {}))

    def expected(self) -> dict[str, dict[str, Any]]:
        """Return what the reference computes for each customer; empty values are left out."""
        now = time.time_ns() // 1000
        return {
            person: {
                key: value
                for key, text in {**AUDIENCES, **TRAITS}.items()
                if key != "both"  # of another audience: see below
                and (value := expected_result(_parsed(key, text), Person(life, {}), now))
            }
            for person, life in self._lives.items()
        }

    def members_of_both(self, values: dict[str, dict[str, Any]]) -> set[str]:
        """Return the members of the audience that depends on another one."""
        return {
            person
            for person, life in self._lives.items()
            if "buyers" in values[person] and sum(event.name == "Cart Viewed" for event in life) >= 2
        }


def _parsed(key: str, text: str) -> Any:
    return parse_audience(text) if key in AUDIENCES else parse_trait(text)


def content(sandbox: SandboxProcess) -> dict[str, object]:
    """Return the config file: all audiences and traits are synced, and entering an audience earns points."""
    content = configuration(perkville_url=sandbox.url, event_to_perk_map=PERKS)
    content["audiences"] = [
        {"name": key, "definition": text, "destinations": ["perkville"], "send": ["identify", "track"]}
        for key, text in AUDIENCES.items()
    ]
    content["computed_traits"] = [
        {"name": key, "definition": text, "destinations": ["perkville"]} for key, text in TRAITS.items()
    ]
    return content


def wait_for_moment(moment: str, data: Path, log: Path, chance: random.Random) -> None:
    """Return while Engage, which was just started, is in the middle of something."""
    if moment == "starting":
        time.sleep(chance.uniform(0.0, 2.0))
    elif moment == "in a step":  # each commit of a shard changes the file beside its own
        for _ in range(chance.randrange(1, 4 * SHARDS)):
            _poll(partial(_has_changed, data, _states(data, "engage-*.wal")))
    elif moment == "in a snapshot":  # the files are being copied, or written beside the lake
        _poll(lambda: _states(data, "engage-*.snapshot"))
    elif moment == "after a snapshot":
        written = log.read_text().count("facts_snapshot_written")
        _poll(lambda: log.read_text().count("facts_snapshot_written") > written)
    time.sleep(chance.choice([0.0, chance.uniform(0.0, 0.01), chance.uniform(0.0, 0.1)]))


def _has_changed(data: Path, before: list[tuple[str, int]]) -> bool:
    return _states(data, "engage-*.wal") != before


def _states(data: Path, pattern: str) -> list[tuple[str, int]]:
    states = []
    for path in sorted(data.glob(pattern)):
        with suppress(FileNotFoundError):  # deleted a moment ago
            states.append((path.name, path.stat().st_size))
    return states


def _poll(condition: Callable[[], object]) -> None:
    """Wait for what may last a millisecond."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def lose(what: str, data: Path, chance: random.Random) -> None:
    """Delete files of facts, as a machine with a new or an old disk has none of them, or not all."""
    paths = shard_paths(data / "engage.duckdb", SHARDS)
    for path in {"nothing": [], "one file": [chance.choice(paths)], "all files": paths}[what]:
        for file in data.glob(f"{path.name}*"):
            file.unlink()


def attributes(sandbox: SandboxProcess, person: str) -> dict[str, Any]:
    """Return the user properties of a customer at the sandbox that have a value."""
    response = sandbox.request("GET", f"/v2/connections/?business=41&user__emails__email={person}@example.com")
    objects = response.json()["objects"]
    stored = (objects[0]["custom_attributes"] or {}) if objects else {}
    return {key: value for key, value in stored.items() if key in AUDIENCES.keys() | TRAITS.keys() and value}


def test_engage_in_shards_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, sandbox: SandboxProcess, lake_url: str
) -> None:
    seed = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    environment = {**SETTINGS, "PUNCHCARD_LAKE_URL": lake_url}
    log = tmp_path / "engage.log"
    with ProductProcess(tmp_path / "product", content(sandbox), environment=environment) as applying:
        data = applying.data
    with (
        ProductProcess(tmp_path / "product", serves_only=True, environment=environment) as product,
        WorkerProcess(data, environment, tmp_path / "worker.log", arguments=["--without-engage"]),
    ):
        customers = Customers(product, chance)
        for moment, loss in ROUNDS:
            with WorkerProcess(data, environment, log, half="engage") as engage:
                customers.act(5)
                wait_for_moment(moment, data, log, chance)
                engage.kill()
                lose(loss, data, chance)
        with WorkerProcess(data, environment, log, half="engage"):
            customers.act(4)
            expected = customers.expected()
            for person in customers.members_of_both(expected):
                expected[person]["both"] = True

            def synced() -> dict[str, dict[str, Any]]:
                return {person: attributes(sandbox, person) for person in expected}

            wait_until(lambda: synced() == expected, lambda: f"seed {seed}: {synced()}, not {expected}")
            entered = sum(key in AUDIENCES for values in expected.values() for key in values)
            awards = len(customers.orders) + entered
            wait_until(lambda: len(sandbox.transactions()) >= awards, f"seed {seed}: not {awards} awards")
            time.sleep(2)  # a doubled one would come now
        perks = [str(award["perk"]).rstrip("/").rpartition("/")[2] for award in sandbox.transactions()]
        assert (perks.count("123456"), perks.count("123457")) == (len(customers.orders), entered), f"seed {seed}"
        assert len({award["trans_source_id"] for award in sandbox.transactions()}) == awards, f"seed {seed}"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    logged = [line["event"] for line in lines]
    assert "facts_snapshot_fetched" in logged, f"seed {seed}: it has never gone on from a snapshot"
    assert "differences_found" not in logged
    assert defects_in(product.log, log.read_text()) == []
    with closing(open_facts(shard_paths(data / "engage.duckdb", SHARDS))) as facts:
        counts = facts.totals("SELECT count(*), count(DISTINCT seq) FROM facts WHERE source = 'website'")
        assert counts == (customers.events, customers.events), f"seed {seed}: an event is missing or doubled"

"""The promise of snapshots: the newest good configuration, cheaply, whatever befalls the store or one destination."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError, StorageError
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.snapshot import SnapshotWatch

KEYRING = Keyring("the operator's key")
PERKVILLE = Destination(
    slug="perkville",
    type="perkville",
    sources=("website",),
    settings={
        "apiKey": "a-token-of-acme-1234",
        "businessId": "41",
        "locationId": "7",
        "sendEmail": False,
        "eventToPerkMap": {"Checked In": "1"},
    },
)
WORKSPACE = Workspace(
    timezone="America/Los_Angeles",
    sources=(
        Source(slug="pos", name="POS", write_keys=("wk_pos",), enabled=False),
        Source(slug="website", name="Website", write_keys=("wk_old", "wk_new")),
    ),
    destinations=(PERKVILLE, replace(PERKVILLE, slug="second", sources=("pos", "website"), enabled=False)),
)


class Stricter:
    """A newer version of a partner that refuses what was saved before."""

    def __init__(self) -> None:
        self._older = CATALOG["perkville"]
        self.definition = self._older.definition

    def __getattr__(self, name: str) -> object:
        return getattr(self._older, name)

    def read_settings(self, settings: Mapping[str, object], options: Mapping[str, object]) -> object:
        if options.get("requestsPerSecond") is None:
            raise ConfigurationError("options.requestsPerSecond: is required since this version")
        return self._older.read_settings(settings, options)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(store_url: str, clock: ManualClock) -> Iterator[Store]:
    store = Store(store_url)
    apply(store, WORKSPACE, clock=clock, keyring=KEYRING, actor="a test")
    yield store
    store.close()


def watch_of(store: Store, clock: ManualClock) -> SnapshotWatch:
    return SnapshotWatch(store, KEYRING, clock=clock, interval_seconds=1)


def test_write_keys_lead_to_the_source_and_all_its_destinations(store: Store, clock: ManualClock) -> None:
    snapshot = watch_of(store, clock).current()

    assert snapshot.revision == 1
    assert snapshot.zone.key == "America/Los_Angeles"
    assert set(snapshot.by_write_key) == {"wk_pos", "wk_old", "wk_new"}
    assert snapshot.by_write_key["wk_old"] is snapshot.by_write_key["wk_new"]
    assert [destination.slug for destination in snapshot.by_write_key["wk_new"].destinations] == ["perkville", "second"]
    assert [destination.slug for destination in snapshot.by_write_key["wk_pos"].destinations] == ["second"]
    assert not snapshot.by_write_key["wk_pos"].source.enabled
    assert "Perkville" in snapshot.known_names


def test_destinations_are_ready_for_use(store: Store, clock: ManualClock) -> None:
    destination = watch_of(store, clock).current().destinations["perkville"]

    assert destination.partner is CATALOG["perkville"]
    assert destination.name == "Perkville"
    assert destination.supported == CATALOG["perkville"].definition.supported
    assert destination.settings == CATALOG["perkville"].read_settings(PERKVILLE.settings, {})
    assert destination.destination == PERKVILLE
    assert destination.invalid is None


def test_change_is_seen_after_the_interval_and_not_requested_before(store: Store, clock: ManualClock) -> None:
    watch = watch_of(store, clock)
    first = watch.current()
    apply(store, replace(WORKSPACE, name="Acme"), clock=clock, keyring=KEYRING, actor="a test")
    clock.advance(0.9)
    assert watch.current() is first
    clock.advance(0.2)
    assert watch.current().revision == 2


def test_routing_sees_a_change_at_once(store: Store, clock: ManualClock) -> None:
    watch = watch_of(store, clock)
    assert watch.newest().revision == 1
    apply(store, replace(WORKSPACE, name="Acme"), clock=clock, keyring=KEYRING, actor="a test")
    newest = watch.newest()
    assert newest.revision == 2
    assert watch.newest() is newest
    assert watch.current() is newest


def test_same_revision_keeps_the_same_snapshot(store: Store, clock: ManualClock) -> None:
    watch = watch_of(store, clock)
    first = watch.current()
    clock.advance(5)
    assert watch.current() is first


def test_who_has_just_changed_it_sees_it_at_once(store: Store, clock: ManualClock) -> None:
    watch = watch_of(store, clock)
    watch.current()
    apply(store, replace(WORKSPACE, name="Acme"), clock=clock, keyring=KEYRING, actor="a test")
    assert watch.refresh().revision == 2
    assert watch.current().revision == 2


def test_fingerprint_changes_with_secrets_settings_and_options_and_with_nothing_else(
    store: Store, clock: ManualClock
) -> None:
    watch = watch_of(store, clock)
    seen = [watch.current().destinations["perkville"].fingerprint]
    for changed in (
        replace(PERKVILLE, settings={**PERKVILLE.settings, "apiKey": "b-token-of-acme-1234"}),
        replace(PERKVILLE, settings={**PERKVILLE.settings, "businessId": "42"}),
        replace(PERKVILLE, options={"requestsPerSecond": 9}),
    ):
        apply(store, replace(WORKSPACE, destinations=(changed,)), clock=clock, keyring=KEYRING, actor="a test")
        seen.append(watch.refresh().destinations["perkville"].fingerprint)
    assert len(set(seen)) == 4
    same = replace(PERKVILLE, enabled=False, settings=dict(reversed(PERKVILLE.settings.items())))
    apply(store, replace(WORKSPACE, destinations=(same,)), clock=clock, keyring=KEYRING, actor="a test")
    assert watch.refresh().destinations["perkville"].fingerprint == seen[0]


def test_stored_settings_that_a_newer_version_refuses_stop_only_their_destination(
    store: Store, clock: ManualClock
) -> None:
    tuned = replace(PERKVILLE, slug="tuned", options={"requestsPerSecond": 2})
    apply(
        store,
        replace(WORKSPACE, destinations=(*WORKSPACE.destinations, tuned)),
        clock=clock,
        keyring=KEYRING,
        actor="a test",
    )
    newer = SnapshotWatch(store, KEYRING, clock=clock, catalog={"perkville": Stricter()})  # type: ignore[dict-item]
    with capture_logs() as logs:
        destinations = newer.current().destinations
    assert destinations["perkville"].invalid == "options.requestsPerSecond: is required since this version"
    assert destinations["perkville"].settings is None
    assert destinations["tuned"].invalid is None
    assert {line["destination"] for line in logs if line["event"] == "destination_invalidated"} == {
        "perkville",
        "second",
    }


def test_type_that_is_no_longer_in_the_catalog_stops_only_its_destinations(store: Store, clock: ManualClock) -> None:
    snapshot = SnapshotWatch(store, KEYRING, clock=clock, catalog={}).current()
    assert set(snapshot.by_write_key) == {"wk_pos", "wk_old", "wk_new"}
    assert "no destination of type" in (snapshot.destinations["perkville"].invalid or "")


def test_wrong_key_stops_the_start(store: Store, clock: ManualClock) -> None:
    with pytest.raises(ConfigurationError, match="PUNCHCARD_SECRET_KEY"):
        SnapshotWatch(store, Keyring("another"), clock=clock).current()


def test_store_that_fails_keeps_the_last_good_snapshot_and_is_reported_once(store: Store, clock: ManualClock) -> None:
    watch = watch_of(store, clock)
    good = watch.current()
    failing = True

    def fail(*_: object) -> None:
        if failing:
            raise StorageError("the disk is on fire")

    event.listen(store._engine, "begin", fail)
    with capture_logs() as logs:
        for _ in range(3):
            clock.advance(2)
            assert watch.current() is good
            assert watch.newest() is good
        failing = False
        clock.advance(2)
        assert watch.current() is good
    assert [line["event"] for line in logs] == ["configuration_reload_failed", "configuration_reload_recovered"]


def test_many_threads_see_whole_snapshots_only(store: Store, clock: ManualClock) -> None:
    watch = watch_of(store, clock)
    stop = threading.Event()
    odd: list[str] = []

    def look() -> None:
        while not stop.is_set():
            snapshot = watch.current()
            if set(snapshot.by_write_key) != {f"wk{snapshot.revision}"} and snapshot.revision > 1:
                odd.append(f"{snapshot.revision}: {set(snapshot.by_write_key)}")

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(2, 7):
        source = Source(slug="website", name="W", write_keys=(f"wk{number}",))
        apply(store, Workspace(sources=(source,)), clock=clock, keyring=KEYRING, actor="a test")
        clock.advance(2)
    clock.advance(2)
    stop.set()
    for thread in threads:
        thread.join()
    assert odd == []
    clock.advance(2)
    assert watch.current().revision == 6

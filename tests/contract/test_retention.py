"""Retention: what a period would delete, what is deleted in portions, and what money needs, which stays."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from punchcard.cli.retaining import preview_retention, show_retention
from punchcard.errors import ConfigurationError
from punchcard.operations import retention
from punchcard.operations.retention import (
    DATA_SETS,
    change_retention,
    count_expired,
    days_of,
    enforce_retention,
    find_data_set,
    list_retention,
    lock_periods,
    read_days,
)
from punchcard.runtime.settings import read_settings
from punchcard.store.access import audit
from punchcard.store.access.schema import audit_events
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.engage.schema import profile_trait_changes, profiles
from punchcard.store.engine import Store
from punchcard.store.ingest.schema import rejected_requests
from punchcard.store.privacy.retention import read_periods
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import new_effect, stored_effect

OLD = timedelta(days=500)
PERIODS = {"delivery_details": 400, "profile_history": 400, "audit_log": 400, "rejected_requests": 400}
STATES = {"old-delivered": EffectState.DELIVERED, "old-parked": EffectState.PARKED, "old-open": EffectState.RETRYING}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(store_url: str, clock: ManualClock) -> Iterator[Store]:
    """A store with old and new rows of every data set."""
    with closing(Store(store_url)) as made:
        with made.unit_of_work() as work:
            for name, at in (("old", clock.now() - OLD), ("new", clock.now())):
                add_rows(work, name, at)
        yield made


def add_rows(work: Connection, name: str, at: datetime) -> None:
    """Add three rows of each data set."""
    for number in range(3):
        audit.record(
            work, at=at, actor="a", kind="add", resource_type="source", resource_id=f"{name}-{number}", changes="[]"
        )
        work.execute(
            insert(rejected_requests).values(
                source="web",
                received_at=at,
                path="/v1/t",
                status=400,
                reason="r",
                message=name,
                network="",
                user_agent="",
                library="",
                body_bytes=1,
                body_start="",
            )
        )
    profile = {"old": 1, "new": 2}[name]
    message = {"first_message_id": "m", "first_source": "web", "last_message_id": "m", "last_source": "web"}
    work.execute(
        insert(profiles).values(id=profile, public_id=name, created_at=at, updated_at=at, is_known=True, **message)
    )
    for number in range(3):
        work.execute(
            insert(profile_trait_changes).values(
                profile_id=profile,
                name="city",
                value=json.dumps(f"{name}-{number}"),
                computation="",
                at=at,
                message_id="m",
            )
        )
    for state in ("delivered", "parked", "open"):
        key = f"{name}-{state}"
        outbox.add(work, [new_effect(key, customer=f"{key}@example.com", quantity="9.99")], now=at)
        effect = stored_effect(work, key)
        outbox.put(work, effect.id, state=STATES[f"old-{state}"], reason="r", detail="a text", due_at=at, now=at)
        work.execute(
            insert(delivery_attempts).values(
                effect_id=effect.id, number=1, action="send", started_at=at, finished_at=at, outcome="ok", detail="said"
            )
        )


def left(store: Store) -> dict[str, list[str]]:
    """Return what is left of each data set."""
    with store.reading() as work:
        texts = work.execute(
            select(effects.c.effect_key, effects.c.detail, delivery_attempts.c.detail.label("attempt"))
            .join(delivery_attempts, delivery_attempts.c.effect_id == effects.c.id)
            .order_by(effects.c.id)
        )
        return {
            "audit_log": list(work.scalars(select(audit_events.c.resource_id).order_by(audit_events.c.id))),
            "rejected_requests": list(work.scalars(select(rejected_requests.c.message))),
            "profile_history": list(work.scalars(select(profile_trait_changes.c.value))),
            "delivery_details": [row.effect_key for row in texts if row.detail and row.attempt],
        }


def expired(store: Store, clock: ManualClock, tmp_path: Path) -> dict[str, int | None]:
    """Return what the periods would delete."""
    lake = str(tmp_path / "lake")
    with store.reading() as work:
        return {
            name: count_expired(work, lake, find_data_set(name), days, now=clock.now())
            for name, days in PERIODS.items()
        }


def test_what_would_be_deleted_is_deleted_and_nothing_else(
    store: Store, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expired(store, clock, tmp_path) == {
        "delivery_details": 1,
        "profile_history": 3,
        "audit_log": 3,
        "rejected_requests": 3,
    }
    before = left(store)
    enforce_retention(store, {}, clock=clock)
    assert left(store) == before  # for ever, by default
    monkeypatch.setattr(retention, "ROWS_PER_PORTION", 2)  # several portions, one of them with both kinds
    with store.unit_of_work() as work:
        for name, days in PERIODS.items():
            assert change_retention(work, find_data_set(name), days, actor="operator", now=clock.now())
    enforce_retention(store, {}, clock=clock)
    after = left(store)
    assert after.pop("delivery_details") == ["old-parked", "old-open", "new-delivered", "new-parked", "new-open"]
    assert {name: [text for text in texts if "old" in text] for name, texts in after.items()} == {
        "audit_log": [],
        "rejected_requests": [],
        "profile_history": [],
    }
    assert {name: len(texts) for name, texts in after.items()} == {
        "audit_log": 7,
        "rejected_requests": 3,
        "profile_history": 3,  # with the four changes of periods
    }
    assert set(expired(store, clock, tmp_path).values()) == {0}
    with store.reading() as work:
        deleted = {name: period.deleted for name, period in read_periods(work).items()}
        effect = stored_effect(work, "old-delivered")
    assert deleted == {"delivery_details": 2, "profile_history": 3, "audit_log": 3, "rejected_requests": 3}
    # What money needs.
    assert (effect.customer, str(effect.requested_quantity), effect.state) == (
        "old-delivered@example.com",
        "9.99",
        EffectState.DELIVERED,
    )


def test_a_portion_is_deleted_once_however_often_it_is_repeated(store: Store, clock: ManualClock) -> None:
    defaults = {find_data_set(name).setting: days for name, days in PERIODS.items()}
    for _ in range(3):
        enforce_retention(store, defaults, clock=clock)
    with store.reading() as work:
        assert read_periods(work)["audit_log"].deleted == 3
    clock.advance(timedelta(days=500).total_seconds())
    enforce_retention(store, defaults, clock=clock)
    assert left(store)["audit_log"] == []


def test_a_run_ends_after_some_portions(store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_PORTION", 1)
    monkeypatch.setattr(retention, "_PORTIONS_PER_RUN", 2)
    enforce_retention(store, {"audit_log_retention_days": 400}, clock=clock)
    assert len(left(store)["audit_log"]) == 4
    enforce_retention(store, {"audit_log_retention_days": 400}, clock=clock, is_stopping=lambda: True)
    assert len(left(store)["audit_log"]) == 4


def test_an_operators_period_comes_before_the_setting(store: Store, clock: ManualClock) -> None:
    defaults = {"audit_log_retention_days": 400}
    audit_log = find_data_set("audit_log")
    with store.unit_of_work() as work:
        assert days_of(work, "audit_log", defaults) == 400
        assert change_retention(work, audit_log, 0, actor="operator ann", now=clock.now())
        assert not change_retention(work, audit_log, 0, actor="operator bob", now=clock.now())
        assert days_of(work, "audit_log", defaults) == 0
        (period,) = [period for period in list_retention(work, defaults) if period.data_set is audit_log]
        assert (period.is_own, period.changed_by) == (True, "operator ann")
        change_retention(work, audit_log, None, actor="operator ann", now=clock.now())
        assert days_of(work, "audit_log", defaults) == 400
        events = audit.list_events(work, audit.AuditQuery(resource_type="retention"), count=9)
    assert [json.loads(event.changes)[0] for event in events] == [
        {"path": "days", "before": 0, "after": None},
        {"path": "days", "before": None, "after": 0},
    ]


def test_two_operators_who_save_in_the_same_instant_follow_each_other(store: Store, clock: ManualClock) -> None:
    """Promise: the second one sees what the first one has saved, in what a form compares and in the audit log."""
    audit_log = find_data_set("audit_log")
    seen: list[int] = []
    with store.unit_of_work() as work:
        change_retention(work, audit_log, 300, actor="operator ann", now=clock.now())

    def save_second() -> None:
        with store.unit_of_work() as work:
            lock_periods(work)
            seen.append(days_of(work, "audit_log", {}))
            change_retention(work, audit_log, 200, actor="operator bob", now=clock.now())

    second = threading.Thread(target=save_second)
    with store.unit_of_work() as work:
        lock_periods(work)
        change_retention(work, audit_log, 100, actor="operator ann", now=clock.now())
        second.start()
        second.join(0.5)  # it waits for the first one
        assert second.is_alive()
    second.join(30)
    assert seen == [100]
    with store.reading() as work:
        events = audit.list_events(work, audit.AuditQuery(resource_type="retention"), count=9)
    assert [json.loads(event.changes)[0] for event in events] == [
        {"path": "days", "before": 100, "after": 200},
        {"path": "days", "before": 300, "after": 100},
        {"path": "days", "before": None, "after": 300},
    ]


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "36501", "²", "1000000000000"])
@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: str(data_set.name))
def test_what_is_no_period_is_refused(data_set: retention.DataSet, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^Enter a whole number"):
        read_days(data_set, text)


def test_a_period_that_is_too_short_is_refused() -> None:
    assert read_days(find_data_set("audit_log"), " 90 ") == 90
    assert read_days(find_data_set("audit_log"), "0") == 0
    assert read_days(find_data_set("audit_log"), "") is None
    with pytest.raises(ConfigurationError, match="at least 90 days"):
        read_days(find_data_set("audit_log"), "89")
    with pytest.raises(ConfigurationError, match=r"There is no data set x\. Use one of: lake,"):
        find_data_set("x")


def test_events_of_the_lake_are_counted_by_day(tmp_path: Path, store: Store, clock: ManualClock) -> None:
    from tests.contract.test_lake_on_s3 import MIDNIGHT, append

    from punchcard.lake.writer import LakeWriter

    url = str(tmp_path / "lake")
    writer = LakeWriter(url)
    append(writer, 1)
    data_set = find_data_set("lake")
    received = datetime.fromtimestamp(MIDNIGHT / 1e6, clock.now().tzinfo)
    with store.reading() as work:
        assert count_expired(work, url, data_set, 1, now=received + timedelta(days=1)) == 0
        assert count_expired(work, url, data_set, 1, now=received + timedelta(days=2)) == 3
        assert count_expired(work, url, data_set, 0, now=received + timedelta(days=2)) == 0


def test_a_command_says_one_day_and_thirty_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = read_settings({"PUNCHCARD_DATA": str(tmp_path), "PUNCHCARD_LAKE_RETENTION_DAYS": "1"})
    Store(f"sqlite:///{tmp_path}/punchcard.db").close()
    preview_retention(settings, "reports", "30")
    preview_retention(settings, "lake", "1")
    show_retention(settings, as_json=False)
    output = capsys.readouterr().out
    assert "what is older than 30 days would be deleted" in output
    assert "0 rows that are older than 1 day would be deleted" in output
    assert "  1 day  " in output

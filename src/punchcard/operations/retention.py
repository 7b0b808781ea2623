"""How long each data set is kept: what there is, what a period would delete, and what is deleted in the background.

Never deleted: what money needs. Effects stay in the ledger with their keys, orders, amounts, customers and dates; so do
unresolved conflicts, held and quarantined events, and what replays have sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError
from punchcard.lake.retention import count_events_before
from punchcard.operations.retention_limits import days_min, find_fault
from punchcard.store.access import audit
from punchcard.store.access.retention import count_old_audit_log, prune_audit_log
from punchcard.store.delivery.retention import clear_delivery_details, count_old_delivery_details
from punchcard.store.engage.retention import count_old_profile_history, count_old_profiles, prune_profile_history
from punchcard.store.engine import Store
from punchcard.store.ingest.retention import count_old_rejected_requests, prune_rejected_requests
from punchcard.store.privacy.retention import StoredPeriod, lock_period, read_periods, record_deletion, write_period
from punchcard.store.retention import ROWS_PER_PORTION, Portion

LAKE: Final = "lake"
PROFILES: Final = "profiles"
REPORTS: Final = "reports"
_DIGITS_MAX: Final = 6
_PORTIONS_PER_RUN: Final = 20  # then the lake is written again; the rest follows a minute later


class Prune(Protocol):
    """Deletes the next portion of a data set."""

    def __call__(self, work: Connection, *, before: datetime, after: int, limit: int) -> Portion:
        """Delete rows older than an instant, behind an id."""


class Count(Protocol):
    """Counts what is older than an instant."""

    def __call__(self, work: Connection, *, before: datetime) -> int:
        """Return the number of rows."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data that is kept for a time.

    Attributes:
        name: Identifier, as in commands.
        title: Shown on pages.
        deleted: What is deleted after the period.
        retained: What of it stays, "" for nothing.
        setting: The setting of processes with the period if no operator has set one.
        count: Counts what is older; None for what is not in one table.
        prune: Deletes a portion; None for what is deleted elsewhere.
    """

    name: str
    title: str
    deleted: str
    retained: str = ""
    setting: str
    count: Count | None = None
    prune: Prune | None = None

    @property
    def days_min(self) -> int:
        """The shortest period."""
        return days_min(self.setting)


DATA_SETS: Final = (
    DataSet(
        name=LAKE,
        title="Events in the data lake",
        deleted="Events, by the day of their receipt. They can no longer be found or replayed, and no longer count in "
        "audiences and computed traits.",
        retained="Awards, and profiles with their traits.",
        setting="lake_retention_days",
    ),
    DataSet(
        name="delivery_details",
        title="Responses of destinations",
        deleted="The texts of completed awards and of their attempts.",
        retained="Keys, orders, amounts, customers, dates, statuses and reasons; the texts of what is open or parked.",
        setting="delivery_details_retention_days",
        count=count_old_delivery_details,
        prune=clear_delivery_details,
    ),
    DataSet(
        name="profile_history",
        title="History of profiles",
        deleted="Earlier values of traits, and when profiles entered and left audiences.",
        retained="Current traits and memberships.",
        setting="profile_history_retention_days",
        count=count_old_profile_history,
        prune=prune_profile_history,
    ),
    DataSet(
        name=PROFILES,
        title="Profiles not seen",
        deleted="Profiles without an event for so long: ids, traits with their history, memberships. Destinations keep "
        "what was synced; who comes back gets a new profile.",
        retained="Awards, events in the data lake, and the ids in uploaded lists.",
        setting="profile_retention_days",
        count=count_old_profiles,
    ),
    DataSet(
        name=REPORTS,
        title="Reports and counts",
        deleted="Simulations, reconciliations, refused orders, notes by day, and events in the schema of a source that "
        "were not sent since.",
        retained="Refused orders with a waiting or parked refund.",
        setting="history_retention_days",
    ),
    DataSet(
        name="audit_log",
        title="Audit log",
        deleted="Who changed what.",
        setting="audit_log_retention_days",
        count=count_old_audit_log,
        prune=prune_audit_log,
    ),
    DataSet(
        name="rejected_requests",
        title="Rejected requests",
        deleted="Requests to the Tracking API that were not accepted. The newest 50 of a source are kept in any case, "
        "for as long as this.",
        setting="rejected_requests_retention_days",
        count=count_old_rejected_requests,
        prune=prune_rejected_requests,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The period of a data set.

    Attributes:
        days: 0 for ever.
        is_own: True if an operator has set it, False if it is that of the settings.
        changed_by: Who has set it, "" for nobody.
        deleted: Number of rows deleted so far.
    """

    data_set: DataSet
    days: int
    is_own: bool
    changed_by: str
    changed_at: datetime | None
    deleted: int
    deleted_at: datetime | None


def list_retention(work: Connection, defaults: Mapping[str, int]) -> list[Retention]:
    """Return the period of every data set.

    Args:
        defaults: Days by setting.
    """
    stored = read_periods(work)
    return [_retention_of(data_set, stored.get(data_set.name), defaults) for data_set in DATA_SETS]


def days_of(work: Connection, name: str, defaults: Mapping[str, int]) -> int:
    """Return the period of a data set in days, 0 for ever."""
    data_set = find_data_set(name)
    return _retention_of(data_set, read_periods(work).get(name), defaults).days


def find_data_set(name: str) -> DataSet:
    """Return a data set.

    Raises:
        ConfigurationError: There is no such data set.
    """
    for data_set in DATA_SETS:
        if data_set.name == name:
            return data_set
    names = ", ".join(data_set.name for data_set in DATA_SETS)
    raise ConfigurationError(f"There is no data set {name}. Use one of: {names}.")


def read_days(data_set: DataSet, text: str) -> int | None:
    """Return a period as entered; None for an empty text.

    Raises:
        ConfigurationError: It is not a period that the data set may have.
    """
    text = text.strip()
    if not text:
        return None
    is_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
    days = int(text) if is_number else -1
    if fault := find_fault(days, data_set.days_min):
        raise ConfigurationError(fault)
    return days


def count_expired(work: Connection, lake_url: str, data_set: DataSet, days: int | None, *, now: datetime) -> int | None:
    """Return how many rows a period would delete now; None if that cannot be counted.

    Raises:
        StorageError: The lake or the store is unavailable.
    """
    if not days:
        return 0
    before = now - timedelta(days=days)
    if data_set.name == LAKE:
        return count_events_before(lake_url, before.date())
    return None if data_set.count is None else data_set.count(work, before=before)


def lock_periods(work: Connection) -> None:
    """Hold all periods against other processes until the unit of work ends, so that they can be compared first."""
    for data_set in DATA_SETS:
        lock_period(work, data_set.name)


def change_retention(work: Connection, data_set: DataSet, days: int | None, *, actor: str, now: datetime) -> bool:
    """Set the period of a data set; False if it has this period already.

    Args:
        days: 0 for ever; None to use the setting of the process again.
    """
    before = lock_period(work, data_set.name).days
    if before == days:
        return False
    write_period(work, data_set.name, days, actor=actor, now=now)
    audit.record(
        work,
        at=now,
        actor=actor,
        kind="change",
        resource_type="retention",
        resource_id=data_set.name,
        changes=audit.changes_json(audit.ChangedValue("days", before=before, after=days)),
    )
    return True


def enforce_retention(
    store: Store, defaults: Mapping[str, int], *, clock: Clock, is_stopping: Callable[[], bool] = lambda: False
) -> None:
    """Delete what is older than its period from the store, in small portions, each in its own unit of work.

    Raises:
        StorageError: The store is unavailable; what was deleted before stays deleted.
    """
    for data_set in DATA_SETS:
        if data_set.prune is None:
            continue
        for _ in range(_PORTIONS_PER_RUN):
            if is_stopping() or _delete_portion(store, data_set, defaults, clock=clock).is_last:
                break


def _delete_portion(store: Store, data_set: DataSet, defaults: Mapping[str, int], *, clock: Clock) -> Portion:
    now = clock.now()
    with store.reading() as work:
        stored = read_periods(work).get(data_set.name)
    days = _retention_of(data_set, stored, defaults).days
    cursor = 0 if stored is None else stored.cursor
    if not days or data_set.prune is None:
        return Portion(deleted=0, cursor=cursor, is_last=True)
    with store.unit_of_work() as work:
        portion = data_set.prune(work, before=now - timedelta(days=days), after=cursor, limit=ROWS_PER_PORTION)
        if portion.cursor != cursor:
            record_deletion(work, data_set.name, deleted=portion.deleted, cursor=portion.cursor, now=now)
    return portion


def _retention_of(data_set: DataSet, stored: StoredPeriod | None, defaults: Mapping[str, int]) -> Retention:
    period = stored or StoredPeriod(data_set=data_set.name)
    return Retention(
        data_set=data_set,
        days=defaults.get(data_set.setting, 0) if period.days is None else period.days,
        is_own=period.days is not None,
        changed_by=period.changed_by if period.days is not None else "",
        changed_at=period.changed_at if period.days is not None else None,
        deleted=period.deleted,
        deleted_at=period.deleted_at,
    )

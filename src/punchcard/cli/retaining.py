"""What the commands under `punchcard retention` do."""

import sys
from contextlib import closing
from typing import Final

from punchcard.cli.confirmation import confirm
from punchcard.cli.listing import print_list
from punchcard.clock import SystemClock, to_iso
from punchcard.operations.retention import (
    DataSet,
    Retention,
    change_retention,
    count_expired,
    find_data_set,
    list_retention,
    read_days,
)
from punchcard.operations.sentences import count_noun
from punchcard.runtime.assembly import open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store

_ACTOR: Final = "command line"
_DEFAULT: Final = "default"


def show_retention(settings: Settings, *, as_json: bool) -> int:
    """Print the period of every data set.

    Raises:
        StorageError: The store is unavailable.
    """
    with closing(open_store(settings)) as store, store.reading() as work:
        periods = list_retention(work, settings.retention_days())
    print_list(
        periods,
        columns={
            "data set": lambda period: period.data_set.name,
            "kept": _period_text,
            "set by": lambda period: period.changed_by or f"{period.data_set.setting}",
            "deleted so far": lambda period: f"{period.deleted:,}",
            "what is deleted": lambda period: period.data_set.deleted,
        },
        body=_body,
        as_json=as_json,
        empty="No data sets",
    )
    return 0


def preview_retention(settings: Settings, name: str, days: str) -> int:
    """Print what a period would delete.

    Raises:
        ConfigurationError: There is no such data set, or it cannot have this period.
        StorageError: Lake or store is unavailable.
    """
    data_set = find_data_set(name)
    with closing(open_store(settings)) as store:
        print(_preview(settings, store, data_set, read_days(data_set, days)))
    return 0


def set_retention(settings: Settings, name: str, days: str, *, assume_yes: bool) -> int:
    """Set a period after asking; return 0, or 1 if the operator declined.

    Raises:
        ConfigurationError: There is no such data set, it cannot have this period, or there is no terminal to ask.
        StorageError: Lake or store is unavailable.
    """
    data_set = find_data_set(name)
    number = None if days == _DEFAULT else read_days(data_set, days)
    with closing(open_store(settings)) as store:
        effective = settings.retention_days()[data_set.setting] if number is None else number
        print(_preview(settings, store, data_set, effective))
        if effective and not assume_yes and not _confirmed():
            print("Nothing was changed.", file=sys.stderr)
            return 1
        with store.unit_of_work() as work:
            is_changed = change_retention(work, data_set, number, actor=_ACTOR, now=SystemClock().now())
    print("The period was saved." if is_changed else "The period is set already.")
    return 0


def _preview(settings: Settings, store: Store, data_set: DataSet, days: int | None) -> str:
    if not days:
        return f"{data_set.title}: nothing is deleted."
    with store.reading() as work:
        count = count_expired(work, settings.lake_location(), data_set, days, now=SystemClock().now())
    expired = "what is older" if count is None else f"{count_noun(count, 'row that is', 'rows that are')} older"
    stays = f" Kept: {data_set.retained}" if data_set.retained else ""
    return f"{data_set.title}: {expired} than {count_noun(days, 'day')} would be deleted. {data_set.deleted}{stays}"


def _confirmed() -> bool:
    return confirm("Delete it, and all that becomes older? It cannot be restored.")


def _period_text(period: Retention) -> str:
    return count_noun(period.days, "day") if period.days else "for ever"


def _body(period: Retention) -> dict[str, object]:
    return {
        "dataSet": period.data_set.name,
        "name": period.data_set.title,
        "days": period.days,
        "changedBy": period.changed_by or None,
        "changedAt": None if period.changed_at is None else to_iso(period.changed_at),
        "setting": period.data_set.setting,
        "deleted": period.deleted,
        "deletedAt": None if period.deleted_at is None else to_iso(period.deleted_at),
    }

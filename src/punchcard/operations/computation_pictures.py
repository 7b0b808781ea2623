"""What the page of an audience or a computed trait draws: entries and exits by day, and how numbers are distributed."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from punchcard.store.engage.profile_queries import count_newest_changes
from punchcard.store.engage.profile_search import values_of_trait

DAYS = 30
READ_MAX = 20_000
"""Changes or values that are read: some tens of milliseconds."""
_BANDS_MAX = 12
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class DailyChanges:
    """How many people entered and left an audience on each of the last days.

    Attributes:
        days: Where each day begins in the workspace's time zone, oldest first.
        is_partial: True if only the newest `READ_MAX` changes were counted.
    """

    days: Sequence[datetime]
    entered: Sequence[int]
    left: Sequence[int]
    is_partial: bool


@dataclass(frozen=True, kw_only=True)
class Band:
    """Values from `low` up to and without `high`."""

    low: float
    high: float
    people: int


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """How many people have which values of a trait.

    Attributes:
        people: Number of values.
        is_partial: True if only `READ_MAX` values were read.
    """

    bands: Sequence[Band]
    people: int
    is_partial: bool


def count_daily_changes(work: Connection, key: str, *, now: datetime, zone: ZoneInfo) -> DailyChanges | None:
    """Return the entries and exits of an audience in the last 30 days, None if there were none."""
    today = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=number) for number in reversed(range(DAYS))]  # local days, whatever clocks do
    changes = count_newest_changes(work, key, limit=READ_MAX)
    counts: dict[bool, Counter[object]] = {True: Counter(), False: Counter()}
    for at, is_entry, number in changes:
        counts[is_entry][at.astimezone(zone).date()] += number
    entered, left = ([counts[is_entry][day.date()] for day in days] for is_entry in (True, False))
    if not any(entered) and not any(left):
        return None
    is_partial = sum(number for _, _, number in changes) == READ_MAX and changes[0][0] >= days[0]
    return DailyChanges(days=days, entered=entered, left=left, is_partial=is_partial)


def read_distribution(work: Connection, key: str) -> Distribution | None:
    """Return the distribution of the values of a trait, None if they are not numbers."""
    values = [json.loads(text) for text in values_of_trait(work, key, limit=READ_MAX)]
    numbers = [number for value in values if (number := _read_number(value)) is not None]
    if not numbers or len(numbers) < len(values):
        return None
    return Distribution(bands=split_into_bands(numbers), people=len(numbers), is_partial=len(values) == READ_MAX)


def _read_number(value: object) -> float | None:
    """Return a value as a number that can be drawn; None for another value, or an integer beyond all floats."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def split_into_bands(numbers: Sequence[float]) -> Sequence[Band]:
    """Count numbers in bands of one width, which begin at round numbers; at most 12."""
    least, most = min(numbers), max(numbers)
    step = _step(most - least)
    first = math.floor(least / step)
    last = math.floor(most / step)
    counts = Counter(math.floor(number / step) for number in numbers)
    return [
        Band(low=_rounded(index * step), high=_rounded((index + 1) * step), people=counts[index])
        for index in range(first, last + 1)
    ]


def _step(span: float) -> float:
    """Return the smallest round width with which the span has few enough bands."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / _BANDS_MAX))
    return next(power * step for step in _STEPS if span / (power * step) <= _BANDS_MAX - 1)


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")

"""Which small files are merged."""

import datetime

import pytest

from punchcard.lake.compaction import plan_merges
from punchcard.lake.data_file import DataFile

TODAY = datetime.date(2026, 1, 2)


def files(*rows: int, day: datetime.date = TODAY, start: int = 0) -> list[DataFile]:
    return [
        DataFile(
            path=f"{day}/{start + number}",
            day=day,
            bytes=count * 200,
            rows=count,
            first_position=start + number,
            last_position=start + number,
        )
        for number, count in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([], []),
        ([30] * 15, []),
        ([30] * 16, [[30] * 16]),
        ([30] * 300, [[30] * 256, [30] * 44]),
        ([70_000] * 20, []),
        ([70_000, *[30] * 16], [[30] * 16]),
        ([*[30] * 8, 70_000, *[30] * 8], []),
        ([500] * 15, []),
        ([*[500] * 15, 30], [[*[500] * 15, 30]]),
        ([30_000] * 16, [[30_000] * 3] * 5),
    ],
    ids=["none", "too few", "enough", "very many", "large", "large before", "large between", "next tier, too few",
         "next tier", "no larger than needed"],
)  # fmt: skip
def test_small_neighbours_of_today_are_merged_in_tiers(rows: list[int], groups: list[list[int]]) -> None:
    assert [[item.rows for item in group] for group in plan_merges(files(*rows))] == groups


def test_a_day_gone_by_is_merged_whole_and_never_with_another() -> None:
    yesterday = TODAY - datetime.timedelta(days=1)
    groups = plan_merges([*files(30, start=100), *files(30, 500, day=yesterday)])
    assert [[item.rows for item in group] for group in groups] == [[30, 500]]


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([65_536] * 3, [[65_536] * 3]),
        ([65_536] * 9, [[65_536] * 4] * 2),
        ([262_144, 30, 30], [[30, 30]]),
        ([262_144, 30, 262_144], []),
        ([200_000] * 2, [[200_000] * 2]),
    ],
    ids=["below", "as large as is useful", "the rest", "between large ones", "imported"],
)
def test_files_of_a_day_gone_by_grow_once_more(rows: list[int], groups: list[list[int]]) -> None:
    yesterday = TODAY - datetime.timedelta(days=1)
    merges = plan_merges([*files(30, start=100), *files(*rows, day=yesterday)])
    assert [[item.rows for item in group] for group in merges] == groups


def test_merges_come_in_log_order_whatever_the_order_of_the_files() -> None:
    (group,) = plan_merges(files(*[30] * 16)[::-1])
    assert [item.first_position for item in group] == list(range(16))


def test_repeated_merging_comes_to_an_end_with_few_files() -> None:
    now = files(*[30] * 5_000)
    rounds = 0
    while merges := plan_merges(now):
        rounds += 1
        for group in merges:
            rows = sum(item.rows for item in group)
            now = [item for item in now if item not in group] + files(rows, start=group[0].first_position)
    assert rounds <= 4
    assert len(now) <= 16 * 3
    assert sum(item.rows for item in now) == 150_000

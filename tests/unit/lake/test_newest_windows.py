"""Windows from the end of the log on: each position once, the newest first, with every file that may hold it."""

import datetime
import random

import pytest

from punchcard.lake.data_file import DataFile
from punchcard.lake.newest_windows import NewestWindows


def a_file(first: int, last: int, rows: int) -> DataFile:
    return DataFile(
        path=f"{first}-{last}",
        day=datetime.date(2026, 1, 1),
        bytes=1,
        rows=rows,
        first_position=first,
        last_position=last,
    )


@pytest.mark.parametrize("seed", range(20))
def test_each_position_is_in_one_window_with_all_its_files(seed: int) -> None:
    chance = random.Random(seed)
    files = []
    for _ in range(chance.randrange(1, 40)):
        first = chance.randrange(1, 3_000)
        files.append(a_file(first, first + chance.randrange(200), chance.choice([1, 50, 20_000])))
    through = chance.choice([None, 1_500])
    windows = NewestWindows(files, through=through)
    places: list[tuple[int, str]] = []
    before = 10_000
    while (window := windows.next_window()) is not None:
        assert window.after < window.through <= before
        before = window.after
        places += [
            (position, file.path)
            for position in range(window.through, window.after, -1)
            for file in window.files
            if file.first_position <= position <= file.last_position
        ]
    expected = [
        (position, file.path) for file in files for position in range(file.first_position, file.last_position + 1)
    ]
    assert sorted(places) == sorted(place for place in expected if through is None or place[0] <= through)
    assert [position for position, _ in places] == sorted((position for position, _ in places), reverse=True)


def test_the_first_window_is_small_and_few_windows_hold_all() -> None:
    files = [a_file(1 + 1_000 * number, 1_000 * (number + 1), 100_000) for number in range(100)]
    windows = NewestWindows(files, through=None)
    first = windows.next_window()
    assert first is not None
    assert (len(first.files), first.through - first.after) == (1, 6)  # 100 rows a position
    assert sum(1 for _ in iter(windows.next_window, None)) == 5


def test_no_files_no_window() -> None:
    assert NewestWindows([], through=None).next_window() is None

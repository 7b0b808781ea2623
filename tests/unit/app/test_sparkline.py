from datetime import UTC, datetime, timedelta

import pytest

from punchcard.app.sparkline import draw_sparkline
from punchcard.operations.trends import MONTH, Trend

NOW = datetime(2026, 3, 31, tzinfo=UTC)


def trend(*points: tuple[int, int]) -> Trend:
    return Trend(
        begin=NOW - MONTH, end=NOW, points=[(NOW - timedelta(days=ago), size) for ago, size in points], week_change=None
    )


@pytest.mark.parametrize(
    ("points", "path", "description"),
    [
        ([], "", "No data yet"),
        ([(30, 7), (0, 7)], "M0.0 14.0H120.0V14.0", "Unchanged at 7 for 30 days"),
        (
            [(15, 1000), (0, 2000)],
            "M60.0 26.0H120.0V2.0",
            "30 days: from 1,000 to 2,000, minimum 1,000, maximum 2,000",
        ),
    ],
    ids=["nothing", "level", "from the middle"],
)
def test_a_line_is_level_until_the_size_changes_and_is_shown_in_words(points, path, description):
    line = draw_sparkline(trend(*points))
    assert (line.path, line.description) == (path, description)

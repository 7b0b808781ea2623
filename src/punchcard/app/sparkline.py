"""A month of sizes as a line so small that it stands in a row of a table."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from punchcard.operations.trends import Trend

WIDTH: Final = 120
HEIGHT: Final = 28
_MARGIN: Final = 2
_SHORTEST: Final = timedelta(hours=6)  # what is shorter is a dot


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """The line of a trend.

    Attributes:
        path: As SVG draws it, in a box of `WIDTH` by `HEIGHT`; "" for nothing to draw.
        description: The same in words.
    """

    path: str
    description: str


def draw_sparkline(trend: Trend) -> Sparkline:
    """The line of a trend: level until the size changes, as it was."""
    if not trend.points or trend.end - trend.points[0][0] < _SHORTEST:
        return Sparkline(path="", description="not known yet")
    sizes = [size for _, size in trend.points]
    low, high = min(sizes), max(sizes)
    length = (trend.end - trend.begin).total_seconds()

    def across(number: int) -> str:
        return f"{(trend.points[number][0] - trend.begin).total_seconds() / length * WIDTH:.1f}"

    def down(size: int) -> str:
        part = (size - low) / (high - low) if high > low else 0.5
        return f"{HEIGHT - _MARGIN - part * (HEIGHT - 2 * _MARGIN):.1f}"

    path = f"M{across(0)} {down(sizes[0])}"
    for number in range(1, len(sizes)):
        path += f"H{across(number)}V{down(sizes[number])}"
    if low == high:
        description = f"{low:,} throughout 30 days"
    else:
        description = f"30 days: from {sizes[0]:,} to {sizes[-1]:,}, least {low:,}, most {high:,}"
    return Sparkline(path=path, description=description)

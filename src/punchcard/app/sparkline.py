"""Sparklines: the sizes of the last 30 days as a small line in a table row."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from punchcard.operations.trends import Trend

WIDTH: Final = 120
HEIGHT: Final = 28
_MARGIN: Final = 2
_SHORTEST: Final = timedelta(hours=6)  # a shorter line would be a dot


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """The line of a trend.

    Attributes:
        path: SVG path in a box of `WIDTH` by `HEIGHT`; "" if there is nothing to draw.
        description: Text alternative.
    """

    path: str
    description: str


def draw_sparkline(trend: Trend) -> Sparkline:
    """Draw a trend as a step line."""
    if not trend.points or trend.end - trend.points[0][0] < _SHORTEST:
        return Sparkline(path="", description="No data yet")
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
        description = f"Unchanged at {low:,} for 30 days"
    else:
        description = f"30 days: from {sizes[0]:,} to {sizes[-1]:,}, minimum {low:,}, maximum {high:,}"
    return Sparkline(path=path, description=description)

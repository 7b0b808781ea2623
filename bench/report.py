"""How a measured figure is printed: beside its ceiling and its target."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        values: One per round; the median is shown.
        ceiling: The best that the bare parts reached in the same run, None if there is none to compare with.
        target: What is asked for.
        at_most: True if smaller is better.
    """

    name: str
    unit: str
    values: Sequence[float]
    target: float | None = None
    ceiling: float | None = None
    ceiling_name: str = ""
    at_most: bool = False


def show(figure: Figure) -> None:
    """Print one line: median, spread, share of the ceiling, and whether the target is met."""
    median = statistics.median(figure.values)
    line = f"{figure.name:<52} {median:>12,.1f} {figure.unit:<10}"
    if len(figure.values) > 1:
        line += f" [{min(figure.values):,.1f} … {max(figure.values):,.1f}]"
    if figure.ceiling:
        line += f"  {median / figure.ceiling:6.1%} of {figure.ceiling_name} {figure.ceiling:,.0f}"
    if figure.target is not None:
        met = median <= figure.target if figure.at_most else median >= figure.target
        line += f"  target {'≤' if figure.at_most else '≥'} {figure.target:,.12g}: {'met' if met else 'MISSED'}"
    print(line, flush=True)


def rounds(count: int, measure: Callable[[], float]) -> list[float]:
    """The measure, several times."""
    return [measure() for _ in range(count)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

"""How a measured figure is printed: beside its ceiling and its target, and in a table beside the previous figures."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_shown: list["Figure"] = []


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

    @property
    def median(self) -> float:
        """The figure itself."""
        return statistics.median(self.values)

    def verdict(self) -> str:
        """Return the target, and whether it is met; "" without one."""
        if self.target is None:
            return ""
        met = self.median <= self.target if self.at_most else self.median >= self.target
        return f"{'≤' if self.at_most else '≥'} {self.target:,.12g}: {'met' if met else 'MISSED'}"


def show(figure: Figure) -> None:
    """Print one line: median, spread, share of the ceiling, and whether the target is met."""
    _shown.append(figure)
    line = f"{figure.name:<52} {figure.median:>12,.1f} {figure.unit:<10}"
    if len(figure.values) > 1:
        line += f" [{min(figure.values):,.1f} … {max(figure.values):,.1f}]"
    if figure.ceiling:
        line += f"  {figure.median / figure.ceiling:6.1%} of {figure.ceiling_name} {figure.ceiling:,.0f}"
    if figure.target is not None:
        line += f"  target {figure.verdict()}"
    print(line, flush=True)


def take_shown(bench: str) -> dict[str, Figure]:
    """Return the figures that a bench has shown, by their full names, and forget them."""
    named: dict[str, Figure] = {}
    group = ""
    for figure in _shown:
        if not figure.name.startswith(" "):
            group = figure.name
        name = figure.name if figure.name == group else f"{group}: {figure.name.strip()}"
        named[f"{bench}: {name} [{figure.unit}]"] = figure
    _shown.clear()
    return named


def table(figures: Mapping[str, Figure], previous: Mapping[str, float], *, failed: Sequence[str] = ()) -> str:
    """Return a line for each figure: the figure, its share of the ceiling, its target, and the previous figure.

    Args:
        failed: The benches that have failed, in lines of their own at the end.
        previous: Figures of an earlier run by the same names; on another machine, only their ratios mean anything.
    """
    width = max(map(len, (*figures, *failed)), default=0)
    lines = [f"{'':<{width}} {'now':>12} {'of ceiling':>10} {'previous':>12} {'now/prev.':>9}  target"]
    for name, figure in figures.items():
        share = f"{figure.median / figure.ceiling:.1%}" if figure.ceiling else ""
        before = previous.get(name)
        columns = f"{figure.median:>12,.1f} {share:>10} "
        columns += f"{'':>12} {'':>9}" if not before else f"{before:>12,.1f} {figure.median / before:>9.2f}"
        lines.append(f"{name:<{width}} {columns}  {figure.verdict()}".rstrip())
    lines += [f"{name:<{width}} {'FAILED':>12}" for name in failed]
    return "\n".join(lines)


def read_previous(folder: Path = RESULTS) -> tuple[str, dict[str, float]]:
    """Return the name and the figures of the newest results that are kept; no name and no figures if none are."""
    files = sorted(folder.glob("*.json"))
    if not files:
        return "", {}
    figures: dict[str, float] = json.loads(files[-1].read_text())["figures"]
    return files[-1].stem, figures


def keep(name: str, figures: Mapping[str, Figure], *, machine: str, folder: Path = RESULTS) -> Path:
    """Keep the figures as the ones that later runs are compared with.

    Args:
        name: Begins with the date, so that names sort by time: `2026-11-27-1.4`.
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    content = {"machine": machine, "figures": {key: round(figure.median, 2) for key, figure in figures.items()}}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def rounds(count: int, measure: Callable[[], float]) -> list[float]:
    """The measure, several times."""
    return [measure() for _ in range(count)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

"""Simulate the queues of an installation: an average day, a five-fold peak, and an hour's outage of each part.

    python -m bench.capacity --events-per-day 500000000

A fluid model in steps of one second. Each stage has a capacity in events a second and a queue before it; what a stage
has done is the queue of the next. Capacities are the measured figures of `bench/results`, times the number of
processes; the others are in `Machines`. docs/how-to/plan-capacity.md explains them, and the result.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"
_DAY_SECONDS: Final = 86_400
_HOUR_SECONDS: Final = 3_600
_PEAK_SECONDS: Final = 2 * _HOUR_SECONDS
_PEAK_FACTOR: Final = 5.0
_BEGIN_SECONDS: Final = _HOUR_SECONDS  # when the peak or the outage begins
_ROUTING: Final = "routing: routing 1,000,000 events, lake included, one core [events/s]"
_BATCHES: Final = "ingest: ingest of 100-event bodies, 64 connections [events/s]"
_SINGLE: Final = "ingest: ingest of single events, 64 connections [events/s]"
_DELIVERY: Final = "delivery: delivery, every attempt recorded [trans/s]"


@dataclass(frozen=True, kw_only=True)
class Machines:
    """An installation. Ratios are those of docs/how-to/plan-capacity.md.

    Attributes:
        serving: Number of serving processes with a core each.
        single_share: Share of the events in requests of their own.
        routing_ratio: Speed of routing on PostgreSQL, relative to SQLite, with which the figures were measured.
        partitions_ratio: Speed of the routing workers together, relative to one: 1 as long as one routes.
        engage_events_second: Events a second that Engage reads while it is behind; it evaluates audiences later.
        award_share: Awards per event.
        partner_awards_second: What the partner accepts.
    """

    serving: int = 4
    single_share: float = 0.2
    routing_ratio: float = 0.81
    partitions_ratio: float = 1.0
    engage_events_second: float = 37_000.0
    award_share: float = 0.02
    partner_awards_second: float = 1_000.0


@dataclass
class Stage:
    """A stage with its queue.

    Attributes:
        capacity: Units a second.
        share: Units of this stage for each event of the stage before.
        queue: Units that wait.
        queue_max: The most that have waited.
        done: Units that have left.
    """

    name: str
    capacity: float
    share: float = 1.0
    queue: float = 0.0
    queue_max: float = 0.0
    done: float = 0.0

    def step(self, arrived: float, *, is_up: bool) -> float:
        """Take what has arrived in a second; return what has left."""
        self.queue += arrived * self.share
        left = min(self.queue, self.capacity) if is_up else 0.0
        self.queue -= left
        self.queue_max = max(self.queue_max, self.queue)
        self.done += left
        return left


@dataclass
class Outcome:
    """What a day did to the queues.

    Attributes:
        stages: By name, in their state at the end.
        recovered_seconds: From the end of the peak or outage until no queue holds more than a second's work; None if
            that did not happen.
    """

    stages: Mapping[str, Stage]
    recovered_seconds: float | None = None
    largest: str = field(default="")


def read_figures(folder: Path = RESULTS) -> Mapping[str, float]:
    """Return the figures of the newest file."""
    newest = sorted(folder.glob("*.json"))[-1]
    figures: Mapping[str, float] = json.loads(newest.read_text())["figures"]
    return figures


def make_stages(figures: Mapping[str, float], machines: Machines) -> dict[str, Stage]:
    """Return the stages of an installation in the order of an event; `engage` is beside delivery."""
    # Processor time adds: a second of a process is divided between the two kinds of requests.
    ingest = 1 / (machines.single_share / figures[_SINGLE] + (1 - machines.single_share) / figures[_BATCHES])
    return {
        "ingest": Stage("ingest", ingest * machines.serving),
        "routing": Stage("routing", figures[_ROUTING] * machines.routing_ratio * machines.partitions_ratio),
        "delivery": Stage(
            "delivery", min(figures[_DELIVERY], machines.partner_awards_second), share=machines.award_share
        ),
        "engage": Stage("engage", machines.engage_events_second),
    }


# Which stages stand still while a part is away. Without the log or the database nothing is acknowledged: senders wait.
OUTAGES: Final[Mapping[str, frozenset[str]]] = {
    "all serving processes": frozenset({"ingest"}),
    "log or PostgreSQL": frozenset({"ingest", "routing", "delivery", "engage"}),
    "all workers": frozenset({"routing", "delivery"}),
    "Engage": frozenset({"engage"}),
    "lake (S3)": frozenset({"engage"}),
    "Perkville": frozenset({"delivery"}),
}


def simulate(
    stages: dict[str, Stage],
    *,
    rate_at: Callable[[int], float],
    is_up: Callable[[str, int], bool],
    disturbed_until: int,
    seconds: int = _DAY_SECONDS,
) -> Outcome:
    """Simulate some seconds.

    Args:
        rate_at: Events that senders make in a second.
        is_up: Whether a stage works in a second.
        disturbed_until: The second from which recovery is counted.
    """
    outcome = Outcome(stages)
    for second in range(seconds):
        accepted = stages["ingest"].step(rate_at(second), is_up=is_up("ingest", second))
        routed = stages["routing"].step(accepted, is_up=is_up("routing", second))
        stages["delivery"].step(routed, is_up=is_up("delivery", second))
        stages["engage"].step(routed, is_up=is_up("engage", second))
        if second >= disturbed_until and all(stage.queue <= stage.capacity for stage in stages.values()):
            outcome.recovered_seconds = second - disturbed_until
            break
    outcome.largest = max(stages, key=lambda name: stages[name].queue_max)
    return outcome


def simulate_all(
    figures: Mapping[str, float], machines: Machines, *, events_per_day: float
) -> Iterator[tuple[str, Outcome]]:
    """Yield the name and the outcome of each case."""
    average = events_per_day / _DAY_SECONDS
    yield (
        "average",
        simulate(
            make_stages(figures, machines),
            rate_at=lambda _: average,
            is_up=lambda *_: True,
            disturbed_until=_HOUR_SECONDS,
        ),
    )
    peak_end = _BEGIN_SECONDS + _PEAK_SECONDS
    yield (
        "five-fold for two hours",
        simulate(
            make_stages(figures, machines),
            rate_at=lambda second: average * (_PEAK_FACTOR if _BEGIN_SECONDS <= second < peak_end else 1.0),
            is_up=lambda *_: True,
            disturbed_until=peak_end,
        ),
    )
    outage_end = _BEGIN_SECONDS + _HOUR_SECONDS
    for part, stopped in OUTAGES.items():
        yield (
            f"one hour without {part}",
            simulate(
                make_stages(figures, machines),
                rate_at=lambda _: average,
                is_up=lambda name, second, stopped=stopped: (  # type: ignore[misc]
                    name not in stopped or not _BEGIN_SECONDS <= second < outage_end
                ),
                disturbed_until=outage_end,
            ),
        )


def main() -> None:
    """Print the table of docs/how-to/plan-capacity.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events-per-day", type=float, default=500e6)
    parser.add_argument("--serving", type=int, default=Machines.serving, help="Serving processes with a core each.")
    parser.add_argument("--partner-awards-second", type=float, default=Machines.partner_awards_second)
    arguments = parser.parse_args()
    machines = Machines(serving=arguments.serving, partner_awards_second=arguments.partner_awards_second)
    figures = read_figures()
    print("| case | ingest | routing | delivery | engage | recovered after |")
    print("|---|---|---|---|---|---|")
    for name, outcome in simulate_all(figures, machines, events_per_day=arguments.events_per_day):
        queues = " | ".join(_in_words(stage.queue_max) for stage in outcome.stages.values())
        recovered = "never" if outcome.recovered_seconds is None else f"{outcome.recovered_seconds / 60:.0f} min"
        print(f"| {name} | {queues} | {recovered} |")
    print()
    for stage in make_stages(figures, machines).values():
        print(f"{stage.name}: capacity {stage.capacity:,.0f} a second")


def _in_words(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1e3 else f"{number:.0f}"


if __name__ == "__main__":
    main()

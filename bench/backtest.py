"""How long plans over the past take: `punchcard simulate`, and the plan of `punchcard replay`.

    python -m bench.backtest [EVENTS, by default 10000000]

Builds a lake in a temporary folder (about 0.07 GB a million events) and removes it afterwards.
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.past_events import configure, fill_lake
from bench.product import memory_bytes
from bench.report import Figure, show
from bench.size import size

_EVENTS = size(10_000_000, 20_000)
_SIMULATED_EVERY = 50
_REPLAYED_EVERY = 100
_SIMULATE_SECONDS_MAX = 20.0
_PLAN_SECONDS_MAX = 15.0
_MEGABYTES_MAX = 1_000.0
_SAMPLE_SECONDS = 0.2


def main(events: int = _EVENTS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="backtest-bench-") as folder:
        data = Path(folder)
        configure(data, {"Checked In": "123457"})
        begun = time.perf_counter()
        fill_lake(data, events, {"Class Booked": _SIMULATED_EVERY, "Checked In": _REPLAYED_EVERY})
        print(f"{events:,} events, made in {time.perf_counter() - begun:.0f} s", flush=True)
        _simulate(folder, events)
        _plan_replay(folder, events)


def _simulate(folder: str, events: int) -> None:
    # "Checked In" is left out, so that 1 in 50 events has a mapped name.
    maps = ["--map", "Class Booked=123460", "--map", "Checked In="]
    output, seconds, megabytes = _measure(["simulate", "--data", folder, "--since", "30d", "--format", "csv", *maps])
    awards = {line.split(",")[0]: int(line.split(",")[3]) for line in output.splitlines()[1:]}
    if awards.get("Class Booked") != events // _SIMULATED_EVERY or sum(awards.values()) != events // _SIMULATED_EVERY:
        raise AssertionError(f"simulated {awards}")
    name = f"simulate {events:,} events, 1 in {_SIMULATED_EVERY} mapped"
    show(Figure(name=name, unit="s", values=[seconds], target=_SIMULATE_SECONDS_MAX, at_most=True))
    show(
        Figure(name="  memory of all its processes", unit="MB", values=[megabytes], target=_MEGABYTES_MAX, at_most=True)
    )


def _plan_replay(folder: str, events: int) -> None:
    command = ["replay", "--data", folder, "--destination", "perkville", "--event", "Checked In", "--dry-run"]
    output, seconds, megabytes = _measure(command)
    if not re.search(rf"\b{events // _REPLAYED_EVERY:,}\b", output):
        raise AssertionError(f"planned {output}")
    name = f"replay plan, {events // _REPLAYED_EVERY:,} of {events:,} events by name"
    show(Figure(name=name, unit="s", values=[seconds], target=_PLAN_SECONDS_MAX, at_most=True))
    show(
        Figure(name="  memory of all its processes", unit="MB", values=[megabytes], target=_MEGABYTES_MAX, at_most=True)
    )


def _measure(arguments: Sequence[str]) -> tuple[str, float, float]:
    """Run a command; return its output, how many seconds it took, and the most memory it had, in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "punchcard", *arguments], stdout=subprocess.PIPE, text=True)
    most = 0
    ended = threading.Event()

    def sample() -> None:
        nonlocal most
        while not ended.wait(_SAMPLE_SECONDS):
            try:
                most = max(most, memory_bytes(process.pid))
            except OSError:
                continue  # one of the processes has just ended

    watching = threading.Thread(target=sample)
    watching.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - begun
    ended.set()
    watching.join()
    if process.returncode:
        raise AssertionError(f"{arguments} failed with {process.returncode}")
    return output, seconds, most / 1e6


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _EVENTS)

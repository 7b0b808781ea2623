"""How soon `up` is ready, how much memory and processor time it takes when idle, how fast `punchcard --help` is."""

import subprocess
import sys
import time

from bench.delivery import null_partner, settings_for
from bench.product import cpu_seconds, memory_bytes, product
from bench.report import Figure, rounds, show
from bench.size import size

_SETTLE_SECONDS = size(6, 1)
_IDLE_SECONDS = size(10, 1)
_ROUNDS = size(5, 1)
_STARTS = size(3, 1)


def main() -> None:
    """Measure and print."""
    bare = rounds(_ROUNDS, lambda: _seconds([sys.executable, "-c", ""]))
    shown = rounds(_ROUNDS, lambda: _seconds([sys.executable, "-m", "punchcard", "--help"]))
    show(
        Figure(
            name="punchcard --help",
            unit="ms",
            values=[seconds * 1000 for seconds in shown],
            target=100,
            ceiling=min(bare) * 1000,
            ceiling_name="Python itself",
            at_most=True,
        )
    )
    ready, memory, idle = [], [], []
    with null_partner() as url:
        for _ in range(_STARTS):
            with product(*settings_for(url)) as running:
                ready.append(running.ready_seconds * 1000)
                time.sleep(_SETTLE_SECONDS)
                memory.append(memory_bytes(running.pid) / 1e6)
                used = cpu_seconds(running.pid)
                time.sleep(_IDLE_SECONDS)
                idle.append(100 * (cpu_seconds(running.pid) - used) / _IDLE_SECONDS)
    show(Figure(name="up: ready (new data folder)", unit="ms", values=ready, target=700, at_most=True))
    show(Figure(name="up: memory of all processes, idle", unit="MB", values=memory, target=150, at_most=True))
    show(Figure(name="up: share of a core, idle", unit="%", values=idle, target=2, at_most=True))


def _seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()

"""The product as a real process tree, for benches that measure it from outside."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import tomli_w

WRITE_KEY = "wk_bench"
_COMMAND = (sys.executable, "-m", "punchcard")


@dataclass(frozen=True)
class Product:
    """A running `punchcard up`.

    Attributes:
        ready_seconds: From start until `GET /health/ready` answered 200.
    """

    url: str
    data: Path
    pid: int
    ready_seconds: float

    def metric(self, name: str) -> float:
        """Return the sum of all series of a metric."""
        with urllib.request.urlopen(f"{self.url}/metrics") as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line))


@contextmanager
def product(
    settings: dict[str, object],
    options: dict[str, object],
    *,
    serves_only: bool = False,
    releases_file: bool = False,
    more: dict[str, object] | None = None,
    prepare: Callable[[Path], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Product]:
    """`punchcard up` on a new data folder with one source and one Perkville destination.

    Args:
        more: Further tables of the config file.
        serves_only: Run `punchcard serve` instead, with the source alone.
        releases_file: Leave what the config file describes to App and Public API.
        prepare: Fills the data folder before the start.
        environment: Added to this process's environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "punchcard.toml"
        destination = {
            "slug": "perkville",
            "type": "perkville",
            "source": "bench",
            "settings": settings,
            "options": options,
        }
        content = {
            "sources": [{"slug": "bench", "write_key": WRITE_KEY}],
            "destinations": [] if serves_only else [destination],
            **(more or {}),
        }
        config.write_text(tomli_w.dumps(content))
        data = Path(folder) / "data"
        data.mkdir()
        if prepare is not None:
            prepare(data)
        added = environment or {}
        half = _apply_config(config, data, added, serves_only=serves_only, releases_file=releases_file)
        with started(half, data, added) as running:
            yield running


@contextmanager
def started(half: Sequence[str], data: Path, added: Mapping[str, str]) -> Iterator[Product]:
    """A process on a data folder, which is ended afterwards.

    Args:
        half: The command, such as `["serve"]`, with its options.
        added: Added to this process's environment.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*_COMMAND, *half, "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PUNCHCARD_LOG_LEVEL": "warning", **added},
    )
    try:
        assert process.stdout is not None
        url = ""
        for line in process.stdout:
            if match := re.search(r"http://\S+", line):
                url = match[0].rstrip(".,")
                break
        _wait_until_ready(url)
        yield Product(url, data, process.pid, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait()


def _apply_config(
    config: Path, data: Path, added: Mapping[str, str], *, serves_only: bool, releases_file: bool
) -> list[str]:
    """Apply the config file if the process itself does not; return the process's command."""
    if serves_only or releases_file:
        options = ["--release"] if releases_file else []
        applying = [*_COMMAND, "apply", str(config), "--data", str(data), *options]
        subprocess.run(applying, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **added})
        return ["serve"] if serves_only else ["up"]
    return ["up", "--config", str(config)]


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process and all its descendants: shared pages are counted once."""
    total = 0
    for process in _with_descendants(pid):
        with suppress(psutil.Error):  # it has just ended
            total += process.memory_full_info().pss
    return total


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and all its descendants have used so far."""
    total = 0.0
    for process in _with_descendants(pid):
        with suppress(psutil.Error):  # it has just ended
            total += _cpu_seconds(process)
    return total


def own_cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, without its children: of `up`, that of serving.

    Raises:
        psutil.NoSuchProcess: The process has ended.
    """
    return _cpu_seconds(psutil.Process(pid))


def children_cpu_seconds(pid: int) -> float:
    """Processor time that the present children of a process have used so far, such as those of PostgreSQL's first."""
    nanoseconds = 0
    for child in psutil.Process(pid).children():
        with suppress(OSError):  # it has just ended
            nanoseconds += int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _with_descendants(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.01)
    raise TimeoutError(f"{url} did not become ready")

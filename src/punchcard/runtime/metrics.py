"""Prometheus metrics of all processes on one data folder, in one answer."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from punchcard.errors import InvariantError, StorageError

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# A process counts into one file for each of these. Gauges are read when asked for, see `Gauge`.
_KINDS = ("counter", "histogram")
_FILE_BYTES = 256 * 1024  # some thousand values
_ENDED_FILES_MAX = 40  # of workers that were restarted, whose counts still belong to the sum


def prepare_metrics(data: Path, *, fresh: bool) -> None:
    """Let this process and its children count into files of the data folder.

    To be called before anything imports prometheus_client, which decides at import how it keeps values.

    Args:
        fresh: Start counters at zero: forget what processes that are gone have counted.

    Raises:
        StorageError: the data folder cannot be written.
    """
    if "prometheus_client" in sys.modules:
        raise InvariantError("prometheus_client was imported too early: what this process counts would be seen by none")
    folder = data / "metrics"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another `up` may run on this folder: its files are in use, and stay.
        ended = [file for file in folder.glob("*.db") if not _is_running(file.stem.rpartition("_")[2])]
        ended.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        for file in ended if fresh else ended[_ENDED_FILES_MAX:]:
            file.unlink(missing_ok=True)
        for kind in _KINDS:
            _reserve(folder / f"{kind}_{os.getpid()}.db")
    except OSError as error:
        raise StorageError(f"{folder}: counters cannot be kept here: {error.strerror}") from error
    os.environ[_FOLDER_VARIABLE] = str(folder)


def _reserve(file: Path) -> None:
    # The library maps its files into memory and lets them grow with holes. On a full disk the first touch of a hole
    # would end the process by SIGBUS, just when it is to answer that the disk is full: so all room is taken now.
    file.unlink(missing_ok=True)  # of a process that had the same id
    file.write_bytes(bytes(_FILE_BYTES))


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def render_metrics(gauges: Callable[[], Sequence["Gauge"]]) -> bytes:
    """The text of `GET /metrics`: what all processes counted, and gauges read now."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import Collector

    class Now(Collector):
        def collect(self) -> Iterable[GaugeMetricFamily]:
            for gauge in gauges():
                family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
                for labels, value in gauge.values:
                    family.add_metric(labels, value)
                yield family

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(Now())
    return generate_latest(registry)


class Gauge:
    """A value read when asked for.

    Attributes:
        values: Pairs of label values and the number.
    """

    def __init__(
        self, name: str, help: str, labels: Sequence[str], values: Sequence[tuple[Sequence[str], float]]
    ) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.values = values

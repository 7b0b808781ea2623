"""Prometheus metrics of all processes on one data folder, in one response."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from punchcard.errors import InvariantError, StorageError

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Each process counts into one file per kind. What the store knows is read on request, see `Gauge`.
_LIVE_KIND = "gauge_livesum"  # values of processes that are running
_KINDS = ("counter", "histogram", _LIVE_KIND)
_FILE_BYTES = 256 * 1024  # some thousands of values
_ENDED_FILES_MAX = 40  # of restarted workers: their counts still belong to the sum


def prepare_metrics(data: Path, *, reset: bool) -> None:
    """Make this process and its children count into files of the data folder.

    Must be called before anything imports prometheus_client, which decides at import how it stores values.

    Args:
        reset: Start counters at zero by deleting the counts of processes that have ended.

    Raises:
        StorageError: The data folder cannot be written.
    """
    if "prometheus_client" in sys.modules:
        raise InvariantError(
            "prometheus_client was imported too early: the counts of this process would not be visible."
        )
    folder = metrics_folder(data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Another `up` may run on this folder: its files are in use and stay.
        ended = [file for file in folder.glob("*.db") if not _is_running(file.stem.rpartition("_")[2])]
        _forget_live_values(ended)
        newest_first = _newest_first(ended)
        for file in newest_first if reset else newest_first[_ENDED_FILES_MAX:]:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise _not_stored(folder, error) from error
    reserve_metrics(data)
    os.environ[_FOLDER_VARIABLE] = str(folder)


def reserve_metrics(data: Path) -> None:
    """Make the files into which this process counts. A forked process calls it before it counts anything.

    Raises:
        StorageError: The data folder cannot be written.
    """
    folder = metrics_folder(data)
    try:
        for kind in _KINDS:
            _reserve(folder / f"{kind}_{os.getpid()}.db")
    except OSError as error:
        raise _not_stored(folder, error) from error


def metrics_folder(data: Path) -> Path:
    """Return the folder of the files into which processes count."""
    return data / "metrics"


def _not_stored(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"{folder}: Counters cannot be stored here: {error.strerror}.")


def _reserve(file: Path) -> None:
    # The library maps its files into memory, where they grow with holes. On a full disk the first access to a hole
    # would end the process by SIGBUS, when it should respond that the disk is full. So all space is allocated now.
    file.unlink(missing_ok=True)  # file of a process that had the same id
    file.write_bytes(bytes(_FILE_BYTES))


def _forget_live_values(files: Iterable[Path]) -> None:
    """Delete the current values of processes that are no longer running; their counts still belong to the sum."""
    for file in files:
        kind, _, pid = file.stem.rpartition("_")
        if kind == _LIVE_KIND and not _is_running(pid):
            file.unlink(missing_ok=True)


def _newest_first(files: Iterable[Path]) -> list[Path]:
    """Return those of the files that exist: another process that starts on this folder deletes some, too."""
    times = {}
    for file in files:
        with suppress(FileNotFoundError):
            times[file] = file.stat().st_mtime
    return sorted(times, key=times.__getitem__, reverse=True)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def render_metrics(gauges: Callable[[], Sequence["Gauge"]]) -> bytes:
    """Return the text of `GET /metrics`: the counts of all processes, and gauges read now."""
    _forget_live_values(Path(os.environ[_FOLDER_VARIABLE]).glob(f"{_LIVE_KIND}_*.db"))
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
    """A value that is read on request.

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

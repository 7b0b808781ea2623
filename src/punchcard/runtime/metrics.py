"""Prometheus metrics of all processes on one data folder, in one answer."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare_metrics(data: Path, *, fresh: bool) -> None:
    """Let this process and its children count into files of the data folder.

    To be called before anything imports prometheus_client, which decides at import how it keeps values.

    Args:
        fresh: Start all counters at zero.
    """
    folder = data / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        for old in folder.glob("*.db"):
            old.unlink(missing_ok=True)
    os.environ[_FOLDER_VARIABLE] = str(folder)


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

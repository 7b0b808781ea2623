"""Metrics of deliveries: many values at once count as the same values one by one."""

from prometheus_client import CollectorRegistry, Histogram

from punchcard.delivery.telemetry import BatchHistogram

VALUES = [0.0, 0.1, 0.1000001, 0.5, 0.7, 30.0, -1.0]


def test_values_observed_together_count_as_those_observed_singly() -> None:
    registry, expected = CollectorRegistry(), CollectorRegistry()
    together = BatchHistogram("seconds", "Some.", ["name"], buckets=(0.1, 0.5, 1), registry=registry).labels("a")
    singly = Histogram("seconds", "Some.", ["name"], buckets=(0.1, 0.5, 1), registry=expected).labels("a")
    together.observe_all(VALUES[:3])
    together.observe_all(VALUES[3:])
    for value in VALUES:
        singly.observe(value)

    def samples(of: CollectorRegistry) -> dict[tuple[str, str], float]:
        return {
            (sample.name, sample.labels.get("le", "")): round(sample.value, 6)
            for metric in of.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        }

    assert samples(registry) == samples(expected)

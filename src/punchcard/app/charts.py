"""Charts over time: their numbers for the script that draws them, and for the table beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart, with a value for each bucket.

    Attributes:
        color: Name of a Tabler color.
    """

    label: str
    color: str
    values: Sequence[int | Decimal]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart over time; its series share one axis.

    Attributes:
        buckets: Start of each bucket.
        zone: Name of the time zone of its axis.
    """

    buckets: Sequence[datetime]
    zone: str
    series: Sequence[Series]

    @property
    def data(self) -> Mapping[str, object]:
        """Numbers as the script reads them."""
        return {
            "times": [bucket.timestamp() for bucket in self.buckets],
            "zone": self.zone,
            "series": [
                {"label": series.label, "color": series.color, "values": series.values} for series in self.series
            ],
        }

    @property
    def rows(self) -> Iterator[tuple[datetime, Sequence[int | Decimal]]]:
        """Rows of the table, newest first: the bucket's start and the values."""
        values = list(zip(*(series.values for series in self.series), strict=True))
        rows: list[tuple[datetime, Sequence[int | Decimal]]] = list(zip(self.buckets, values, strict=True))
        return reversed(rows)

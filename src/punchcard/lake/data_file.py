"""Write the lake's data files: Parquet, zstd, row groups of 16,384 rows with Bloom filters over ids and emails."""

import contextlib
import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from punchcard.clock import EPOCH
from punchcard.errors import LakeError
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import (
    BOUNDED,
    LOOKED_UP,
    NAMED,
    PARTITION,
    REPETITIVE,
    ROW_GROUP_ROWS,
    SCHEMA_VERSION,
    file_schema,
)

if TYPE_CHECKING:
    import pyarrow as pa

# One row group in a thousand is read unnecessarily: with 600 of them (10 million events), less than one per lookup.
_BLOOM_FALSE_POSITIVES = 0.001
# A filter of so many names has 1 KB. Of a row group with many more of them it says that it may hold every name.
_NAMES_PER_ROW_GROUP = 512
# Level 1 takes 1 µs an event and compresses to 15 to 20 %; level 3 takes twice the time and gains nothing on such text.
_ZSTD_LEVEL = 1
# Lengths apart from the bytes, and differences of rising numbers, compress better: 8 of 248 bytes of an event less.
_ENCODINGS = {
    **dict.fromkeys((*LOOKED_UP, "order_id", "payload", "product_ids.list.element"), "DELTA_LENGTH_BYTE_ARRAY"),
    **dict.fromkeys(("received_at", "timestamp", "log_position"), "DELTA_BINARY_PACKED"),
}
# The schema version is a part of the name, so that it is known without opening the file. Version 1 had none.
_VERSION = re.compile(r"-v(\d+)\.parquet")
_MILLIS_MAX = 253_402_300_799_999  # the end of the year 9999


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A complete and durable data file, which may not be in the table yet.

    Attributes:
        path: Relative to the table's root.
        bytes: Size of the file.
        rows: Number of events in it.
        first_position: The lowest log position in it.
        last_position: The highest log position in it.
        bounds: For a file just written: minimum and maximum of the `BOUNDED` columns, as Delta writes them.
    """

    path: str
    day: datetime.date
    bytes: int
    rows: int
    first_position: int
    last_position: int
    bounds: Mapping[str, tuple[int | str, int | str]] = field(default_factory=dict)

    @property
    def schema_version(self) -> int:
        """The schema version of the file's columns."""
        match = _VERSION.search(self.path)
        return 1 if match is None else int(match[1])

    def statistics(self) -> str:
        """Return the statistics of the file for the table's log, as JSON text."""
        bounds = {**self.bounds, "log_position": (self.first_position, self.last_position)}
        return json.dumps(
            {
                "numRecords": self.rows,
                "minValues": {name: minimum for name, (minimum, _) in bounds.items()},
                "maxValues": {name: maximum for name, (_, maximum) in bounds.items()},
                "nullCount": {"log_position": 0},
            }
        )


class DataFileWriter:
    """Writes one data file, a row group at a time; a context manager that deletes the file if its body fails.

    Args:
        location: Location of the table.
        day: The partition.
        name: A file name that is never reused, without its ending.
    """

    def __init__(self, location: LakeLocation, day: datetime.date, *, name: str) -> None:
        self._location = location
        self._day = day
        self._path = f"{PARTITION}={day.isoformat()}/{name}-v{SCHEMA_VERSION}.parquet"

    def __enter__(self) -> Self:
        import pyarrow.parquet

        self._rows = 0
        self._first = self._last = 0
        self._bytes = 0
        self._bounds: dict[str, tuple[int | datetime.date, int | datetime.date]] = {}
        self._sink = self._location.create(self._path)
        self._parquet = pyarrow.parquet.ParquetWriter(
            self._sink,
            file_schema(),
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            use_dictionary=list(REPETITIVE),
            column_encoding=dict(_ENCODINGS),
            write_statistics=list(BOUNDED),
            bloom_filter_options={
                **{name: {"ndv": ROW_GROUP_ROWS, "fpp": _BLOOM_FALSE_POSITIVES} for name in LOOKED_UP},
                **{name: {"ndv": _NAMES_PER_ROW_GROUP, "fpp": _BLOOM_FALSE_POSITIVES} for name in NAMED},
            },
        )
        return self

    def write(self, batch: "pa.RecordBatch | pa.Table") -> None:
        """Add rows, which continue in log order, as one row group."""
        positions = batch.column("log_position")
        if not self._rows:
            self._first = positions[0].as_py()
        self._last = positions[-1].as_py()
        self._rows += batch.num_rows
        self._widen_bounds(batch)
        self._parquet.write(batch, row_group_size=batch.num_rows)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            self._parquet.close()
            self._bytes = self._sink.tell()
            self._location.publish(self._path, self._sink)
        except BaseException:
            self._abandon()
            raise

    def data_file(self) -> DataFile:
        """Return the file; only after the context has ended."""
        return DataFile(
            path=self._path,
            day=self._day,
            bytes=self._bytes,
            rows=self._rows,
            first_position=self._first,
            last_position=self._last,
            bounds={
                name: (_as_delta(minimum, up=False), _as_delta(maximum, up=True))
                for name, (minimum, maximum) in self._bounds.items()
            },
        )

    def _widen_bounds(self, batch: "pa.RecordBatch | pa.Table") -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        for name in (column for column in BOUNDED if column != "log_position"):
            values = batch.column(name)
            bounds = pc.min_max(values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values).as_py()
            if bounds["min"] is not None:
                minimum, maximum = self._bounds.get(name, (bounds["min"], bounds["max"]))
                self._bounds[name] = min(minimum, bounds["min"]), max(maximum, bounds["max"])

    def _abandon(self) -> None:
        import pyarrow

        # A file that cannot be deleted now is in no commit: the next vacuum deletes it.
        with contextlib.suppress(OSError, pyarrow.ArrowException):
            self._parquet.close()
        with contextlib.suppress(OSError):
            self._sink.close()
        with contextlib.suppress(OSError, LakeError):
            self._location.remove(self._path)


def _as_delta(value: int | datetime.date, *, up: bool) -> str:
    """Return a bound in the format of the table's log: ISO 8601, instants (given in microseconds) in milliseconds."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    millis = min(-(-value // 1000) if up else value // 1000, _MILLIS_MAX)
    return (EPOCH + datetime.timedelta(milliseconds=millis)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

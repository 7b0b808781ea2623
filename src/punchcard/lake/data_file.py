"""Writes the lake's data files: Parquet, zstd, row groups of 16,384 rows with Bloom filters over ids and emails."""

import contextlib
import datetime
import json
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from punchcard.lake.place import Place
from punchcard.lake.schema import LOOKED_UP, PARTITION, REPETITIVE, ROW_GROUP_ROWS, file_schema

if TYPE_CHECKING:
    import pyarrow as pa

# One row group in a thousand is read in vain: with 600 of them (10 million events) that is less than one a lookup.
_BLOOM_FALSE_POSITIVES = 0.001
# Level 1 takes 1 µs an event and leaves 15 to 20 % of it; level 3 takes twice the time and gains nothing on such text.
_ZSTD_LEVEL = 1


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One data file, complete and durable, in the table or not yet.

    Attributes:
        path: Relative to the table's root.
        bytes: Its size.
        rows: How many events it holds.
        first_position: The lowest log position in it.
        last_position: The highest.
    """

    path: str
    day: datetime.date
    bytes: int
    rows: int
    first_position: int
    last_position: int

    def statistics(self) -> str:
        """What the table's log says of its content, as JSON text."""
        return json.dumps(
            {
                "numRecords": self.rows,
                "minValues": {"log_position": self.first_position},
                "maxValues": {"log_position": self.last_position},
                "nullCount": {"log_position": 0},
            }
        )


class DataFileWriter:
    """Writes one data file, a row group at a time; a context manager that takes the file away if its body fails.

    Args:
        place: Where the table is.
        day: The partition.
        name: File name without its ending, unique for ever.
    """

    def __init__(self, place: Place, day: datetime.date, *, name: str) -> None:
        self._place = place
        self._day = day
        self._path = f"{PARTITION}={day.isoformat()}/{name}.parquet"

    def __enter__(self) -> Self:
        import pyarrow.parquet

        self._rows = 0
        self._first = self._last = 0
        self._bytes = 0
        self._sink = self._place.create(self._path)
        self._parquet = pyarrow.parquet.ParquetWriter(
            self._sink,
            file_schema(),
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            use_dictionary=list(REPETITIVE),
            write_statistics=["received_at", "timestamp", "log_position"],
            bloom_filter_options={name: {"ndv": ROW_GROUP_ROWS, "fpp": _BLOOM_FALSE_POSITIVES} for name in LOOKED_UP},
        )
        return self

    def write(self, batch: "pa.RecordBatch | pa.Table") -> None:
        """Add the rows, which go on in log order, as one row group."""
        positions = batch.column("log_position")
        if not self._rows:
            self._first = positions[0].as_py()
        self._last = positions[-1].as_py()
        self._rows += batch.num_rows
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
            self._sink.close()
            self._place.settle(self._path)
        except BaseException:
            self._abandon()
            raise

    def finished(self) -> DataFile:
        """The file, once the context is left."""
        return DataFile(
            path=self._path,
            day=self._day,
            bytes=self._bytes,
            rows=self._rows,
            first_position=self._first,
            last_position=self._last,
        )

    def _abandon(self) -> None:
        import pyarrow

        # Whatever cannot be taken away now is a file that no commit names: the next vacuum finds it.
        with contextlib.suppress(OSError, pyarrow.ArrowException):
            self._parquet.close()
        with contextlib.suppress(OSError):
            self._sink.close()
        with contextlib.suppress(OSError):
            self._place.remove(self._path)

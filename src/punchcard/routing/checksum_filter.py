"""Which of some ids may be among very many known ones: one look into a table of checksums for each."""

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

_SLOTS_MIN: Final = 1 << 12
_SLOTS_PER_ID: Final = 16  # so at most one id in 16 is looked up for nothing
_VALUES_MIN: Final = 32  # below, the calls of Arrow take longer than hashing the ids

Checksums = Callable[[Sequence[str]], bytes]
"""Returns the four bytes of each value, one after the other; it raises `UnicodeEncodeError` for half a character."""


class ChecksumFilter:
    """The checksums of known ids of one type. An id with another one is certainly not among them.

    It takes 20 bytes an id.
    """

    def __init__(self) -> None:
        self._checksums = array("I")
        self._make_table(_SLOTS_MIN)

    def add(self, checksum: int) -> None:
        """Add an id by its checksum: its bytes as a number, the lowest first."""
        self._checksums.append(checksum)
        if len(self._checksums) * _SLOTS_PER_ID > len(self._table):
            self._make_table(2 * len(self._table))
        self._table[checksum & self._mask] = 1

    def possible(self, values: Sequence[str], checksums: Checksums) -> Sequence[str]:
        """Return the values that may be among the known ids: never fewer than there are."""
        if len(values) < _VALUES_MIN:
            return values
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            text = checksums(values)
        except UnicodeEncodeError:
            return values
        numbers = pa.Array.from_buffers(pa.uint32(), len(values), [None, pa.py_buffer(text)])
        matches = self._arrow_table().take(pc.bit_wise_and(numbers, pa.scalar(self._mask, pa.uint32())))
        return [values[index] for index in pc.indices_nonzero(matches).to_pylist()]

    def _make_table(self, slots: int) -> None:
        self._mask = slots - 1
        self._table = bytearray(slots)
        for checksum in self._checksums:
            self._table[checksum & self._mask] = 1

    def _arrow_table(self) -> "pa.Array":
        """Return the table as Arrow reads it, without a copy."""
        import pyarrow as pa

        return pa.Array.from_buffers(pa.uint8(), len(self._table), [None, pa.py_buffer(self._table)])

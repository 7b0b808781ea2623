"""Which message ids were seen lately: exact over a stated number of ids, in memory of a fixed size.

Two generations of an open-addressing table. The younger takes new ids until it holds `ids_min`; then the older is
emptied and they change places, so at least the last `ids_min` and at most twice as many ids are known. An id is kept
as 128 bits of keyed hash (Python's own SipHash of the id and of the id with a suffix): at ten million ids a false
match is less likely than 1 in 10^24. Nothing of it is written to disk: at start it is filled again from the lake.
Where an effect is concerned the ledger remembers message ids for ever; this index spares the rest of the events.
"""

import mmap
from collections.abc import Iterable

_SLOT_BYTES = 8
_LOAD = 0.5  # of a table's slots in use at most, which keeps probe runs short


class MessageIndex:
    """Remembers message ids.

    Args:
        ids_min: How many of the latest ids are known at least. Memory: 64 to 128 bytes per id of it, used as it fills.
    """

    def __init__(self, ids_min: int) -> None:
        self._ids_min = ids_min
        self._young = _Generation(ids_min)
        self._old = _Generation(ids_min)

    def __contains__(self, message_id: str) -> bool:
        low, high = _hashes(message_id)
        return self._young.has(low, high) or (self._old.count > 0 and self._old.has(low, high))

    def add_all(self, message_ids: Iterable[str]) -> None:
        """Remember ids that are not in it yet."""
        for message_id in message_ids:
            if self._young.count >= self._ids_min:
                self._old.clear()
                self._young, self._old = self._old, self._young
            self._young.add(*_hashes(message_id))


def _hashes(message_id: str) -> tuple[int, int]:
    # Zero marks a free slot, so the first half is never zero.
    return hash(message_id) or 1, hash(message_id + "\x00")


class _Generation:
    def __init__(self, ids_max: int) -> None:
        slots = 1 << max(10, (int(ids_max / _LOAD) - 1).bit_length())
        self._mask = slots - 1
        self._size = slots * _SLOT_BYTES
        self.clear()

    def clear(self) -> None:
        # Anonymous memory comes zeroed and takes room only where it is touched.
        self._low = memoryview(mmap.mmap(-1, self._size)).cast("q")
        self._high = memoryview(mmap.mmap(-1, self._size)).cast("q")
        self.count = 0

    def has(self, low: int, high: int) -> bool:
        lows, mask = self._low, self._mask
        slot = low & mask
        while (found := lows[slot]) != 0:
            if found == low and self._high[slot] == high:
                return True
            slot = (slot + 1) & mask
        return False

    def add(self, low: int, high: int) -> None:
        lows, mask = self._low, self._mask
        slot = low & mask
        while (found := lows[slot]) != 0:
            if found == low and self._high[slot] == high:
                return
            slot = (slot + 1) & mask
        lows[slot] = low
        self._high[slot] = high
        self.count += 1

"""Which message ids were seen lately: exact over a stated number of ids, in memory of a fixed size.

An id is the `message_key` of source and message id: two sources may number their events alike.

Two generations of an open-addressing table. The younger takes new ids until it holds `ids_min`; then the older is
emptied and they change places, so at least the last `ids_min` and at most twice as many ids are known. An id is kept
as 128 bits of keyed hash (Python's own SipHash of the id and of the id with a suffix): at ten million ids a false
match is less likely than 1 in 10^24. Nothing of it is written to disk: at start it is filled again from the lake.
Where an effect is concerned the ledger remembers message ids for ever; this index spares the rest of the events.
"""

import mmap
from collections.abc import Collection, Iterable
from itertools import islice

_SLOT_BYTES = 16
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # cheaper than memory that other processes could share
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
        return bool(self.known((message_id,)))

    def known(self, message_ids: Collection[str]) -> set[str]:
        """Return those of the ids that are in it."""
        known = self._young.known(message_ids)
        return known | self._old.known(message_ids) if self._old.count else known

    def add_all(self, message_ids: Iterable[str]) -> None:
        """Remember ids that are not in it yet."""
        remaining = iter(message_ids)
        while portion := list(islice(remaining, self._ids_min - self._young.count)):
            self._young.add_all(portion)
            if self._young.count >= self._ids_min:
                self._old.clear()
                self._young, self._old = self._old, self._young


class _Generation:
    def __init__(self, ids_max: int) -> None:
        slots = 1 << max(10, (int(ids_max / _LOAD) - 1).bit_length())
        self._mask = 2 * slots - 2  # of an id's first half without its last bit: a slot has two places
        self._size = slots * _SLOT_BYTES
        self.clear()

    def clear(self) -> None:
        # Both halves of an id stand side by side: a look at a slot costs one walk to memory. A free slot is zero.
        # Anonymous memory comes zeroed and takes room only where it is touched.
        self._halves = memoryview(mmap.mmap(-1, self._size, flags=_PRIVATE)).cast("q")
        self.count = 0

    # The loops look at a slot for every event that is routed: a call for each would take longer than the look.

    def known(self, message_ids: Iterable[str]) -> set[str]:
        halves, mask = self._halves, self._mask
        known: set[str] = set()
        for message_id in message_ids:
            low = hash(message_id) or 1
            place = low & mask
            while half := halves[place]:
                if half == low and halves[place + 1] == _second_half(message_id):
                    known.add(message_id)
                    break
                place = (place + 2) & mask
        return known

    def add_all(self, message_ids: Iterable[str]) -> None:
        halves, mask = self._halves, self._mask
        count = 0
        for message_id in message_ids:
            low = hash(message_id) or 1  # never zero, which is a free slot
            high = hash(message_id + "\x00")
            place = low & mask
            while half := halves[place]:
                if half == low and halves[place + 1] == high:
                    break
                place = (place + 2) & mask
            else:
                halves[place] = low
                halves[place + 1] = high
                count += 1
        self.count += count


def _second_half(message_id: str) -> int:
    return hash(message_id + "\x00")

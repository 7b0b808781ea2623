"""XXH64, the hash of Parquet's Bloom filters, for short texts.

A compiled library would be a dependency for some tens of hashes a page, which take 5 µs each.
"""

from typing import Final

_MASK: Final = (1 << 64) - 1
_PRIME_1: Final = 0x9E3779B185EBCA87
_PRIME_2: Final = 0xC2B2AE3D27D4EB4F
_PRIME_3: Final = 0x165667B19E3779F9
_PRIME_4: Final = 0x85EBCA77C2B2AE63
_PRIME_5: Final = 0x27D4EB2F165667C5
_STRIPE_BYTES: Final = 32


def xxhash64(data: bytes) -> int:
    """Return the 64-bit hash with seed 0.

    Source: the specification of xxHash, "XXH64 algorithm description".
    """
    end = len(data) - len(data) % _STRIPE_BYTES
    value = _hash_stripes(data, end) if end else _PRIME_5
    value = (value + len(data)) & _MASK
    while end + 8 <= len(data):
        value ^= _round(0, int.from_bytes(data[end : end + 8], "little"))
        value = (_rotate(value, 27) * _PRIME_1 + _PRIME_4) & _MASK
        end += 8
    if end + 4 <= len(data):
        value ^= int.from_bytes(data[end : end + 4], "little") * _PRIME_1 & _MASK
        value = (_rotate(value, 23) * _PRIME_2 + _PRIME_3) & _MASK
        end += 4
    for byte in data[end:]:
        value ^= byte * _PRIME_5 & _MASK
        value = _rotate(value, 11) * _PRIME_1 & _MASK
    value = (value ^ value >> 33) * _PRIME_2 & _MASK
    value = (value ^ value >> 29) * _PRIME_3 & _MASK
    return value ^ value >> 32


def _hash_stripes(data: bytes, end: int) -> int:
    accumulators = [(_PRIME_1 + _PRIME_2) & _MASK, _PRIME_2, 0, -_PRIME_1 & _MASK]
    for begin in range(0, end, _STRIPE_BYTES):
        for number in range(4):
            at = begin + 8 * number
            accumulators[number] = _round(accumulators[number], int.from_bytes(data[at : at + 8], "little"))
    value = (
        sum(_rotate(accumulator, bits) for accumulator, bits in zip(accumulators, (1, 7, 12, 18), strict=True)) & _MASK
    )
    for accumulator in accumulators:
        value = ((value ^ _round(0, accumulator)) * _PRIME_1 + _PRIME_4) & _MASK
    return value


def _round(value: int, word: int) -> int:
    return _rotate((value + word * _PRIME_2) & _MASK, 31) * _PRIME_1 & _MASK


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK

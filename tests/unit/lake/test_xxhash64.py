"""XXH64 gives the published results; Bloom filters written by Arrow are read with it in the contract tests."""

import pytest

from punchcard.lake.xxhash64 import xxhash64


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
    ids=["empty", "one byte", "three bytes"],
)
def test_published_results(data: bytes, value: int) -> None:
    assert xxhash64(data) == value

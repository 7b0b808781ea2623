"""Shares of the partitions: together all of them, and fewer for the worker that feeds the lake."""

import pytest

from punchcard.runtime.partition_shares import share_partitions
from punchcard.store.routing.partition_workers import AliveWorker


def workers(*feeds_lake: bool | None) -> list[AliveWorker]:
    return [AliveWorker(f"w{number}", feeds) for number, feeds in enumerate(feeds_lake)]


@pytest.mark.parametrize(
    ("count", "feeds_lake", "sizes"),
    [
        pytest.param(4, [True], [4], id="alone"),
        pytest.param(2, [True, False], [0, 2], id="two-of-two"),
        pytest.param(4, [False, True], [3, 1], id="two-of-four"),
        pytest.param(64, [True, False], [10, 54], id="two-of-64"),
        pytest.param(5, [False, True, False], [3, 0, 2], id="three-of-five"),
        pytest.param(12, [True, False, False, False, False], [0, 3, 3, 3, 3], id="five-of-twelve"),
        pytest.param(7, [False, False, False], [3, 2, 2], id="nobody-feeds"),
        pytest.param(4, [True, True], [2, 2], id="two-say-so-for-a-moment"),
        pytest.param(4, [True, None], [2, 2], id="older-version"),
        pytest.param(2, [False, False, False], [1, 1, 0], id="more-workers-than-partitions"),
    ],
)
def test_workers_have_about_as_much_to_do(count: int, feeds_lake: list[bool | None], sizes: list[int]) -> None:
    shares = share_partitions(count, workers(*feeds_lake))
    assert [len(share) for share in shares.values()] == sizes
    assert [partition for share in shares.values() for partition in share] == list(range(count))

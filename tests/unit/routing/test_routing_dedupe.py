import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.routing.dedupe import MessageIndex


@pytest.mark.parametrize("ids_min", [1, 2, 7, 100, 5_000])
def test_at_least_the_last_ids_are_known_and_at_most_twice_as_many(ids_min: int) -> None:
    index = MessageIndex(ids_min)
    total = 5 * ids_min + 3
    for number in range(total):
        index.add_all([f"m{number}"])
        oldest_kept = max(0, number + 1 - ids_min)
        assert f"m{oldest_kept}" in index
        assert f"m{number}" in index
    known = sum(f"m{number}" in index for number in range(total))
    assert ids_min <= known <= 2 * ids_min
    assert all(f"m{number}" in index for number in range(total - ids_min, total))


def test_ids_that_never_came_are_not_known() -> None:
    index = MessageIndex(20_000)
    index.add_all(f"m{number}" for number in range(30_000))
    assert not any(f"other {number}" in index for number in range(30_000))


def test_an_id_again_takes_no_room() -> None:
    index = MessageIndex(10)
    index.add_all(["first"])
    index.add_all(["again"] * 1_000)
    assert "first" in index


def test_its_memory_does_not_grow_with_the_ids_that_pass() -> None:
    index = MessageIndex(1_000)
    index.add_all(f"m{number}" for number in range(2_000))
    sizes = [(index._young._size, index._old._size)]
    for start in range(0, 50_000, 10_000):
        index.add_all(f"n{number}" for number in range(start, start + 10_000))
        sizes.append((index._young._size, index._old._size))
    assert len(set(sizes)) == 1
    assert index._young.count <= 1_000
    assert index._old.count <= 1_000


@given(st.lists(st.text(max_size=8), max_size=60), st.integers(1, 30))
def test_it_is_a_set_as_long_as_the_ids_are_few_enough(ids: list[str], ids_min: int) -> None:
    index = MessageIndex(ids_min)
    index.add_all(ids)
    seen: list[str] = []
    for message_id in reversed(ids):
        if message_id not in seen:
            seen.append(message_id)
        if len(seen) == ids_min:
            break
    assert all(message_id in index for message_id in seen)
    assert not any(message_id + "!" in index for message_id in seen if message_id + "!" not in ids)

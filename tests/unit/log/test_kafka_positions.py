"""The state of a log in Kafka: the same for everybody who reads the same operations, and positions that only rise."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.log.kafka_positions import (
    AnyOperation,
    BindStore,
    BodyEnds,
    CancelDivision,
    Checkpoint,
    Confirm,
    ContinueAfter,
    Divide,
    LogState,
    MoveAfter,
    NoteBodyEnds,
    PrepareDivision,
    Reserve,
    apply,
    checkpoint_of,
    decode,
    encode,
    first_state,
    next_state,
)
from punchcard.log.partitions import PartitionLayout

TOPIC = "topic"
NUMBERS = st.integers(0, 200)
OPERATIONS = st.one_of(
    st.builds(Reserve, topic_id=st.just(TOPIC), above=NUMBERS, step=st.integers(1, 9)),
    st.builds(Confirm, topic_id=st.just(TOPIC), generation=NUMBERS),
    st.builds(BindStore, topic_id=st.just(TOPIC), store_id=st.sampled_from(["a", "b"]), replace=st.booleans()),
    st.builds(ContinueAfter, topic_id=st.just(TOPIC), position=NUMBERS, offset=NUMBERS),
    st.builds(MoveAfter, topic_id=st.just(TOPIC), position=NUMBERS, offset=NUMBERS),
    st.builds(Reserve, topic_id=st.just("of before"), above=NUMBERS, step=st.just(1)),
    st.builds(PrepareDivision, topic_id=st.just(TOPIC), name=st.sampled_from(["x", "y"])),
    st.builds(CancelDivision, topic_id=st.just(TOPIC)),
    st.builds(
        Divide,
        topic_id=st.just(TOPIC),
        name=st.sampled_from(["x", "y"]),
        partitions=st.integers(2, 9),
        offset=NUMBERS,
        bodies_id=st.just("bodies"),
    ),
    st.builds(
        NoteBodyEnds,
        topic_id=st.just(TOPIC),
        ends=st.tuples(NUMBERS, NUMBERS),
        offset=NUMBERS,
        first_offset=NUMBERS,
    ),
)


@given(st.lists(OPERATIONS, max_size=12), st.data())
def test_a_history_that_was_cut_leads_to_the_same_state(operations: list[AnyOperation], data: st.DataObject) -> None:
    entries = list(enumerate(operations))
    whole = first_state(entries, TOPIC)
    through = data.draw(st.integers(-1, len(entries) - 1))
    at_checkpoint = first_state([entry for entry in entries if entry[0] <= through], TOPIC)
    assert at_checkpoint is not None
    checkpoint = checkpoint_of(at_checkpoint, topic_id=TOPIC, through=through)
    cut = [*entries[through + 1 :], (len(entries), checkpoint)]
    assert first_state([(offset, decode(encode(each)) or each) for offset, each in cut], TOPIC) == whole
    later = data.draw(st.lists(OPERATIONS.filter(lambda each: each.topic_id == TOPIC), max_size=5))
    assert whole is not None
    assert first_state([*cut, *enumerate(later, len(entries) + 1)], TOPIC) == next_state(whole, later)


@given(st.lists(OPERATIONS, max_size=6))
def test_the_state_right_after_an_operation_is_known_until_it_is_cut(operations: list[AnyOperation]) -> None:
    entries = list(enumerate(operations))
    state = LogState()
    for offset, operation in entries:
        if operation.topic_id == TOPIC:
            state = apply(state, operation)
        assert first_state(entries, TOPIC, through=offset) == state
    checkpoint = Checkpoint(topic_id=TOPIC, through=len(entries), state=state)
    assert first_state([(len(entries) + 1, checkpoint)], TOPIC, through=len(entries) - 1) is None


@given(st.lists(OPERATIONS, max_size=8), st.integers(0, 500))
def test_positions_rise_with_offsets_and_lead_back_to_them(operations: list[AnyOperation], position: int) -> None:
    end = 0
    state = LogState()
    for operation in operations:
        if isinstance(operation, ContinueAfter | MoveAfter):
            end += operation.offset  # the topic only grows
            kind = type(operation)
            operation = kind(topic_id=TOPIC, position=operation.position, offset=end)
        last = state.position_of(end) - 1
        state = apply(state, operation)
        assert state.position_of(end) - 1 >= last
        if isinstance(operation, ContinueAfter | MoveAfter):
            assert state.position_of(end) > operation.position
    offsets = range(end + 600)
    positions = [state.position_of(offset) for offset in offsets]
    assert positions[0] >= 1
    assert all(before < after for before, after in pairwise(positions))
    expected = next((offset for offset in offsets if positions[offset] > position), None)
    assert expected is None or state.offset_after(position) == expected


def test_something_else_in_the_topic_is_ignored() -> None:
    assert decode(b"no JSON") is None
    assert decode(b'{"operation":"unknown"}') is None
    assert decode(b"[]") is None


def test_the_first_store_keeps_the_log_unless_it_is_replaced() -> None:
    state = apply(LogState(), BindStore(topic_id=TOPIC, store_id="a", replace=False))
    state = apply(state, BindStore(topic_id=TOPIC, store_id="b", replace=False))
    assert state.store_id == "a"
    assert apply(state, BindStore(topic_id=TOPIC, store_id="b", replace=True)).store_id == "b"


def divided(partitions: int, offset: int, state: LogState | None = None) -> LogState:
    return next_state(
        state or LogState(),
        [
            PrepareDivision(topic_id=TOPIC, name="x"),
            Divide(topic_id=TOPIC, name="x", partitions=partitions, offset=offset, bodies_id="bodies"),
        ],
    )


def test_a_record_belongs_to_the_partition_of_the_number_that_its_place_has() -> None:
    state = divided(5, 20, divided(2, 10))
    assert state.layout == PartitionLayout(5, 2, 20)
    assert [state.partition_of(offset, 7) for offset in (0, 19, 20)] == [1, 1, 2]


def test_the_place_of_a_division_moves_with_the_positions() -> None:
    state = divided(3, 10)
    assert state.layout.changed_after == 10
    assert apply(state, ContinueAfter(topic_id=TOPIC, position=99, offset=10)).layout.changed_after == 10
    assert apply(state, MoveAfter(topic_id=TOPIC, position=100, offset=12)).layout.changed_after == 110
    assert divided(3, 0).layout.changed_after == 0


@pytest.mark.parametrize(
    ("operations", "partitions"),
    [
        pytest.param([], 1, id="not prepared"),
        pytest.param([PrepareDivision(topic_id=TOPIC, name="x")], 4, id="prepared"),
        pytest.param([PrepareDivision(topic_id=TOPIC, name="y")], 1, id="prepared by another"),
        pytest.param(
            [PrepareDivision(topic_id=TOPIC, name="x"), CancelDivision(topic_id=TOPIC)], 1, id="prepared and given up"
        ),
        pytest.param(
            [PrepareDivision(topic_id=TOPIC, name="x"), PrepareDivision(topic_id=TOPIC, name="y")], 1, id="overtaken"
        ),
    ],
)
def test_only_the_division_that_is_being_prepared_has_an_effect(
    operations: list[AnyOperation], partitions: int
) -> None:
    division = Divide(topic_id=TOPIC, name="x", partitions=4, offset=3, bodies_id="bodies")
    assert next_state(LogState(), [*operations, division]).partitions == partitions


@pytest.mark.parametrize(
    "operation",
    [
        PrepareDivision(topic_id=TOPIC, name="x"),
        CancelDivision(topic_id=TOPIC),
        Divide(topic_id=TOPIC, name="x", partitions=4, offset=3, bodies_id="bodies"),
        NoteBodyEnds(topic_id=TOPIC, ends=(1,), offset=3, first_offset=0),
        checkpoint_of(divided(3, 10), topic_id=TOPIC, through=9),
        checkpoint_of(LogState(dividing="x"), topic_id=TOPIC, through=9),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_an_older_version_refuses_what_it_must_not_ignore(operation: AnyOperation) -> None:
    """It knows six operations, and refuses others with a newer format."""
    stored = json.loads(encode(operation))
    assert stored["operation"] not in {"reserve", "confirm", "bind_store", "continue_after", "move_after", "checkpoint"}
    assert stored["format"] == 2
    assert decode(encode(operation)) == operation


def test_what_an_undivided_log_stores_is_read_by_older_versions() -> None:
    stored = json.loads(encode(checkpoint_of(LogState(), topic_id=TOPIC, through=9)))
    assert (stored["operation"], stored["format"]) == ("checkpoint", 1)
    assert json.loads(encode(Reserve(topic_id=TOPIC, above=1, step=1)))["format"] == 1


def test_bodies_can_be_deleted_once_what_may_refer_to_them_is() -> None:
    state = LogState()
    for number in range(1, 100):
        first = max(0, 10 * number - 300)
        noted = NoteBodyEnds(topic_id=TOPIC, ends=(number,), offset=10 * number, first_offset=first)
        state = apply(state, noted)
        assert len(state.body_ends) <= 16
        (end,) = state.deletable_before(first) or (0,)
        assert end * 10 <= first
    assert end * 10 >= first - 200
    assert state.body_ends[-1] == BodyEnds((99,), 990)
    assert state.deletable_before(10_000) == (99,)

"""The state of a log in Kafka: the same for everybody who reads the same operations, and positions that only rise."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from punchcard.log.kafka_positions import (
    AnyOperation,
    BindStore,
    Checkpoint,
    Confirm,
    ContinueAfter,
    LogState,
    MoveAfter,
    Reserve,
    apply,
    decode,
    encode,
    first_state,
    next_state,
)

TOPIC = "topic"
NUMBERS = st.integers(0, 200)
OPERATIONS = st.one_of(
    st.builds(Reserve, topic_id=st.just(TOPIC), above=NUMBERS, step=st.integers(1, 9)),
    st.builds(Confirm, topic_id=st.just(TOPIC), generation=NUMBERS),
    st.builds(BindStore, topic_id=st.just(TOPIC), store_id=st.sampled_from(["a", "b"]), replace=st.booleans()),
    st.builds(ContinueAfter, topic_id=st.just(TOPIC), position=NUMBERS, offset=NUMBERS),
    st.builds(MoveAfter, topic_id=st.just(TOPIC), position=NUMBERS, offset=NUMBERS),
    st.builds(Reserve, topic_id=st.just("of before"), above=NUMBERS, step=st.just(1)),
)


@given(st.lists(OPERATIONS, max_size=12), st.data())
def test_a_history_that_was_cut_leads_to_the_same_state(operations: list[AnyOperation], data: st.DataObject) -> None:
    entries = list(enumerate(operations))
    whole = first_state(entries, TOPIC)
    through = data.draw(st.integers(-1, len(entries) - 1))
    at_checkpoint = first_state([entry for entry in entries if entry[0] <= through], TOPIC)
    assert at_checkpoint is not None
    checkpoint = Checkpoint(topic_id=TOPIC, through=through, state=at_checkpoint)
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

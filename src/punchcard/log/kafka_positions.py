"""What an event log in Kafka remembers about itself, and how the offsets of its topic become log positions.

The state is never written, only operations on it, to a topic of their own: each process reads all operations in their
order and comes to the same state, however many processes write at the same time. A `Checkpoint` lets the operations
before it be deleted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Final

import msgspec

from punchcard.errors import ConfigurationError

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Shift:
    """The distance between offsets and positions, from an offset on."""

    from_offset: int
    distance: int


@dataclass(frozen=True, slots=True)
class LogState:
    """What the log knows about itself; see `LogIdentity`.

    Attributes:
        shifts: In order; both offsets and distances rise. Offsets begin at 0, and positions at 1.
    """

    reserved: int = 0
    confirmed: int = 0
    store_id: str = ""
    shifts: tuple[Shift, ...] = (Shift(0, 1),)

    def position_of(self, offset: int) -> int:
        """Return the position of the record at an offset, or of the one that will be there."""
        distance = next(shift.distance for shift in reversed(self.shifts) if shift.from_offset <= offset)
        return offset + distance

    def offset_after(self, position: int) -> int:
        """Return the first offset with a position after this one."""
        ends = [shift.from_offset for shift in self.shifts[1:]]
        for shift, end in zip_longest(self.shifts, ends):
            offset = max(shift.from_offset, position - shift.distance + 1)
            if end is None or offset < end:
                break
        return offset


class Operation(msgspec.Struct, frozen=True, tag_field="operation", kw_only=True):
    """A change of the state of one topic, known by its id; a topic that was created again has another one."""

    topic_id: str
    format: int = FORMAT


class Reserve(Operation, frozen=True, tag="reserve"):
    """Reserve a generation above this one and above all that were reserved before."""

    above: int
    step: int


class Confirm(Operation, frozen=True, tag="confirm"):
    """Record that the store has reached a generation."""

    generation: int


class BindStore(Operation, frozen=True, tag="bind_store"):
    """Make the log belong to a store; without effect if it belongs to one and must not get another."""

    store_id: str
    replace: bool


class ContinueAfter(Operation, frozen=True, tag="continue_after"):
    """Give the records from an offset on positions after this one."""

    position: int
    offset: int


class MoveAfter(Operation, frozen=True, tag="move_after"):
    """Give all records positions after this one; `offset` is the end of the topic."""

    position: int
    offset: int


class Checkpoint(Operation, frozen=True, tag="checkpoint"):
    """The state after all operations up to an offset of the topic of operations."""

    through: int
    state: LogState


AnyOperation = Reserve | Confirm | BindStore | ContinueAfter | MoveAfter | Checkpoint
_decoder: Final[msgspec.json.Decoder[AnyOperation]] = msgspec.json.Decoder(AnyOperation)
_encoder: Final = msgspec.json.Encoder()


class _Header(msgspec.Struct):
    format: int = FORMAT


def encode(operation: AnyOperation) -> bytes:
    """Return an operation as it is stored."""
    return _encoder.encode(operation)


def decode(text: bytes) -> AnyOperation | None:
    """Return a stored operation, None if something else was written to the topic.

    Raises:
        ConfigurationError: It was written by a newer version of Punchcard.
    """
    try:
        return _decoder.decode(text)
    except msgspec.MsgspecError:
        try:
            header = msgspec.json.decode(text, type=_Header)
        except msgspec.MsgspecError:
            return None
    if header.format > FORMAT:
        raise ConfigurationError(
            "log_url: The event log was written by a newer version of Punchcard. Install that version here too."
        )
    return None


def apply(state: LogState, operation: AnyOperation) -> LogState:
    """Return the state after an operation."""
    if isinstance(operation, Reserve):
        return replace(state, reserved=max(state.reserved, operation.above) + operation.step)
    if isinstance(operation, Confirm):
        return replace(state, confirmed=max(state.confirmed, operation.generation))
    if isinstance(operation, BindStore):
        is_free = not state.store_id or operation.replace
        return replace(state, store_id=operation.store_id) if is_free else state
    if isinstance(operation, ContinueAfter):
        if state.position_of(operation.offset) > operation.position:
            return state
        shift = Shift(operation.offset, operation.position + 1 - operation.offset)
        before = tuple(shift for shift in state.shifts if shift.from_offset < operation.offset)
        return replace(state, shifts=(*before, shift) if before else (replace(shift, from_offset=0),))
    if isinstance(operation, MoveAfter):
        # After every position in use, so that no moved record collides with another.
        distance = max(operation.position, state.position_of(operation.offset) - 1)
        return replace(state, shifts=(Shift(0, distance + 1),))
    return state


def first_state(
    entries: Sequence[tuple[int, AnyOperation]], topic_id: str, *, through: int | None = None
) -> LogState | None:
    """Return the state after all operations that are left of a topic of operations.

    Args:
        entries: Each with its offset, in order.
        topic_id: Operations of other topics are ignored.
        through: The offset of the last operation to apply; None applies all.

    Returns:
        None if a checkpoint was made after that operation, so that the state right after it cannot be known any more.
    """
    own = [(offset, operation) for offset, operation in entries if operation.topic_id == topic_id]
    checkpoints = [operation for _, operation in own if isinstance(operation, Checkpoint)]
    state, before = LogState(), -1
    if checkpoints:
        state, before = checkpoints[-1].state, checkpoints[-1].through
    if through is not None and through < before:
        return None
    return next_state(
        state,
        (operation for offset, operation in own if offset > before and (through is None or offset <= through)),
    )


def next_state(state: LogState, operations: Iterable[AnyOperation]) -> LogState:
    """Return the state after further operations."""
    for operation in operations:
        state = apply(state, operation)
    return state

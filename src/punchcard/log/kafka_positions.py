"""What an event log in Kafka remembers about itself, and how the offsets of its topic become positions and partitions.

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
from punchcard.log.partitions import PartitionLayout

FORMAT: Final = 2
"""The newest format that this module reads. Operations have it if an older version must not ignore them."""
_UNDIVIDED_FORMAT: Final = 1
_BODY_ENDS_MAX: Final = 512
_NOTED_SHARE: Final = 64


@dataclass(frozen=True, slots=True)
class Shift:
    """The distance between offsets and positions, from an offset on."""

    from_offset: int
    distance: int


@dataclass(frozen=True, slots=True)
class BodyEnds:
    """Ends of the partitions of the topic of bodies.

    Attributes:
        after: An offset of the topic of the records: the bodies of all records before it are before the ends.
        ends: By partition.
        before: Another one: every acknowledged record with a body before the ends is before it.
    """

    after: int
    ends: tuple[int, ...]
    before: int


@dataclass(frozen=True, slots=True)
class LogState:
    """What the log knows about itself; see `LogIdentity`.

    Attributes:
        shifts: In order; both offsets and distances rise. Offsets begin at 0, and positions at 1.
        partitions: Of the records from the offset `divided_from` on.
        partitions_before: Of the records before it.
        bodies_id: The id of the topic of bodies; "" for a log that was never divided.
        dividing: Names the change of the partitions that is going on; "" if there is none.
        body_ends: Which bodies can be deleted once the records before an offset are, in order.
    """

    reserved: int = 0
    confirmed: int = 0
    store_id: str = ""
    shifts: tuple[Shift, ...] = (Shift(0, 1),)
    partitions: int = 1
    partitions_before: int = 1
    divided_from: int = 0
    bodies_id: str = ""
    dividing: str = ""
    body_ends: tuple[BodyEnds, ...] = ()

    @property
    def layout(self) -> PartitionLayout:
        """The partitions, and the position after which there are so many."""
        first = self.divided_from
        after = self.position_of(first - 1) if first else self.position_of(0) - 1
        return PartitionLayout(self.partitions, self.partitions_before, after if self.partitions > 1 else 0)

    def partition_of(self, offset: int, bucket: int) -> int:
        """Return the partition of the record at an offset."""
        return bucket % (self.partitions if offset >= self.divided_from else self.partitions_before)

    def deletable_before(self, offset: int) -> tuple[int, ...]:
        """Return the end of each partition before which no body is needed after the records before an offset."""
        return next((ends.ends for ends in reversed(self.body_ends) if ends.before <= offset), ())

    def is_noted_soon(self, end: int, first_offset: int) -> bool:
        """Return whether ends were noted so shortly before the end of the records that more are not needed.

        Args:
            first_offset: Of the first record that is left: the more there are, the rarer ends are noted.
        """
        last = self.body_ends[-1].after if self.body_ends else -1
        return end - last <= (end - first_offset) // _NOTED_SHARE or end == last

    def deleted_before(self, first_offset: int, first_bodies: Sequence[int]) -> int:
        """Return the offset before which no record has a body that is left.

        Args:
            first_offset: Of the first record that is left.
            first_bodies: Of the first body that is left in each partition.
        """
        for ends in reversed(self.body_ends):
            if all(first >= end for first, end in zip(first_bodies, ends.ends, strict=False)):
                return min(first_offset, ends.after)
        return min(first_offset, self.divided_from if self.partitions_before == 1 else 0)

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
    format: int = _UNDIVIDED_FORMAT


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


class PrepareDivision(Operation, frozen=True, tag="prepare_division", kw_only=True):
    """Stop reading by partition until `Divide` with the same name, or `CancelDivision`."""

    name: str
    format: int = FORMAT


class CancelDivision(Operation, frozen=True, tag="cancel_division", kw_only=True):
    """Leave the partitions as they are; a `Divide` that was prepared before has no effect any more."""

    format: int = FORMAT


class Divide(Operation, frozen=True, tag="divide", kw_only=True):
    """Divide the records from an offset on by another number; without effect unless it is the one being prepared."""

    name: str
    partitions: int
    offset: int
    bodies_id: str
    format: int = FORMAT


class NoteBodyEnds(Operation, frozen=True, tag="note_body_ends", kw_only=True):
    """Note ends of the partitions of the topic of bodies; `first_offset` is that of the first record that is left."""

    ends: BodyEnds
    first_offset: int
    format: int = FORMAT


class Checkpoint(Operation, frozen=True, tag="checkpoint"):
    """The state after all operations up to an offset of the topic of operations."""

    through: int
    state: LogState


class DividedCheckpoint(Checkpoint, frozen=True, tag="divided_checkpoint", kw_only=True):
    """The same of a divided log: older versions refuse it."""

    format: int = FORMAT


AnyOperation = (
    Reserve
    | Confirm
    | BindStore
    | ContinueAfter
    | MoveAfter
    | PrepareDivision
    | CancelDivision
    | Divide
    | NoteBodyEnds
    | Checkpoint
    | DividedCheckpoint
)
_decoder: Final[msgspec.json.Decoder[AnyOperation]] = msgspec.json.Decoder(AnyOperation)
_encoder: Final = msgspec.json.Encoder()


class _Header(msgspec.Struct):
    format: int = _UNDIVIDED_FORMAT


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
    return _apply_division(state, operation)


def _apply_division(state: LogState, operation: AnyOperation) -> LogState:
    if isinstance(operation, PrepareDivision):
        return replace(state, dividing=operation.name)
    if isinstance(operation, CancelDivision):
        return replace(state, dividing="")
    if isinstance(operation, Divide) and operation.name == state.dividing:
        return replace(
            state,
            partitions=operation.partitions,
            partitions_before=state.partitions,
            divided_from=operation.offset,
            bodies_id=operation.bodies_id,
            dividing="",
        )
    if isinstance(operation, NoteBodyEnds):
        used = [number for number, ends in enumerate(state.body_ends) if ends.before <= operation.first_offset]
        left = (*state.body_ends[max(used, default=0) :], operation.ends)
        # There are fewer, unless the log has grown from few records to very many.
        return replace(state, body_ends=left if len(left) <= _BODY_ENDS_MAX else left[::2])
    return state


def checkpoint_of(state: LogState, *, topic_id: str, through: int) -> Checkpoint:
    """Return the operation that a state is stored as."""
    is_undivided = state.partitions == 1 and not state.dividing
    kind = Checkpoint if is_undivided else DividedCheckpoint
    return kind(topic_id=topic_id, through=through, state=state)


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

"""Log records as messages in Kafka: the body is the value, a header holds the rest.

In the topic of the records of a divided log, a message refers to the body in another topic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Final
from zlib import crc32

import msgspec

from punchcard.log.bodies import DAMAGED_BODY_SHOWN_BYTES, unpacked_size
from punchcard.log.partitions import BUCKETS, PARTITIONS_MAX, bucket_of
from punchcard.log.port import LogRecord, NewRecord
from punchcard.log.row_damage import is_instant
from punchcard.log.texts import storable_text

if TYPE_CHECKING:
    from confluent_kafka import Message

HEADER: Final = "punchcard"
REFERENCE_HEADER: Final = "punchcard-body"
DIVISION_HEADER: Final = "punchcard-division"
"""Of a message without a record, at the offset from which the log is divided by another number."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(tuple[int, str, str, str, str, int])


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """Where the body of a record is.

    Attributes:
        partition: Of the topic of bodies.
        offset: In that partition.
        bucket: See `bucket_of`.
        size_bytes: Of the body as its sender wrote it.
        checksum: Of the stored body.
    """

    partition: Annotated[int, msgspec.Meta(ge=0, lt=PARTITIONS_MAX)]
    offset: Annotated[int, msgspec.Meta(ge=0)]
    bucket: Annotated[int, msgspec.Meta(ge=0, lt=BUCKETS)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    checksum: int


_reference_decoder: Final = msgspec.json.Decoder(Reference)


def refer_to(record: NewRecord, place: tuple[int, int], encoding: str, body: bytes) -> Reference:
    """Return the reference to the stored body of a record, at its partition and offset."""
    return Reference(*place, bucket_of(record), unpacked_size(encoding, body), crc32(body))


def encode_reference(reference: Reference) -> bytes:
    """Return a reference as it is stored in a header."""
    return _encoder.encode(reference)


@dataclass(frozen=True, slots=True)
class MessageContent:
    """What a message of the topic of the records holds.

    Attributes:
        record: Without its body, if that is in the topic of bodies.
        reference: To that body.
    """

    record: LogRecord
    reference: Reference | None = None

    @property
    def bucket(self) -> int:
        """The bucket of the record; of one that was appended before the log was divided, it is computed."""
        return bucket_of(self.record) if self.reference is None else self.reference.bucket

    @property
    def size_bytes(self) -> int:
        """The size of its body as its sender wrote it."""
        return size_of(self.record) if self.reference is None else self.reference.size_bytes

    def complete(self, bodies: "Mapping[tuple[int, int], Message]") -> LogRecord:
        """Return the record with its body; a damaged one if the body is not there, or is another."""
        reference = self.reference
        if reference is None:
            return self.record
        place = f"offset {reference.offset} in partition {reference.partition} of the topic of bodies"
        message = bodies.get((reference.partition, reference.offset))
        if message is None:
            return replace(self.record, damage=f"its body at {place} is deleted or lost")
        body = message.value() or b""
        if crc32(body) != reference.checksum:
            shown = body[:DAMAGED_BODY_SHOWN_BYTES]
            return replace(self.record, damage=f"its body at {place} has changed since it was stored", body=shown)
        return decode_message(message, self.record.position)


def content_of(message: "Message", position: int) -> MessageContent:
    """Return what a message of the topic of the records holds."""
    header = _header_of(message, REFERENCE_HEADER)
    if header is None:
        return MessageContent(decode_message(message, position))
    try:
        reference = _reference_decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        damage = f"its reference to a body cannot be read: {error}"
        return MessageContent(_damaged(message, message.value() or b"", position, damage))
    return MessageContent(_damaged(message, b"", position, ""), reference)


def is_division(message: "Message") -> bool:
    """Return whether a message holds no record, but is the place from which the log is divided by another number."""
    return _header_of(message, DIVISION_HEADER) is not None


def encode_header(record: NewRecord, encoding: str, body: bytes) -> bytes:
    """Return what is stored beside a body: time of receipt, write key, call, encoding, address and checksum."""
    texts = (storable_text(text) for text in (record.write_key, record.call, encoding, record.ip))
    return _encoder.encode((record.received_at, *texts, crc32(body)))


def decode_message(message: "Message", position: int) -> LogRecord:
    """Return the record of a message; one that Punchcard has not written, or not so, is damaged."""
    body = message.value() or b""
    header = _header_of(message, HEADER)
    if header is None:
        return _damaged(message, body, position, "it has not the header of a log record")
    try:
        received_at, write_key, call, encoding, ip, checksum = _decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _damaged(message, body, position, f"its header cannot be read: {error}")
    if not is_instant(received_at):
        return _damaged(message, body, position, f"its time of receipt is not an instant: {received_at}")
    if crc32(body) != checksum:  # Kafka has a checksum of a whole batch, which would hide the other records of it
        return _damaged(message, body, position, "its body has changed since it was stored")
    return LogRecord(received_at, write_key, call, encoding, body, ip, position)


def size_of(record: LogRecord) -> int:
    """Return the size of a record's body as its sender wrote it."""
    return unpacked_size(record.encoding, record.body)


def _header_of(message: "Message", wanted: str) -> bytes | None:
    headers = message.headers() or ()
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        if name == wanted and isinstance(value, bytes):
            return value
    return None


def _damaged(message: "Message", body: bytes, position: int, damage: str) -> LogRecord:
    _, milliseconds = message.timestamp()
    received_at = milliseconds * 1_000
    return LogRecord(
        received_at=received_at if is_instant(received_at) else 0,
        write_key="",
        call="",
        encoding="",
        body=body[:DAMAGED_BODY_SHOWN_BYTES],
        ip="",
        position=position,
        damage=damage,
    )

"""Log records as messages in Kafka: the body is the value, a header holds the rest."""

from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from punchcard.log.bodies import DAMAGED_BODY_SHOWN_BYTES, unpacked_size
from punchcard.log.port import LogRecord, NewRecord
from punchcard.log.row_damage import is_instant
from punchcard.log.texts import storable_text

if TYPE_CHECKING:
    from confluent_kafka import Message

HEADER: Final = "punchcard"
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(tuple[int, str, str, str, str, int])


def encode_header(record: NewRecord, encoding: str, body: bytes) -> bytes:
    """Return what is stored beside a body: time of receipt, write key, call, encoding, address and checksum."""
    texts = (storable_text(text) for text in (record.write_key, record.call, encoding, record.ip))
    return _encoder.encode((record.received_at, *texts, crc32(body)))


def decode_message(message: "Message", position: int) -> LogRecord:
    """Return the record of a message; one that Punchcard has not written, or not so, is damaged."""
    body = message.value() or b""
    header = _header_of(message)
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


def _header_of(message: "Message") -> bytes | None:
    headers = message.headers() or ()
    for name, value in headers.items() if isinstance(headers, dict) else headers:
        if name == HEADER and isinstance(value, bytes):
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

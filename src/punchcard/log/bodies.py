"""Bodies of log records: compressed at rest, given back as their senders wrote them."""

import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress

import zstandard

from punchcard.errors import UnreadableRecordError
from punchcard.log.port import LogRecord, NewRecord
from punchcard.log.row_damage import UNCOMPRESSED_BYTES_MAX

DAMAGED_BODY_SHOWN_BYTES = 65_536
_COMPRESS_FROM_BYTES = 512
_LEVEL = 1
_GZIP_SIZE_BYTES = 4  # at the end of a gzip file: the decompressed size
_GZIP_SALVAGED_BYTES = 256  # the data before the damage is decompressed in steps of this size
_of_thread = threading.local()  # what may not be shared between threads


class BodyCompressor:
    """Compresses the bodies of a group of records at once. Not thread-safe."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)

    def compress(self, records: Sequence[NewRecord]) -> list[tuple[str, bytes]]:
        """Return encoding and body of each record as they are stored: long bodies compressed, others as they came."""
        long: list[bytes | bytearray | memoryview[int]] = [
            record.body
            for record in records
            if record.encoding == "identity" and len(record.body) >= _COMPRESS_FROM_BYTES
        ]
        packed = iter(self._compressor.multi_compress_to_buffer(long)) if long else iter(())
        stored: list[tuple[str, bytes]] = []
        for record in records:
            if record.encoding == "identity" and len(record.body) >= _COMPRESS_FROM_BYTES:
                stored.append(("zstd", next(packed).tobytes()))
            else:
                stored.append((record.encoding, record.body))
        return stored


def unpacked_size(encoding: str, body: bytes) -> int:
    """Return the size of a body as its sender wrote it, as stated by the compressed form; stored size if damaged."""
    if encoding == "zstd":
        with suppress(zstandard.ZstdError):
            return max(len(body), zstandard.frame_content_size(body))
    if encoding == "gzip" and len(body) >= _GZIP_SIZE_BYTES:
        return int.from_bytes(body[-_GZIP_SIZE_BYTES:], "little")
    return len(body)


def _decompressor() -> zstandard.ZstdDecompressor:
    """Return the decompressor of this thread: making one takes longer than decompressing a body."""
    try:
        decompressor: zstandard.ZstdDecompressor = _of_thread.decompressor
    except AttributeError:
        decompressor = _of_thread.decompressor = zstandard.ZstdDecompressor()
    return decompressor


def decompress(record: NewRecord) -> bytes:
    """Return the record's body as its sender wrote it.

    Raises:
        UnreadableRecordError: The row is damaged, or the body cannot be decompressed or is larger than any accepted
            body.
    """
    if isinstance(record, LogRecord) and record.damage:
        raise UnreadableRecordError(f"The log record is damaged: {record.damage}.")
    try:
        if record.encoding == "identity":
            return record.body
        if record.encoding == "zstd":
            # The size is checked first, because a damaged frame may request any amount of memory.
            if zstandard.frame_content_size(record.body) > UNCOMPRESSED_BYTES_MAX:
                raise ValueError(f"the body is larger than {UNCOMPRESSED_BYTES_MAX:,} bytes")
            return _decompressor().decompress(record.body, max_output_size=UNCOMPRESSED_BYTES_MAX)
        if record.encoding == "gzip":
            return gunzip(record.body, bytes_max=UNCOMPRESSED_BYTES_MAX)
    except (zstandard.ZstdError, zlib.error, ValueError, MemoryError) as error:
        raise UnreadableRecordError(f"The log record cannot be decompressed: {error}.") from error
    raise UnreadableRecordError(f'The log record has the unknown encoding "{record.encoding[:40]}".')


def salvage(record: NewRecord) -> bytes:
    """Return as much of a damaged body as can be decompressed from its beginning."""
    body = record.body
    unpacked = bytearray()
    with suppress(zstandard.ZstdError, zlib.error, ValueError, MemoryError):
        if record.encoding == "zstd":
            with zstandard.ZstdDecompressor().stream_reader(body) as reader:
                while len(unpacked) < UNCOMPRESSED_BYTES_MAX and (part := reader.read(DAMAGED_BODY_SHOWN_BYTES)):
                    unpacked += part
        elif record.encoding == "gzip":
            unpacker = zlib.decompressobj(wbits=31)
            for begin in range(0, len(body), _GZIP_SALVAGED_BYTES):
                unpacked += unpacker.decompress(body[begin : begin + _GZIP_SALVAGED_BYTES], UNCOMPRESSED_BYTES_MAX)
                if len(unpacked) >= UNCOMPRESSED_BYTES_MAX:
                    break
        else:
            return body
    return bytes(unpacked)


def gunzip(body: bytes, *, bytes_max: int) -> bytes:
    """Decompress a body; a small body with a huge content is detected before it is decompressed completely.

    Raises:
        ValueError: The content is larger than `bytes_max`, or incomplete.
        zlib.error: The body is not gzip.
    """
    unpacker = zlib.decompressobj(wbits=31)
    unpacked = unpacker.decompress(body, bytes_max + 1)
    if len(unpacked) > bytes_max:
        raise ValueError(f"the body is larger than {bytes_max:,} bytes")
    if not unpacker.eof:
        raise ValueError("the body is incomplete")
    if unpacker.unused_data:
        raise zlib.error("other data follows the compressed body")
    return unpacked

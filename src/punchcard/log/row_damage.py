"""Damage in rows of the log's table: SQLite lets a damaged or foreign row hold values of any type."""

from punchcard.log.port import LogRecord

UNCOMPRESSED_BYTES_MAX = 16_000_000  # far above any accepted body
RECEIVED_AT_MAX = 253_370_764_800_000_000  # the year 9999: a datetime can hold every instant before it


def decode_text(text: bytes) -> str:
    """Decode text; invalid Unicode is replaced."""
    return text.decode(errors="replace")


def is_instant(value: object) -> bool:
    """Return whether the value is a time of receipt, in microseconds since 1970."""
    return isinstance(value, int) and 0 <= value < RECEIVED_AT_MAX


def text_or_nothing(value: object) -> str:
    """Return the value if it is text, otherwise an empty text."""
    return value if isinstance(value, str) else ""


def is_whole(row: LogRecord) -> bool:
    """Return whether the row's columns have the types with which they were written; SQLite does not guarantee that."""
    return (
        isinstance(row.body, bytes)
        and isinstance(row.write_key, str)
        and isinstance(row.call, str)
        and isinstance(row.encoding, str)
        and isinstance(row.ip, str)
        and is_instant(row.received_at)
    )


def damage_of(row: LogRecord) -> str:
    """Describe the damage in the columns of a row."""
    if not is_instant(row.received_at):
        return f"its time of receipt is not an instant: {str(row.received_at)[:40]}"
    for name, value in (("write key", row.write_key), ("call", row.call), ("encoding", row.encoding), ("IP", row.ip)):
        if not isinstance(value, str):
            return f"its {name} is not text"
    kind: object = row.body
    if isinstance(kind, str):
        return "its body is text, not bytes"
    return f"its body is missing or larger than {UNCOMPRESSED_BYTES_MAX:,} bytes"

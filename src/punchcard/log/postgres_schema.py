"""Tables and statements of the event log in PostgreSQL."""

from typing import Final

SCHEMA_VERSION: Final = 2
"""The newest version that this module reads. A log has it once it is divided; until then older versions may use it."""
UNDIVIDED_VERSION: Final = 1
CHANNEL: Final = "punchcard_event_log"
LOCK_KEY: Final = 0x50756E6C  # any constant: names the advisory lock of the process that creates the tables

# Three tables, so that nothing waits for the row that appenders lock: the identity, the end, the records.
CREATE: Final = (
    """
    CREATE TABLE IF NOT EXISTS event_log (
        id text NOT NULL,                  -- of this log; never changes
        schema_version integer NOT NULL,
        store_id text NOT NULL,            -- of the database that the log belongs to, '' before that
        reserved bigint NOT NULL,          -- the highest reserved generation
        confirmed bigint NOT NULL,         -- the highest generation that the store has certainly reached
        trimmed_through bigint NOT NULL,   -- no record up to this position is left
        partitions smallint NOT NULL DEFAULT 1,         -- of the records after `changed_after`
        partitions_before smallint NOT NULL DEFAULT 1,  -- of the records up to there
        changed_after bigint NOT NULL DEFAULT 0
    )
    """,
    # Its only row is updated at every commit: room on its page lets PostgreSQL prune old versions without a vacuum.
    """
    CREATE TABLE IF NOT EXISTS event_log_head (
        log_id text NOT NULL,
        last_position bigint NOT NULL,
        partitions smallint NOT NULL DEFAULT 1  -- as in event_log: an append under another number must do nothing
    ) WITH (fillfactor = 10)
    """,
    # Trimming deletes all day long. Vacuum follows after a fixed number of rows, not after a share of the table.
    """
    CREATE TABLE IF NOT EXISTS event_log_records (
        position bigint PRIMARY KEY,
        received_at bigint NOT NULL,       -- microseconds since 1970-01-01 UTC
        size_bytes bigint NOT NULL,        -- of the body as its sender wrote it
        write_key text NOT NULL,
        call text NOT NULL,
        encoding text NOT NULL,
        ip text NOT NULL,
        body bytea NOT NULL,
        bucket smallint NOT NULL DEFAULT 0  -- a partition has the records of its buckets
    ) WITH (
        autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 50000
    )
    """,
    # Bodies are compressed already: PostgreSQL must not spend time on trying it again.
    "ALTER TABLE event_log_records ALTER COLUMN body SET STORAGE EXTERNAL",
)

CREATE_IDENTITY: Final = (
    "INSERT INTO event_log (id, schema_version, store_id, reserved, confirmed, trimmed_through) "
    "SELECT %(id)s, %(version)s, '', 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM event_log)"
)
CREATE_HEAD: Final = (
    "INSERT INTO event_log_head (log_id, last_position) SELECT id, 0 FROM event_log "
    "WHERE NOT EXISTS (SELECT 1 FROM event_log_head)"
)

# For a log that was created before it could be divided. A constant default rewrites no row.
COLUMNS_MISSING: Final = (
    "SELECT NOT EXISTS (SELECT 1 FROM information_schema.columns WHERE table_schema = current_schema() "
    "AND table_name = 'event_log_records' AND column_name = 'bucket')"
)
ADD_COLUMNS: Final = (
    "ALTER TABLE event_log ADD COLUMN IF NOT EXISTS partitions smallint NOT NULL DEFAULT 1, "
    "ADD COLUMN IF NOT EXISTS partitions_before smallint NOT NULL DEFAULT 1, "
    "ADD COLUMN IF NOT EXISTS changed_after bigint NOT NULL DEFAULT 0",
    "ALTER TABLE event_log_head ADD COLUMN IF NOT EXISTS partitions smallint NOT NULL DEFAULT 1",
    "ALTER TABLE event_log_records ADD COLUMN IF NOT EXISTS bucket smallint NOT NULL DEFAULT 0",
)

IDENTITY: Final = "SELECT id, reserved, confirmed, store_id, schema_version FROM event_log"

BIND_STORE: Final = "UPDATE event_log SET store_id = %(store_id)s::text WHERE store_id = '' OR %(replace)s::boolean"

# One statement is one transaction. It reads and raises the end of the log first: that row stays locked until the
# commit is done, so commits follow each other in the order of their positions, whichever machine they come from.
# A reader that continues after the last position that it saw can therefore miss nothing.
_APPEND: Final = """
    WITH head AS (
        UPDATE event_log_head SET last_position = last_position + %(count)s::bigint
        WHERE log_id = %(log_id)s AND partitions = %(partitions)s::smallint
        RETURNING last_position
    ), appended AS (
        INSERT INTO event_log_records
            (position, received_at, size_bytes, write_key, call, encoding, ip, body{bucket_column})
        SELECT head.last_position - %(count)s::bigint + record.number, record.received_at, record.size_bytes,
               record.write_key, record.call, record.encoding, record.ip, record.body{bucket}
        FROM head, unnest(
            %(received_at)s::bigint[], %(size_bytes)s::bigint[], %(write_key)s::text[], %(call)s::text[],
            %(encoding)s::text[], %(ip)s::text[], %(body)b::bytea[]{buckets}
        ) WITH ORDINALITY AS record (received_at, size_bytes, write_key, call, encoding, ip, body{name}, number)
    )
    SELECT last_position, pg_notify('{channel}', '') FROM head
"""
APPEND: Final = _APPEND.format(channel=CHANNEL, bucket_column="", bucket="", buckets="", name="")
APPEND_DIVIDED: Final = _APPEND.format(
    channel=CHANNEL,
    bucket_column=", bucket",
    bucket=", record.bucket",
    buckets=", %(bucket)s::smallint[]",
    name=", bucket",
)

# Below `trimmed_through` are only index entries of deleted rows, which nobody should step over again and again.
# Once the bytes are reached, nothing more is transferred.
_READ: Final = """
    SELECT received_at, write_key, call, encoding, {body}, ip, position
    FROM (
        SELECT received_at, write_key, call, encoding, {body}, ip, position,
               sum(size_bytes) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - size_bytes AS bytes_before
        FROM event_log_records
        WHERE position > greatest(%(after)s::bigint, (SELECT trimmed_through FROM event_log)){divided}
        ORDER BY position
        LIMIT %(rows)s::bigint
    ) AS portion
    WHERE bytes_before < %(bytes)s::numeric
    ORDER BY position
"""
READ: Final = _READ.format(body="body", divided="")

# The server chooses by its own row of the layout, so that a process which knows an older one reads nothing wrong. It
# looks at the records of all partitions: an index by partition would cost every append more than this costs.
_DIVIDED: Final = """
          AND bucket %% CASE WHEN position > (SELECT changed_after FROM event_log)
              THEN (SELECT partitions FROM event_log) ELSE (SELECT partitions_before FROM event_log) END
              = %(partition)s::smallint"""
# The end of the log is in the same view as the records: none up to there can be committed later.
_READ_WITH_END: Final = """
    SELECT head.last_position, portion.*
    FROM event_log_head AS head LEFT JOIN ({read}) AS portion ON true
    WHERE head.log_id = %(log_id)s
    ORDER BY portion.position
"""
READ_PARTITION: Final = _READ_WITH_END.format(read=_READ.format(body="body", divided=_DIVIDED))

# Bodies lie in a table of their own behind this one. If that is damaged, each is read alone.
READ_WITHOUT_BODIES: Final = _READ.format(body="size_bytes", divided="")
READ_PARTITION_WITHOUT_BODIES: Final = _READ_WITH_END.format(read=_READ.format(body="size_bytes", divided=_DIVIDED))
READ_BODY: Final = "SELECT body FROM event_log_records WHERE position = %(position)s::bigint"

LAST_POSITION: Final = "SELECT last_position FROM event_log_head WHERE log_id = %(log_id)s"

CONTINUE_AFTER: Final = (
    "UPDATE event_log_head SET last_position = greatest(last_position, %(position)s::bigint) WHERE log_id = %(log_id)s"
)

RESERVE: Final = (
    "UPDATE event_log SET reserved = greatest(reserved, %(above)s::bigint) + %(step)s::bigint RETURNING reserved"
)

CONFIRM: Final = "UPDATE event_log SET confirmed = greatest(confirmed, %(generation)s::bigint)"

# Does not touch the end of the log, so appenders do not wait for it.
TRIM: Final = """
    WITH old AS (
        SELECT position FROM event_log_records
        WHERE position > (SELECT trimmed_through FROM event_log) AND position <= %(through)s::bigint
        ORDER BY position LIMIT %(rows)s::bigint
    ), deleted AS (
        DELETE FROM event_log_records
        WHERE position >= (SELECT min(position) FROM old) AND position <= (SELECT max(position) FROM old)
        RETURNING position
    ), noted AS (
        UPDATE event_log SET trimmed_through = (SELECT max(position) FROM deleted)
        WHERE trimmed_through < (SELECT max(position) FROM deleted)
    )
    SELECT count(*) FROM deleted
"""

REPLACE_BODY: Final = """
    UPDATE event_log_records
    SET encoding = %(encoding)s, body = %(body)b, size_bytes = %(size_bytes)s::bigint, ip = ''
    WHERE position = %(position)s::bigint
"""

LOCK_HEAD: Final = "SELECT last_position FROM event_log_head WHERE log_id = %(log_id)s FOR UPDATE"

MOVE: Final = "UPDATE event_log_records SET position = position + %(distance)s::bigint"

SET_HEAD: Final = (
    "UPDATE event_log_head SET last_position = "
    "coalesce((SELECT max(position) FROM event_log_records), %(distance)s::bigint) WHERE log_id = %(log_id)s"
)

LAYOUT: Final = "SELECT partitions, partitions_before, changed_after FROM event_log WHERE id = %(log_id)s"

DIVIDE_HEAD: Final = (
    "UPDATE event_log_head SET partitions = %(partitions)s::smallint "
    "WHERE log_id = %(log_id)s AND partitions <> %(partitions)s::smallint RETURNING last_position"
)
DIVIDE: Final = (
    "UPDATE event_log SET partitions_before = partitions, partitions = %(partitions)s::smallint, "
    "changed_after = %(position)s::bigint, schema_version = %(version)s::integer"
)
MOVE_CHANGE: Final = "UPDATE event_log SET changed_after = changed_after + %(distance)s::bigint WHERE changed_after > 0"

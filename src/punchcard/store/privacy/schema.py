"""The tables of privacy: regulations with their subjects, what is suppressed, retention, and classifications."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from punchcard.store.schema import Instant, RisingId, metadata

subject_keys = Table(  # a row for each use, from the first one on: see `SubjectKey`
    "subject_keys",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),  # of the hashes of subjects, encrypted; it never changes
    Column("revision", BigInteger, nullable=False),  # of regulations: rises with each change of `suppressed_subjects`
)

regulations = Table(
    "regulations",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("type", String(40), nullable=False),  # as in Segment's Public API, like the next and the status
    Column("subject_type", String(16), nullable=False),
    Column("subject_count", Integer, nullable=False),
    Column("source", String(128), nullable=False),  # slug; "" for all sources
    Column("message_id", String(128)),  # of the `delete` message that has requested it; null for any other
    Column("requested_by", Text, nullable=False),  # an actor as in the audit log
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("status", String(24), nullable=False),
    Column("stage", String(24), nullable=False),  # the step that a deletion is at; "" for any other regulation
    Column("log_position", BigInteger, nullable=False),  # what is deleted was received up to here; 0: not known yet
    Column("identity", Text),  # encrypted JSON of all ids of the subjects while a deletion runs
    Column("progress", Text, nullable=False),  # JSON by store and destination
    Column("detail", Text, nullable=False),  # what it waits for, or why it failed
    UniqueConstraint("source", "message_id"),
)
Index("ix_regulations_status", regulations.c.status, regulations.c.id)

retention_periods = Table(  # one row for each data set that has a period of its own, or that was pruned
    "retention_periods",
    metadata,
    Column("data_set", String(64), primary_key=True),
    Column("days", Integer),  # 0: for ever; null: as the settings say
    Column("changed_at", Instant),
    Column("changed_by", Text, nullable=False),  # an actor as in the audit log, "" for nobody
    Column("cursor", BigInteger, nullable=False),  # the id through which the data set was pruned
    Column("deleted", BigInteger, nullable=False),  # number of rows so far
    Column("deleted_at", Instant),
)

property_classifications = Table(  # what people say of a property or trait of the inventory
    "property_classifications",
    metadata,
    Column("section", String(16), primary_key=True),  # `properties` or `traits`
    Column("path", String(160), primary_key=True),
    Column("classification", String(16), nullable=False),
    Column("changed_by", Text, nullable=False),  # an actor as in the audit log
    Column("changed_at", Instant, nullable=False),
)

regulation_subjects = Table(
    "regulation_subjects",
    metadata,
    Column("regulation_id", ForeignKey("regulations.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(32), nullable=False),  # keyed hash of type and value
    Column("value", Text),  # encrypted; null once the subject is deleted
)

suppressed_subjects = Table(
    "suppressed_subjects",
    metadata,
    Column("digest", String(32), primary_key=True),  # keyed hash of type and value
    Column("source", String(128), primary_key=True),  # slug; "" for all sources
    Column("subject_type", String(16), nullable=False),
    Column("value", Text),  # encrypted; null once the subject is deleted, or not suppressed any more
    Column("is_active", Boolean, nullable=False),  # false after UNSUPPRESS
    Column("revision", BigInteger, nullable=False),  # of `subject_keys` when it changed last
    Column("created_at", Instant, nullable=False),
    Column("regulation_id", BigInteger, nullable=False),
    Column("checksum", BigInteger),  # masked, see `SubjectHashes`; null: an earlier version has added the row
)
Index("ix_suppressed_subjects_revision", suppressed_subjects.c.revision)

suppressed_records = Table(  # log records with events of suppressed subjects that the log still holds as received
    "suppressed_records",
    metadata,
    Column("log_position", BigInteger, primary_key=True, autoincrement=False),
)

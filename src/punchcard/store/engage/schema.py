"""The tables of profiles, traits, audiences and their syncs to destinations."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from punchcard.store.schema import Instant, RisingId, metadata

# Room in each page for the new versions of its rows: otherwise they go to other pages, and each index gets an entry.
_ROOM_FOR_UPDATES = {"fillfactor": 85}

profiles = Table(
    "profiles",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),  # rises; facts and traits are kept by it
    Column("public_id", String(32), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("first_message_id", String(128), nullable=False),
    Column("first_source", String(128), nullable=False),
    Column("last_message_id", String(128), nullable=False),
    Column("last_source", String(128), nullable=False),
    Column("is_known", Boolean, nullable=False),  # more than an anonymous id leads to it
    Column("merged_into", BigInteger),  # the profile that has gone on in its place
    # What the newest identify call has repeated: the custom traits in JSON, its time, its place in the log. The names
    # come last: PostgreSQL's log contains an updated row from the first to the last byte that differs.
    Column("repeated_at", Instant),
    Column("repeated_seq", BigInteger),
    Column("repeated_traits", Text),
    postgresql_with=_ROOM_FOR_UPDATES,
)

Index(
    "ix_profiles_merged_into",
    profiles.c.merged_into,
    sqlite_where=text("merged_into IS NOT NULL"),
    postgresql_where=text("merged_into IS NOT NULL"),
)

external_ids = Table(  # each belongs to one profile
    "external_ids",
    metadata,
    Column("type", String(64), primary_key=True),
    Column("value", String(512), primary_key=True),
    Column("profile_id", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
)
Index("ix_external_ids_profile", external_ids.c.profile_id)

profile_merges = Table(
    "profile_merges",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("profile_id", BigInteger, nullable=False),  # which went on
    Column("merged_id", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("message_id", String(128), nullable=False),
)
Index("ix_profile_merges_profile", profile_merges.c.profile_id)

profile_conflicts = Table(  # external ids that an event brought and that were not given to its profile
    "profile_conflicts",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("profile_id", BigInteger, nullable=False),
    Column("type", String(64), nullable=False),
    Column("value", String(512), nullable=False),
    Column("owner_id", BigInteger),  # the profile that has it; null: nobody
    Column("at", Instant, nullable=False),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("profile_id", "type", "value"),
)
Index("ix_profile_conflicts_owner_id", profile_conflicts.c.owner_id)

profile_traits = Table(  # custom traits, computed traits and audiences as they stand
    "profile_traits",
    metadata,
    Column("profile_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(256), primary_key=True),
    Column("value", Text, nullable=False),  # JSON; null: taken away, kept so that an older call does not bring it back
    Column("computation", String(16), nullable=False),  # audience, computed_trait, or "" for a custom one
    Column("updated_at", Instant, nullable=False),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("seq", BigInteger, nullable=False, server_default=text("0")),  # place in the log of what gave it
    Column("repeated_at", Instant),  # time of the newest call that repeated it, unless its profile has a newer one
    Column("repeated_seq", BigInteger, nullable=False, server_default=text("0")),  # its place in the log
    postgresql_with=_ROOM_FOR_UPDATES,
)
VALUE_CHARACTERS_MAX = 100  # of a value that are indexed: PostgreSQL refuses rows with entries over 2,704 bytes
BEGIN_OF_VALUE = f"substr(value, 1, {VALUE_CHARACTERS_MAX})"
Index("ix_profile_traits_value", profile_traits.c.name, text(BEGIN_OF_VALUE), profile_traits.c.profile_id)
# Who has a trait, or is in an audience: those who have left, who may be nearly all, are not in the index.
HAS_TRAIT = text("(computation = '' OR value <> 'false') AND value <> 'null'")  # word by word as in the index, as below
Index(
    "ix_profile_traits_held",
    profile_traits.c.name,
    profile_traits.c.profile_id,
    sqlite_where=HAS_TRAIT,
    postgresql_where=HAS_TRAIT,
)
# The values of traits that name a person, for the search. A query repeats the condition as text, so that it fits.
# With a function around the name: SQLite would enter the index above, and sort all names there are.
IS_NAME = "coalesce(name, '') IN ('name', 'firstName', 'lastName', 'first_name', 'last_name')"
FOLDED_NAME = f"substr(lower(value), 1, {VALUE_CHARACTERS_MAX})"
Index(
    "ix_profile_traits_person_name",
    text(FOLDED_NAME),
    profile_traits.c.profile_id,
    sqlite_where=text(IS_NAME),
    postgresql_where=text(IS_NAME),
)

profile_trait_changes = Table(  # what each trait was, and since when; nothing of it is ever changed
    "profile_trait_changes",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("profile_id", BigInteger, nullable=False),
    Column("name", String(256), nullable=False),
    Column("value", Text),  # JSON; null: the trait is gone
    Column("computation", String(16), nullable=False),
    Column("at", Instant, nullable=False),
    Column("message_id", String(128), nullable=False),
)
Index("ix_profile_trait_changes_profile", profile_trait_changes.c.profile_id, profile_trait_changes.c.id)
Index("ix_profile_trait_changes_name", profile_trait_changes.c.name, profile_trait_changes.c.id)

computation_states = Table(
    "computation_states",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("fingerprint", String(64), nullable=False),  # of the definition that was computed last
    Column("status", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("size", BigInteger, nullable=False),  # members, or people with a value
    Column("computed_at", Instant),  # for which moment its answers hold
    Column("checked_at", Instant),  # when all of it was last computed from scratch
    Column("differences", BigInteger, nullable=False),  # found by all checks together; each is a defect
    Column("created_at", Instant, nullable=False),
    Column("last_sync", Text, nullable=False),  # JSON: how it was synced last, for when it is deleted
)

computation_sizes = Table(  # by the hour
    "computation_sizes",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("bucket", Instant, primary_key=True),
    Column("size", BigInteger, nullable=False),
)

sync_queue = Table(  # profiles that may have to be synced to a destination
    "sync_queue",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("profile_id", BigInteger, primary_key=True, autoincrement=False),
    Column("queued_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("waits_for", String(16), nullable=False, server_default=""),  # email, too_large … or failed: see `decide`
    Column("is_resync", Boolean, nullable=False, server_default=text("false")),  # synced again though nothing changed
    Column("detail", Text, nullable=False, server_default=""),  # why, of `failed` and `refused`
)
Index("ix_sync_queue_due", sync_queue.c.waits_for, sync_queue.c.destination, sync_queue.c.due_at)
Index("ix_sync_queue_profile", sync_queue.c.profile_id)
IS_WAITING = text("waits_for <> ''")  # a condition that asks for the index below has it word by word
Index(
    "ix_sync_queue_waiting",
    sync_queue.c.destination,
    sync_queue.c.key,
    sync_queue.c.waits_for,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)

synced = Table(  # the last synced values of each destination
    "synced",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("email", String(320), primary_key=True),
    Column("profile_id", BigInteger, nullable=False),
    Column("value", Text, nullable=False),  # JSON
    Column("sequence", Integer, nullable=False),  # of the calls about this email and key
    Column("sent_at", Instant, nullable=False),
    Column("changes", Text, nullable=False, server_default=""),  # JSON: the changes of the last minute
    Column("tracked", Text, nullable=False, server_default=""),  # the person's value that a track call has brought
    Column("track_sequence", Integer, nullable=False, server_default=text("0")),  # of the last track call
    Column("entries_cut", Integer, nullable=False, server_default=text("0")),  # of a list, so that the call fits
    Column("account", String(8), primary_key=True, server_default=""),  # digest: see `sync_accounts`
)
Index("ix_synced_profile", synced.c.profile_id)
HAS_VALUE = text(
    "value NOT IN ('false', 'null', '')"
)  # a condition that asks for the index below holds it word by word
# SQLite counts by the index alone only if it holds the value; PostgreSQL needs no value for that and refuses long ones.
Index(
    "ix_synced_value",
    synced.c.destination,
    synced.c.key,
    synced.c.account,
    synced.c.profile_id,
    synced.c.value,
    sqlite_where=HAS_VALUE,
).ddl_if("sqlite")
Index(
    "ix_synced_value",
    synced.c.destination,
    synced.c.key,
    synced.c.account,
    synced.c.profile_id,
    postgresql_where=HAS_VALUE,
).ddl_if("postgresql")

IS_CUT = text("entries_cut > 0")  # word by word as in the index, as above
Index(
    "ix_synced_cut", synced.c.destination, synced.c.key, sqlite_where=IS_CUT, postgresql_where=IS_CUT
)  # few: only lists that do not fit into a call

sync_accounts = Table(  # the account at each destination that is synced now, and the first one ever
    "sync_accounts",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("first", Text, nullable=False),
    Column("current", Text, nullable=False),
    Column("digest", String(8), nullable=False),  # of the current one; "" of the first one
)

sync_calls = Table(  # calls decided on, until they are in the event log
    "sync_calls",
    metadata,
    Column("message_id", String(128), primary_key=True),
    Column("destination", String(128), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)

sync_pauses = Table(
    "sync_pauses",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("since", Instant, nullable=False),
    Column("actor", Text, nullable=False),
)

engage_requests = Table(  # requests of App, API and command line to the process that leads Engage: previews
    "engage_requests",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("result", Text),
)

list_uploads = Table(  # files that were uploaded as the members of static lists
    "list_uploads",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("list_key", String(128), nullable=False),
    Column("status", String(16), nullable=False),  # staging, staged, active or ended
    Column("mode", String(16), nullable=False),  # replace or add; "" until it is saved
    Column("id_type", String(16), nullable=False),  # email or user_id
    Column("column_name", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("saved_at", Instant),
    Column("ended_at", Instant),  # its entries are deleted some time later
    Column("row_count", BigInteger, nullable=False),
    Column("entry_count", BigInteger, nullable=False),
    Column("duplicate_count", BigInteger, nullable=False),
    Column("invalid_count", BigInteger, nullable=False),
    Column("known_count", BigInteger, nullable=False),  # entries that led to a profile when they were read
    Column("without_email_count", BigInteger, nullable=False),
    Column("added_count", BigInteger, nullable=False),  # entries that the list did not have
    Column("removed_count", BigInteger, nullable=False),  # entries of the list that the file does not have
    Column("problems", Text, nullable=False),  # JSON: the first invalid rows, their lines and why
)
Index("ix_list_uploads_list_key", list_uploads.c.list_key)

list_entries = Table(  # an id of an uploaded file, once
    "list_entries",
    metadata,
    Column("upload_id", String(32), primary_key=True),
    Column("value", String(512), primary_key=True),
    Column("line", BigInteger, nullable=False),
)
Index("ix_list_entries_value", list_entries.c.value)  # for the deletion of a person

"""What is stored where and for how long: the reference page, from the tables of the store and the retention periods."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from punchcard.operations.retention import DATA_SETS
from punchcard.operations.sentences import count_noun

_EVER: Final = "for ever"
_CURRENT: Final = "while it is current"
_CONFIGURED: Final = "until it is removed from the configuration"


@dataclass(frozen=True, kw_only=True)
class StoredData:
    """A kind of data.

    Attributes:
        tables: Tables of the store.
        is_personal: True if it may name persons.
        retained: How long, unless `data_set` says it.
        data_set: Name of the data set with its retention period, "" for none.
        deletion: What the deletion of a person does with it, "" if it names nobody.
    """

    content: str
    tables: tuple[str, ...]
    is_personal: bool
    retained: str = ""
    data_set: str = ""
    deletion: str = ""


STORED: Final = (
    StoredData(
        content="Awards and calls to destinations: the ledger",
        tables=("effects", "effect_subjects"),
        is_personal=True,
        retained=f"{_EVER}; texts as `delivery_details`",
        deletion="the customer becomes a keyed hash; texts, payloads, and the hashes of its ids are cleared",
    ),
    StoredData(
        content="Attempts of delivery",
        tables=("delivery_attempts",),
        is_personal=True,
        retained=f"{_EVER}; texts as `delivery_details`",
        deletion="texts are cleared",
    ),
    StoredData(
        content="Conflicting events of awards",
        tables=("effect_conflicts",),
        is_personal=True,
        retained=_EVER,
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Violations of tracking plans, by event, field, kind and day",
        tables=("plan_violations",),
        is_personal=True,
        data_set="reports",
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Violations that wait to be forwarded",
        tables=("violation_events",),
        is_personal=True,
        retained="for some seconds",
        deletion="theirs are deleted",
    ),
    StoredData(
        content="Orders that earned nothing",
        tables=("refused_orders",),
        is_personal=False,
        data_set="reports",
    ),
    StoredData(
        content="Counts of results, awards, latencies and notes",
        tables=(
            "result_counts",
            "result_count_sums",
            "unsummed_hours",
            "award_totals",
            "delivery_latencies",
            "note_counts",
        ),
        is_personal=False,
        retained=f"{_EVER}, by hour and day; notes as `reports`",
    ),
    StoredData(
        content="Results of events that are not in the lake yet, and their log positions",
        tables=("result_batches", "log_positions", "log_binding", "lake_status", "recoveries"),
        is_personal=True,
        retained="results as `log_retention_hours`; positions while they are current",
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Held events: until their destination is usable again",
        tables=("held_events", "held_records"),
        is_personal=True,
        retained="the request until it is released; the result for ever",
        deletion="the person's events are removed",
    ),
    StoredData(
        content="Quarantined records",
        tables=("quarantined_records",),
        is_personal=True,
        retained="until they are processed",
        deletion="deleted",
    ),
    StoredData(
        content="Replays and what they have sent",
        tables=("replays", "replayed_events"),
        is_personal=True,
        retained=_EVER,
        deletion="the person's events are removed",
    ),
    StoredData(
        content="Rejected requests, the newest 50 of each source",
        tables=("rejected_requests",),
        is_personal=True,
        data_set="rejected_requests",
        deletion="deleted",
    ),
    StoredData(
        content="Profiles: external ids and traits",
        tables=("profiles", "external_ids", "profile_traits", "profile_merges", "profile_conflicts"),
        is_personal=True,
        data_set="profiles",
        deletion="deleted",
    ),
    StoredData(
        content="History of traits and memberships",
        tables=("profile_trait_changes",),
        is_personal=True,
        data_set="profile_history",
        deletion="deleted",
    ),
    StoredData(
        content="Syncs of audiences and traits",
        tables=("sync_queue", "synced", "sync_accounts", "sync_calls", "sync_pauses"),
        is_personal=True,
        retained=_CURRENT,
        deletion="deleted",
    ),
    StoredData(
        content="States and sizes of audiences and traits; requests to Engage",
        tables=("computation_states", "computation_sizes", "engage_requests"),
        is_personal=False,
        retained=_CONFIGURED,
    ),
    StoredData(
        content="Static lists: uploaded files and the ids in them",
        tables=("list_uploads", "list_entries"),
        is_personal=True,
        retained="until the audience is deleted or the file is replaced, and seven days longer",
        deletion="the person's ids are deleted",
    ),
    StoredData(
        content="Schemas of sources: names, types, and frequent values that do not look personal",
        tables=("schema_events", "schema_properties", "schema_event_days"),
        is_personal=False,
        retained="events and properties as `reports` since they were last sent; days for 100 days",
    ),
    StoredData(
        content="Regulations, suppressed subjects, and the key of their hashes",
        tables=("regulations", "regulation_subjects", "suppressed_subjects", "suppressed_records", "subject_keys"),
        is_personal=True,
        retained=f"{_EVER}; ids encrypted, and only until their deletion has finished",
        deletion="only keyed hashes stay",
    ),
    StoredData(
        content="Requests to delete a user that an earlier version has listed",
        tables=("deletion_requests",),
        is_personal=True,
        retained="until they become regulations",
        deletion="deleted",
    ),
    StoredData(
        content="Retention periods, and how far they were applied",
        tables=("retention_periods",),
        is_personal=False,
        retained=_EVER,
    ),
    StoredData(
        content="Classifications of properties and traits",
        tables=("property_classifications",),
        is_personal=False,
        retained=_EVER,
    ),
    StoredData(
        content="Alerts and their notices",
        tables=("alerts", "alert_notices"),
        is_personal=True,
        data_set="reports",
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Reconciliations",
        tables=("reconciliations", "reconciliation_transactions", "reconciliation_differences", "partner_customers"),
        is_personal=True,
        data_set="reports",
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Simulations",
        tables=("simulations",),
        is_personal=True,
        data_set="reports",
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Audit log",
        tables=("audit_events",),
        is_personal=True,
        data_set="audit_log",
        deletion="ids become `[deleted]`",
    ),
    StoredData(
        content="Configuration, secrets encrypted, and its versions",
        tables=(
            "configuration_documents",
            "configuration_versions",
            "configuration_version_parts",
            "config_file_status",
            "file_managed_parts",
            "revisions",
        ),
        is_personal=False,
        retained="the newest `configuration_versions_max` versions",
    ),
    StoredData(
        content="Pauses of destinations, and signs of life of processes",
        tables=("destination_pauses", "process_heartbeats", "partition_workers"),
        is_personal=False,
        retained=_CURRENT,
    ),
    StoredData(
        content="Operators, sessions, second factors, passkeys, invitations and tokens",
        tables=(
            "operators",
            "operator_sessions",
            "invitations",
            "password_resets",
            "second_factors",
            "recovery_codes",
            "passkeys",
            "used_challenges",
            "access_settings",
            "api_tokens",
            "sign_in_failures",
        ),
        is_personal=True,
        retained="until they are removed; sessions, invitations and resets until they expire",
        deletion="remains: operators are no customers",
    ),
)


def reference_page() -> str:
    """Return the reference as Markdown, for `docs/reference/stored-data.md`."""
    return "\n".join([*_periods(), "", *_tables()]) + "\n"


def _periods() -> Iterator[str]:
    yield "## Retention periods"
    yield ""
    yield "| data set | deleted after the period | kept | setting of the default | at least |"
    yield "|---|---|---|---|---|"
    for data_set in DATA_SETS:
        days = count_noun(data_set.days_min, "day")
        yield f"| `{data_set.name}` | {data_set.deleted} | {data_set.retained or '–'} | `{data_set.setting}` | {days} |"


def _tables() -> Iterator[str]:
    yield "## The database"
    yield ""
    yield "| data | tables | may name persons | kept | deletion of a person |"
    yield "|---|---|---|---|---|"
    for data in STORED:
        tables = ", ".join(f"`{table}`" for table in data.tables)
        retained = f"as `{data.data_set}`" if data.data_set else data.retained
        personal = "yes" if data.is_personal else "no"
        yield f"| {data.content} | {tables} | {personal} | {retained} | {data.deletion or '–'} |"

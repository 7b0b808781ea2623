"""What every reason code means and what to do about it: for the reference page, and for pages that show results."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.reasons import Action, Reason
from punchcard.destinations.reasons import reason as _reason

_MARKUP = re.compile(r"`([^`]*)`|\[([^\]]*)\]\([^)]*\)")


INGEST: Final = (
    _reason(
        "unknown_source",
        "no source has the write key of the request",
        "add the key to a source, or correct it at the sender; then send again",
        action=Action.SOURCE,
    ),
    _reason("source_disabled", "the source is disabled", "enable the source, then send again", action=Action.SOURCE),
    _reason(
        "unreadable_json",
        "it is not JSON, or JSON that cannot be read (nested too deeply, numbers out of range)",
        "correct the sender",
    ),
    _reason("event_not_object", "an item of a batch is not a JSON object", "correct the sender"),
    _reason(
        "empty_batch", "the request contains no events: `batch` is missing, empty or not a list", "correct the sender"
    ),
    _reason(
        "batch_too_many_events",
        "it is number 2,501 or later in a batch; the first 2,500 are accepted",
        "send smaller batches, and send the rest again",
    ),
    _reason("event_too_large", "it is larger than 32 KB", "send a smaller event"),
    _reason("unknown_type", "`type` is missing, not a text, or not one of the six calls", "correct the sender"),
    _reason("event_not_defined", "a track call without a name in `event`", "correct the sender"),
    _reason("event_not_string", "`event` is not a text", "correct the sender"),
    _reason("no_user_anon_id", "it has neither `userId` nor `anonymousId`", "send one of them"),
    _reason(
        "id_not_string",
        "`userId`, `anonymousId`, `groupId` or `previousId` is neither text nor a number, or `userId` is empty and "
        "there is no `anonymousId`",
        "correct the sender",
    ),
    _reason(
        "id_required", "a group call without `groupId`, or an alias call without `previousId`", "correct the sender"
    ),
    _reason(
        "message_id_not_string message_id_too_long",
        "`messageId` is neither text nor a number, or longer than 100 characters",
        "correct the sender",
    ),
    _reason("name_not_string category_not_string", "`name` or `category` is not a text", "correct the sender"),
    _reason(
        "properties_not_object traits_not_object context_not_object",
        "the member is not an object",
        "correct the sender",
    ),
    _reason(
        "consent_categorypreferences_should_exist consent_categorypreferences_fields_should_be_object "
        "consent_categorypreferences_fields_should_be_bool consent_version_should_be_number",
        "`context.consent` does not have the form of Segment's consent object",
        "correct the consent manager",
    ),
    _reason(
        "device_advertisingid_should_be_string", "`context.device.advertisingId` is not a text", "correct the sender"
    ),
    _reason(
        "unreadable_record",
        "the record in the event log is damaged: it cannot be unpacked, no longer contains a JSON object, or its "
        "columns are not what was written. It can be found by the message ids that are still readable, and is "
        "[stored](../how-to/operate.md#quarantined-records)",
        "find the cause (disk, other programs), then send its events again",
    ),
    _reason(
        "internal_error",
        "Punchcard failed on this event: a defect. If it failed at one destination, the event is `refused` there, else "
        "it is `failed_on_ingest`; the detail names the place in the code. The event is "
        "[stored](../how-to/operate.md#quarantined-records)",
        "report it; with a version that has the fix, send the event again (after `refused`: with a new message id)",
    ),
)
SOURCE: Final = (
    _reason(
        "no_destination",
        "no destination receives events of this source; the event is still stored in the lake",
        "add the source to a destination's `sources`",
        action=Action.SOURCE,
    ),
    _reason(
        "suppressed",
        "a person of the event is [suppressed](../how-to/delete-a-person.md#suppress-a-person); nothing that names the "
        "person was stored",
        "nothing. To accept the person's events again, create an UNSUPPRESS regulation, then send them again",
    ),
    _reason(
        "unplanned",
        "the [tracking plan](../how-to/start-a-tracking-plan.md) of the source does not have the event, and the source "
        "blocks unplanned events; the event is stored in the lake",
        "correct the sender, or add the event to the plan; then [replay](../how-to/replay-events.md) the event",
        action=Action.PROTOCOLS,
    ),
    _reason(
        "schema_violation common_schema_violation",
        "a value violates the [tracking plan](../how-to/start-a-tracking-plan.md) of the source (its rule for the "
        "event, or the rule of all events), and the source blocks such events; the detail names the value. The event "
        "is stored in the lake",
        "correct the sender, or the plan; then [replay](../how-to/replay-events.md) the event",
        action=Action.PROTOCOLS,
    ),
    _reason(
        "event_switched_off",
        "the event or call is switched off in the [schema of its source](../how-to/transform-events.md#switch-off)",
        "switch it on in the schema, then [replay](../how-to/replay-events.md) the event",
        action=Action.SCHEMA,
    ),
    _reason(
        "dropped_by_transformation",
        "a [transformation](../how-to/transform-events.md) drops it; the detail names it",
        "change or disable the transformation, then [replay](../how-to/replay-events.md) the event",
        action=Action.TRANSFORMATIONS,
    ),
    _reason(
        "transformation_failed",
        "a transformation makes an invalid event of it (too large, for example), or cannot read it; see the detail",
        "correct the transformation, then [replay](../how-to/replay-events.md) the event",
        action=Action.TRANSFORMATIONS,
    ),
    _reason(
        "property_control_failed",
        "a [control](../how-to/mask-a-property.md) of the destination makes an invalid event of it (too large, for "
        "example); see the detail",
        "correct the controls of the destination, then [replay](../how-to/replay-events.md) the event",
        action=Action.SETTINGS,
    ),
    _reason(
        "source_rules_unusable",
        "this version cannot use a stored transformation of its source; the detail names the cause",
        "correct or delete the transformation, then [replay](../how-to/replay-events.md) the event",
        action=Action.TRANSFORMATIONS,
    ),
)
WAITING: Final = (
    _reason(
        "not_routed_yet",
        "the event is durable and waits to be routed",
        "nothing. If it lasts, check that the worker is running",
    ),
    _reason(
        "destination_on_hold",
        "this version cannot use the stored configuration of the destination (settings, or a filter); the detail names "
        "the cause. The event is held",
        "correct the settings or the filter: the event is then planned automatically, in its order",
        action=Action.SETTINGS,
    ),
    _reason(
        "planning_failed",
        "filters or mapping failed on this event, which is a defect; the detail has the error. The event is held",
        "report it. The event is planned again when the configuration or the version of Punchcard changes",
    ),
    _reason(
        "behind_held_events",
        "earlier events of the destination are held and must be planned first; this one is planned after them",
        "nothing",
    ),
    _reason(
        "destination_paused",
        "an operator has [paused](../how-to/pause-a-destination.md) the destination; the detail says who, since when "
        "and why",
        "nothing, or resume the destination",
        action=Action.RESUME,
    ),
    _reason("retried", "an operator put it back into the queue", "nothing"),
    _reason(
        "not_in_ledger",
        "the event was planned, but the database was then restored from an older copy, and the current configuration "
        "does not plan it again; the log line `lost_effect_not_planned` names the cause",
        "check at the destination whether it was delivered; see [restore](../how-to/operate.md#restore)",
    ),
)
OFF: Final = (
    _reason(
        "destination_off",
        "the destination was off when the event was received",
        "switch it on, then [replay](../how-to/replay-events.md) the events",
        action=Action.RESUME,
    ),
)
DESTINATION: Final = (
    _reason(
        "FILTERED_BY_END_USER_CONSENT",
        "the event states consent (`context.consent`), but not to every category in `consent` of the destination",
        "nothing: the customer decides",
    ),
    _reason(
        "FILTERED_BY_INTEGRATIONS_OBJECT",
        "the event's `integrations` object excludes this destination",
        "nothing, or correct the sender",
    ),
    _reason(
        "FILTERED_BY_RULES",
        "a [destination filter](filters.md) drops the event, or cannot evaluate it; the detail names the filter",
        "nothing, or correct the filter",
        action=Action.FILTERS,
    ),
    _reason(
        "unsupported_event_type",
        "the destination does not support calls of this type, or its settings exclude them",
        "nothing",
    ),
    _reason(
        "INVALID_SETTINGS",
        "the settings sent with the event (partner endpoint) cannot be used; the detail names the cause",
        "correct the settings at the sender",
    ),
)
REFUSED: Final = (_reason("unreadable_value", "a required member contains malformed JSON", "correct the sender"),)
REPEATED: Final = (
    _reason("duplicate_message_id", "an event with this message id was received before", "nothing"),
    _reason(
        "same_effect",
        "another event with the same effect key and content was received before, such as the same order",
        "nothing: it was awarded once; the trace shows the effect key",
    ),
    _reason(
        "same_key_other_content",
        "the same order or refund was received again with another amount or customer; the first one counts",
        "find out at the source which one is correct, and [resolve the conflict](../how-to/resolve-a-conflict.md)",
        action=Action.RESOLVE_CONFLICT,
    ),
)
RETRYING: Final = (
    _reason("partner_unavailable", "the destination cannot process the request now (503, for instance)", "nothing"),
    _reason(
        "unreadable_response",
        "the destination's response cannot be read: empty, truncated, an HTML page, or in an unexpected form",
        "nothing; if it lasts, check the address of the destination",
    ),
    _reason(
        "redirected",
        "the API address redirects to another address; redirects are not followed",
        "if it lasts, correct the address",
        action=Action.SETTINGS,
    ),
    _reason(
        "rate_limited",
        "the destination limits the rate of requests; the attempt is not counted",
        "nothing, or lower `requestsPerSecond`",
    ),
    _reason(
        "unreachable",
        "no connection to the destination: name, network or port",
        "nothing; if it lasts, check its address and the network",
    ),
    _reason("connection_failed", "the connection broke before anything was sent, or while reading", "nothing"),
    _reason("timeout", "no response in time to a request that changes nothing, or no time left to send", "nothing"),
    _reason(
        "late", "the process was suspended with the award; nothing was sent, and the attempt is not counted", "nothing"
    ),
    _reason(
        "not_sent",
        "log or database could not be written before the request; nothing was sent, and the attempt is not counted",
        "free disk space, or restore the connection to the database",
    ),
    _reason(
        "not_performed",
        "the response was lost and the destination has nothing with the key: it is sent again with the same key",
        "nothing",
    ),
    _reason(
        "credentials_refused",
        "the destination does not accept the credentials: it is paused, and everything stays queued. Punchcard checks "
        "the credentials at growing intervals and resumes automatically",
        "nothing for some minutes; if it lasts, enter new credentials in the settings",
        action=Action.SETTINGS,
    ),
)
UNKNOWN: Final = (
    _reason(
        "outcome_unknown",
        "the request was sent, but its response is lost, cannot be read, or leaves open whether it was performed",
        "nothing: it is read back, or sent again if the destination cannot be read. If parked, look there, "
        "in the account that its detail names, then [say](../how-to/resolve-an-award-in-doubt.md) what you saw there",
        action=Action.RETRY,
    ),
    _reason(
        "store_restored",
        "the database was restored from an older copy, so it may have been delivered already",
        "nothing: it is read back, and sent if it was not; see [restore](../how-to/operate.md#restore)",
    ),
    _reason(
        "sent_again",
        "an operator put it back in the queue after a [reconciliation](../how-to/reconcile.md)",
        "nothing: it is read back, and sent only if it is absent",
    ),
    _reason("worker_stopped", "the worker stopped while the request was in flight", "nothing: it is read back"),
    _reason(
        "duplicate_key",
        "the destination reports that the key is already used",
        "nothing: it is read back. If parked, look at the destination, then run `punchcard resolve MESSAGE_ID`",
        action=Action.RETRY,
    ),
)
PERSON: Final = (
    _reason(
        "subject_deleted",
        "the customer was [deleted](../how-to/delete-a-person.md) before it was sent, or while it needed attention",
        "nothing: Punchcard does not know the customer any more",
    ),
    _reason(
        "subject_suppressed",
        "the customer was [suppressed](../how-to/delete-a-person.md#suppress-a-person) before it was sent",
        "nothing; once the customer is not suppressed any more, run `punchcard retry --reason subject_suppressed`",
        action=Action.RETRY,
    ),
    _reason(
        "dismissed",
        "an operator dismissed it, so it is not sent; the detail names the operator",
        "nothing; to undo it, run `punchcard retry --reason dismissed`",
        action=Action.RETRY,
    ),
    _reason(
        "dismissed_in_doubt",
        "an operator dismissed it while it was unknown whether it was performed",
        "nothing; a retry reads back first, and `punchcard resolve MESSAGE_ID` records what you saw there",
    ),
    _reason(
        "superseded",
        "it was not sent, and an operator [chose](../how-to/resolve-a-conflict.md) another content of the same order",
        "nothing: the other content was given in full",
    ),
    _reason(
        "nothing_to_correct",
        "a correction had nothing to send: the customer has what the chosen content gives",
        "nothing",
    ),
    _reason(
        "absent_at_partner",
        "it was delivered, a [reconciliation](../how-to/reconcile.md) found that it is absent now, and an operator "
        "accepted that",
        "nothing; a retry reads back first",
    ),
    _reason(
        "reversed_at_partner",
        "it was delivered, a [reconciliation](../how-to/reconcile.md) found it reversed, and an operator accepted that",
        "nothing",
    ),
    _reason(
        "preparation_failed",
        "a defect of Punchcard or a damaged row of the ledger affected this award before anything was sent; the detail "
        "and the log have the cause. Other awards are not affected",
        "report it, then retry",
        action=Action.RETRY,
    ),
    _reason(
        "rejected",
        "the destination refused it; the detail has its response",
        "correct what the response names, then retry",
    ),
)

_ALL: Final = (*INGEST, *SOURCE, *WAITING, *OFF, *DESTINATION, *REFUSED, *REPEATED, *RETRYING, *UNKNOWN, *PERSON)
REASONS: Final[Mapping[str, Reason]] = MappingProxyType({code: reason for reason in _ALL for code in reason.codes})
"""The reasons that the core gives, by their code."""


def find_reason(code: str | None) -> Reason | None:
    """Return the reason of a code, of the core or of a destination that has been loaded; None if nobody knows it."""
    if code is None or code in REASONS:
        return REASONS.get(code or "")
    reasons = (reason for partner in CATALOG.loaded() for reason in partner.definition.reasons)
    return next((reason for reason in reasons if code in reason.codes), None)


def remedy_of(code: str | None) -> str:
    """Return what to do about a reason as plain text, "" if nothing has to be done or the code is not known."""
    reason = find_reason(code)
    return "" if reason is None or reason.do.startswith("nothing") else plain(reason.do)


def plain(text: str) -> str:
    """A text without its marks."""
    return _MARKUP.sub(lambda match: match.group(1) or match.group(2), text)


def table(reasons: Sequence[Reason]) -> str:
    """The reasons as a table in Markdown."""
    return "\n".join(_lines(reasons)) + "\n"


def _lines(reasons: Iterable[Reason]) -> Iterable[str]:
    yield "| reason | meaning | what to do |"
    yield "|---|---|---|"
    for reason in reasons:
        codes = ", ".join(f"`{code}`" for code in reason.codes)
        yield f"| {codes} | {reason.means} | {reason.do} |"

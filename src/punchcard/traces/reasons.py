"""What every reason code means and what to do about it: for the reference page, and for pages that show results."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.reasons import Reason
from punchcard.destinations.reasons import reason as _reason

_MARKUP = re.compile(r"`([^`]*)`|\[([^\]]*)\]\([^)]*\)")


INGEST: Final = (
    _reason(
        "unknown_source",
        "no source has the write key that the request came with",
        "add the key to a source, or correct it at the sender; then send again",
    ),
    _reason("source_disabled", "the source is switched off", "`enabled = true` at the source; then send again"),
    _reason(
        "unreadable_json",
        "it is no JSON, or JSON that nothing can read (too deep, numbers beyond all bounds)",
        "correct the sender",
    ),
    _reason("event_not_object", "an item of a batch is no JSON object", "correct the sender"),
    _reason("empty_batch", "the request holds no events: `batch` is missing, empty or no list", "correct the sender"),
    _reason(
        "batch_too_many_events",
        "it is number 2,501 or later of one batch; the 2,500 before it are taken",
        "smaller batches; send the rest again",
    ),
    _reason("event_too_large", "it has more than 32 KB", "send less in it"),
    _reason("unknown_type", "`type` is missing, no text, or none of the six calls", "correct the sender"),
    _reason("event_not_defined", "a track call without a name in `event`", "correct the sender"),
    _reason("event_not_string", "`event` is no text", "correct the sender"),
    _reason("no_user_anon_id", "neither `userId` nor `anonymousId`", "send one of them"),
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
    _reason("name_not_string category_not_string", "`name` or `category` is no text", "correct the sender"),
    _reason(
        "properties_not_object traits_not_object context_not_object", "that member is no object", "correct the sender"
    ),
    _reason(
        "consent_categorypreferences_should_exist consent_categorypreferences_fields_should_be_object "
        "consent_categorypreferences_fields_should_be_bool consent_version_should_be_number",
        "`context.consent` is not as Segment's consent object must be",
        "correct the consent manager",
    ),
    _reason("device_advertisingid_should_be_string", "`context.device.advertisingId` is no text", "correct the sender"),
    _reason(
        "unreadable_record",
        "the record in the event log is damaged: it cannot be unpacked, holds no JSON object any more, or its columns "
        "are not what was written. It is found by the message ids that can be made out of it, and is "
        "[kept](../how-to/operate.md#quarantined-records)",
        "look for the cause (disk, other programs); send its events again",
    ),
    _reason(
        "internal_error",
        "Punchcard failed on this event alone: a defect. At one destination it is `refused` there, else it is "
        "`failed_on_ingest`; the sentence names the place in the code. The event is "
        "[kept](../how-to/operate.md#quarantined-records)",
        "report it; with a version that has the fix, send the event again (after `refused`: with a new message id)",
    ),
)
SOURCE: Final = (
    _reason(
        "no_destination",
        "no destination takes events of this source; the event is kept in the lake all the same",
        "put the source into a destination's `sources`",
    ),
)
WAITING: Final = (
    _reason(
        "not_routed_yet",
        "the event is durable, and its turn has not come",
        "nothing: a moment. If it lasts, see that the worker runs",
    ),
    _reason(
        "destination_on_hold",
        "this version cannot use the destination as it is stored (settings, or a filter); the sentence says why. The "
        "event is held",
        "correct the settings or the filter: the event is then planned by itself, in its order",
    ),
    _reason(
        "planning_failed",
        "filters or mapping failed on this event, which is a defect; the sentence says how. The event is held",
        "report it. The event is planned again when the configuration or the version of Punchcard changes",
    ),
    _reason(
        "behind_held_events",
        "earlier events of the destination are held and planned first; this one is planned after them",
        "nothing: a moment",
    ),
    _reason("retried", "a person has put it back in the queue", "nothing"),
    _reason(
        "not_in_ledger",
        "the event was planned, but the database has since been restored from an older copy, and today's configuration "
        "does not plan it again; the log line `lost_effect_not_planned` says why",
        "see at the destination whether it was delivered; see [restore](../how-to/operate.md#restore)",
    ),
)
DESTINATION: Final = (
    _reason("destination_disabled", "the destination is switched off", "`enabled = true`, if it should get events"),
    _reason(
        "FILTERED_BY_END_USER_CONSENT",
        "the event states consent (`context.consent`), and not to every category of `consent` of the destination",
        "nothing: the customer decides",
    ),
    _reason(
        "FILTERED_BY_INTEGRATIONS_OBJECT",
        "the event's `integrations` object keeps it from this destination",
        "nothing, or correct the sender",
    ),
    _reason(
        "FILTERED_BY_RULES",
        "a [destination filter](filters.md) drops the event, or cannot judge it; the sentence names the filter",
        "nothing, or correct the filter",
    ),
    _reason(
        "unsupported_event_type",
        "the destination takes no calls of this type, or its settings leave them out",
        "nothing",
    ),
    _reason(
        "INVALID_SETTINGS",
        "the settings that came with the event (partner endpoint) cannot be used; the sentence says why",
        "correct the settings at the sender",
    ),
)
REFUSED: Final = (
    _reason("unreadable_value", "a member that matters is JSON by its outside only", "correct the sender"),
)
REPEATED: Final = (
    _reason("duplicate_message_id", "an event with this message id was received before", "nothing"),
    _reason(
        "same_effect",
        "another event with the same effect key and content was there before: the same order, say",
        "nothing: it was awarded once; the trace names the effect key",
    ),
    _reason(
        "same_key_other_content",
        "the same order or refund came again with another amount or customer; the first one stands",
        "find out at the source which one is right",
    ),
)
RETRYING: Final = (
    _reason("partner_unavailable", "the destination answers that it cannot do it now (503, say)", "nothing"),
    _reason(
        "unreadable_response",
        "the destination's response cannot be read: empty, cut off, a page, or not of the expected form",
        "nothing; if it lasts, see that its address leads to it",
    ),
    _reason(
        "redirected",
        "the API address leads elsewhere; redirects are not followed",
        "correct the address, if it lasts",
    ),
    _reason(
        "rate_limited",
        "the destination asks for fewer requests; no try is counted",
        "nothing, or a lower `requestsPerSecond`",
    ),
    _reason(
        "unreachable",
        "no connection to the destination: name, network or port",
        "nothing; if it lasts, check its address and the network",
    ),
    _reason("connection_failed", "the connection broke before anything was sent, or while reading", "nothing"),
    _reason("timeout", "no answer in time to a request that changes nothing, or no time was left to send", "nothing"),
    _reason("late", "this process stood still after it had claimed the award; nothing was sent", "nothing"),
    _reason(
        "not_sent",
        "log or database could not be written before the request left; nothing was sent",
        "free disk space, or bring the database back",
    ),
    _reason(
        "not_performed",
        "the response was lost and the destination has nothing under the key: it is sent again with the same key",
        "nothing",
    ),
    _reason(
        "credentials_refused",
        "the destination does not accept the credentials: it is paused, everything stays queued. Punchcard checks at "
        "growing intervals whether it is accepted again, and resumes by itself",
        "nothing, if it lasts for minutes; else enter new ones in the settings",
    ),
)
UNKNOWN: Final = (
    _reason(
        "outcome_unknown",
        "the request was sent, and its response is lost, cannot be read, or says that it may have happened",
        "nothing: it is read back, or sent again where the destination cannot be asked. Parked: look there first",
    ),
    _reason(
        "store_restored",
        "the database was restored from an older copy, so it may have been delivered since",
        "nothing: it is read back, and sent if it was not; see [restore](../how-to/operate.md#restore)",
    ),
    _reason(
        "sent_again",
        "somebody has put it back in the queue after a [reconciliation](../how-to/reconcile.md)",
        "nothing: it is read back, and sent if it is not there",
    ),
    _reason("worker_stopped", "the worker stopped while the request was on its way", "nothing: it is read back"),
    _reason(
        "duplicate_key",
        "the destination says that the key is used already",
        "nothing: it is read back. Parked if the destination then shows nothing with it: ask there",
    ),
)
PERSON: Final = (
    _reason(
        "dismissed",
        "somebody has put it aside: it is not sent; the sentence says who",
        "nothing; `punchcard retry --reason dismissed`, if that was wrong",
    ),
    _reason(
        "dismissed_in_doubt",
        "somebody has put it aside while it was not known whether it was performed",
        "nothing; retried, it is read back first",
    ),
    _reason(
        "absent_at_partner",
        "a [reconciliation](../how-to/reconcile.md) did not find it any more though it was delivered, and somebody has "
        "accepted that",
        "nothing; retried, it is read back first",
    ),
    _reason(
        "reversed_at_partner",
        "a [reconciliation](../how-to/reconcile.md) found that it was taken back, and somebody has accepted that",
        "nothing",
    ),
    _reason(
        "preparation_failed",
        "a defect of Punchcard or a damaged row of the ledger met this award before anything was sent; its detail and "
        "the log have the cause. Other awards are not held up",
        "report it, then retry",
    ),
    _reason("rejected", "the destination said no; its response is in the detail", "as its response says"),
)

_ALL: Final = (*INGEST, *SOURCE, *WAITING, *DESTINATION, *REFUSED, *REPEATED, *RETRYING, *UNKNOWN, *PERSON)
REASONS: Final[Mapping[str, Reason]] = MappingProxyType({code: reason for reason in _ALL for code in reason.codes})
"""The reasons that the core gives, by their code."""


def find_reason(code: str | None) -> Reason | None:
    """Return the reason of a code, of the core or of a destination that has been loaded; None if nobody knows it."""
    if code is None or code in REASONS:
        return REASONS.get(code or "")
    reasons = (reason for partner in CATALOG.loaded() for reason in partner.definition.reasons)
    return next((reason for reason in reasons if code in reason.codes), None)


def plain(text: str) -> str:
    """A text without its marks."""
    return _MARKUP.sub(lambda found: found.group(1) or found.group(2), text)


def table(reasons: Sequence[Reason]) -> str:
    """The reasons as a table in Markdown."""
    return "\n".join(_lines(reasons)) + "\n"


def _lines(reasons: Iterable[Reason]) -> Iterable[str]:
    yield "| reason | means | do |"
    yield "|---|---|---|"
    for reason in reasons:
        codes = ", ".join(f"`{code}`" for code in reason.codes)
        yield f"| {codes} | {reason.means} | {reason.do} |"

"""What an alert says to people: on Home, in notices, in the Public API and on the command line alike."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from punchcard.errors import UnreadableRecordError
from punchcard.lake.damage import REPAIR_COMMAND
from punchcard.lake.object_store_errors import OBJECT_STORE_MESSAGE_BEGIN
from punchcard.operations.alert_model import Alert, AlertText
from punchcard.operations.sentences import as_sentence, count_noun
from punchcard.store.delivery.pauses import PAUSED_BY_OPERATOR
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.reasons import find_reason, plain, remedy_of
from punchcard.workspace.alert_rules import AlertKind

_WEEK: Final = "in the last seven days"


def describe_alert(alert: Alert, *, zone: ZoneInfo) -> AlertText:
    """Return what an alert says; times are in the workspace's time zone."""
    return _WRITERS[alert.kind](alert, zone)


def format_moment(instant: datetime | None, zone: ZoneInfo) -> str:
    """Return an instant as text in a time zone."""
    return "an unknown time" if instant is None else f"{instant.astimezone(zone):%b %-d, %Y, %H:%M %Z}"


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _meaning(code: str) -> str:
    reason = find_reason(code)
    return as_sentence(plain(reason.means) if reason is not None else code)


def _measure(code: str, otherwise: str) -> str:
    return as_sentence(remedy_of(code)) or otherwise


def _base(alert: Alert) -> str:
    return f"/destinations/{alert.destination}"


def _paused(alert: Alert, zone: ZoneInfo) -> AlertText:
    if alert.reason == PAUSED_BY_OPERATOR:
        actor = f", by {alert.actor}" if alert.actor else ""
        until = f"Deliveries resume {format_moment(alert.until, zone)}." if alert.until else ""
        return AlertText(
            title=f"{alert.subject} is paused since {format_moment(alert.since, zone)}{actor}.",
            detail=_join(as_sentence(alert.detail), "Awards stay queued.", until),
            remedy="Resume it, or acknowledge this alert.",
            path=_base(alert),
        )
    check = f"Next check: {format_moment(alert.next_check_at, zone)}." if alert.next_check_at else ""
    return AlertText(
        title=f"{alert.subject} is paused.",
        detail=_join(
            f"Its credentials have been refused since {format_moment(alert.since, zone)}.",
            as_sentence(alert.detail),
            "Awards stay queued.",
            check,
        ),
        remedy="Enter valid credentials in the settings of the destination. Deliveries resume automatically.",
        path=f"{_base(alert)}/settings",
    )


def _off(alert: Alert, zone: ZoneInfo) -> AlertText:
    since = f" since {format_moment(alert.since, zone)}" if alert.since else ""
    actor = f", by {alert.actor}" if alert.actor else ""
    recorded = f"{count_noun(alert.count, 'event was', 'events were')} recorded {_WEEK}." if alert.count else ""
    return AlertText(
        title=f"{alert.subject} is off{since}{actor}.",
        detail=_join(as_sentence(alert.detail), recorded, "Its events are recorded only, and can be replayed."),
        remedy="Switch it on, or acknowledge this alert.",
        path=_base(alert),
    )


def _resumed(alert: Alert, zone: ZoneInfo) -> AlertText:
    begin, end = format_moment(alert.since, zone), format_moment(alert.until, zone)
    return AlertText(
        title=f"{alert.subject} delivers again.",
        detail=_join(
            f"Its credentials were refused from {begin} to {end}.", as_sentence(alert.detail), "No award was lost."
        ),
        path=_base(alert),
    )


def _invalid(alert: Alert, zone: ZoneInfo) -> AlertText:
    held = ""
    if alert.count:
        events = count_noun(alert.count, "event is", "events are")
        held = f"{events} held and {'is' if alert.count == 1 else 'are'} processed once this is corrected."
    if not alert.destination:
        path = "/sources" if alert.reason == "source" else "/destinations"
    else:
        path = f"{_base(alert)}/{'filters' if alert.detail.startswith('filter ') else 'settings'}"
    return AlertText(
        title=f"{alert.subject_name} cannot be used.",
        detail=_join(as_sentence(alert.detail), held),
        remedy="Correct it in the App or in the config file.",
        path=path,
    )


def _held(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{count_noun(alert.count, 'event is', 'events are')} held for {alert.subject}.",
        detail=_join(f"The oldest was received {format_moment(alert.since, zone)}.", as_sentence(alert.detail)),
        remedy="Correct what the message names. Held events are then processed in their order.",
        path=_base(alert) if alert.destination else "/destinations",
    )


def _parked(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{count_noun(alert.count, 'award waits', 'awards wait')} for you at {alert.subject}.",
        detail=_meaning(alert.reason) if alert.reason else "",
        remedy=_measure(alert.reason, "Retry or dismiss them."),
        path=f"{_base(alert)}/transactions?state=parked" + (f"&reason={quote(alert.reason)}" if alert.reason else ""),
    )


def _rejected(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{count_noun(alert.count, 'award was', 'awards were')} rejected by {alert.subject} {_WEEK}.",
        detail=_meaning(alert.reason) if alert.reason else "",
        remedy=_measure(alert.reason, "Correct what was refused, then retry or dismiss them."),
        path=f"{_base(alert)}/transactions?state=rejected" + (f"&reason={quote(alert.reason)}" if alert.reason else ""),
    )


def _conflict(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{count_noun(alert.count, 'event conflicts', 'events conflict')} with what {alert.subject} was sent.",
        detail="The same order or refund was received again with other content; the first one counts until you decide.",
        remedy="Compare both contents, and keep the first or correct to the second.",
        path=f"{_base(alert)}/conflicts",
    )


def _unreachable(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{alert.subject} does not respond.",
        detail=_join(
            f"Nothing was delivered since {format_moment(alert.since, zone)}.",
            as_sentence(alert.detail),
            f"{count_noun(alert.count, 'award is', 'awards are')} retried. No award is lost.",
        ),
        remedy="Awards are retried by themselves. Check the partner's status page and the network of this machine.",
        path=_base(alert),
    )


def _hung(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{count_noun(alert.count, 'attempt', 'attempts')} to deliver to {alert.subject} never ended.",
        detail=f"The first should have ended by {format_moment(alert.since, zone)}. Awards of its customer wait.",
        remedy="Restart the worker. It looks the awards up at the partner, and sends again what is absent.",
        path=f"{_base(alert)}/transactions?state=pending",
    )


def _queue_age(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"The oldest award for {alert.subject} has waited since {format_moment(alert.since, zone)}.",
        detail=f"{count_noun(alert.count, 'award is', 'awards are')} queued.",
        remedy="See whether the partner responds, and whether the rate limit of the destination is too low.",
        path=f"{_base(alert)}/transactions",
    )


def _success_rate(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"Only {alert.value:.1f} % of the awards for {alert.subject} were delivered in the last 24 hours.",
        detail=f"{count_noun(alert.count, 'award was', 'awards were')} rejected or parked.",
        remedy="See for which reasons.",
        path=_base(alert),
    )


def _source_silent(alert: Alert, zone: ZoneInfo) -> AlertText:
    hours = round(alert.value)
    return AlertText(
        title=f"{alert.subject_name} has sent nothing since {format_moment(alert.since, zone)}.",
        detail=f"On the last seven days it sent {count_noun(alert.count, 'event')} "
        + ("in the same hour" if hours == 1 else f"in the same {hours} hours")
        + " on average.",
        remedy="See whether the sender runs, and whether its requests are rejected.",
        path=f"/sources/{alert.subject}",
    )


def _volume(alert: Alert, zone: ZoneInfo) -> AlertText:
    source = ", ".join(alert.sources) or "its source"
    return AlertText(
        title=f"“{alert.subject}” was received {count_noun(alert.count, 'time')} in the last 24 hours.",
        detail=f"Usually {source} sends it {count_noun(round(alert.value), 'time')} a day.",
        remedy="See whether the sender was changed.",
        path=f"/events?time=24h&source={quote(alert.reason)}&name={quote(alert.subject)}",
    )


def _unmapped(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"“{alert.subject}” was received {count_noun(alert.count, 'time')} {_WEEK} and earned nothing.",
        detail=f"Nothing is mapped to it at {alert.destination_name or alert.destination}.",
        remedy="Map the event, or acknowledge this alert if it is to earn nothing.",
        path=f"{_base(alert)}/map",
    )


def _ledger(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"The ledger and {alert.subject} differ: {count_noun(alert.count, 'difference')}.",
        detail=_join(f"This was found {format_moment(alert.since, zone)}.", as_sentence(alert.detail)),
        remedy="See each difference, and send again, accept or dismiss it.",
        path=f"{_base(alert)}/reconciliations",
    )


def _computation(alert: Alert, zone: ZoneInfo) -> AlertText:
    path = f"/audiences/{quote(alert.subject)}"
    if alert.count:
        return AlertText(
            title=f"{alert.subject_name} had wrong values.",
            detail=f"Checks have corrected {count_noun(alert.count, 'value')}.",
            remedy="Please report it with its definition.",
            path=path,
        )
    return AlertText(
        title=f"{alert.subject_name} cannot be computed.",
        detail=as_sentence(alert.detail),
        remedy="Correct its definition.",
        path=path,
    )


def _sync(alert: Alert, zone: ZoneInfo) -> AlertText:
    values, destination = count_noun(alert.count, "value"), alert.destination_name or alert.destination
    return AlertText(
        title=f"{values} of {alert.subject_name} {'is' if alert.count == 1 else 'are'} not at {destination}.",
        detail=as_sentence(alert.detail) or _meaning(alert.reason),
        remedy=_measure(alert.reason, "Correct what the message names, then resync."),
        path=f"/audiences/{quote(alert.subject)}",
    )


def _rename(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{alert.subject} waits for a confirmation.",
        detail=_join(as_sentence(" ".join(alert.detail.splitlines())), "The configuration before it stays."),
        remedy="Give each renamed audience or computed trait its key in the file, or run `punchcard apply` on it.",
        path="/audiences",
    )


def _config_file(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{alert.subject} is not valid.",
        detail=_join(as_sentence("; ".join(alert.detail.splitlines())), "The configuration before it stays."),
        remedy="Correct the file. It is read again as soon as it changes.",
        path="/settings",
    )


def _quarantined(alert: Alert, zone: ZoneInfo) -> AlertText:
    is_one = alert.count == 1
    if alert.reason == UnreadableRecordError.code:
        path = f"/events?time=7d&status={EventStatus.FAILED_ON_INGEST}&reason={alert.reason}"
        return AlertText(
            title=f"{count_noun(alert.count, 'record')} could not be read {_WEEK}.",
            detail=f"All others were processed. The raw {'record is' if is_one else 'records are'} kept.",
            remedy="See what was sent.",
            path=path,
        )
    return AlertText(
        title=f"{count_noun(alert.count, 'event')} could not be processed {_WEEK}.",
        detail=f"This is a defect in Punchcard. The raw {'event is' if is_one else 'events are'} kept.",
        remedy="Please report it.",
        path=f"/events?time=7d&status={EventStatus.REFUSED}&reason={alert.reason}",
    )


def _lake(alert: Alert, zone: ZoneInfo) -> AlertText:
    is_away = alert.detail.startswith(OBJECT_STORE_MESSAGE_BEGIN)
    retries = "Requests are repeated until they succeed." if is_away else ""
    return AlertText(
        title=f"The data lake cannot be used since {format_moment(alert.since, zone)}.",
        detail=_join("Awards continue without it.", as_sentence(alert.detail), retries),
        remedy="" if is_away or REPAIR_COMMAND in alert.detail else f"Run `{REPAIR_COMMAND}` to repair it.",
    )


def _lake_loss(alert: Alert, zone: ZoneInfo) -> AlertText:
    begin = f", received from {format_moment(alert.since, zone)} on" if alert.since else ""
    return AlertText(
        title=f"{count_noun(alert.count, 'event was', 'events were')} lost from the data lake{begin}.",
        detail="Awards are not affected.",
    )


def _restored(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title="The database was restored from an older copy.",
        detail=_join(f"This was noticed {format_moment(alert.since, zone)}.", as_sentence(alert.detail)),
        path="/events?time=7d",
    )


def _unknown_source(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"{count_noun(alert.count, 'event was', 'events were')} received with an unknown write key {_WEEK}.",
        remedy="Add a source with this write key, or correct the sender.",
        path="/sources",
    )


def _disk(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"The disk of {alert.subject} is nearly full.",
        detail=_join(
            f"{alert.value:.1f} % of {alert.reason or 'the disk'} is free.",
            "When it is full, no event can be taken.",
        ),
        remedy="Make room, or keep less: see log_retention_hours and lake_retention_days.",
    )


def _worker(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title="No worker is running.",
        detail=f"The last one reported {format_moment(alert.since, zone)}. Events wait; no award is sent.",
        remedy="Start `punchcard worker`, and see its log for why it has ended. If its process lives still, its loop "
        "stands still: restart it.",
    )


def _engage(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title="Engage is not running.",
        detail=f"It reported last {format_moment(alert.since, zone)}. Audiences and computed traits are not updated.",
        remedy="See the log of the worker, which starts it. If its process lives still, its loop stands still: end it.",
    )


def _certificate(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"The TLS certificate of {alert.subject} expires {format_moment(alert.until, zone)}.",
        detail="Senders and browsers refuse connections from then on.",
        remedy="Renew it. New files are taken up without a restart.",
    )


def _personal_data(alert: Alert, zone: ZoneInfo) -> AlertText:
    sources = f"Sent by {', '.join(alert.sources)}." if alert.sources else ""
    return AlertText(
        title=f"Values of {alert.subject} look like {alert.reason or 'personal data'}.",
        detail=_join(sources, f"First seen {format_moment(alert.since, zone)}."),
        remedy="Drop or mask it at its sources. If the values are harmless, classify it.",
        path=f"/privacy/inventory/property?name={quote(alert.subject, safe='')}",
    )


def _channel(alert: Alert, zone: ZoneInfo) -> AlertText:
    return AlertText(
        title=f"The alert channel {alert.subject} does not take notices.",
        detail=_join(
            as_sentence(alert.detail),
            f"{count_noun(alert.count, 'notice waits', 'notices wait')} since {format_moment(alert.since, zone)}.",
        ),
        remedy="Correct its URL and send a test. Notices are retried by themselves.",
        path="/alerts/channels",
    )


_WRITERS: Final[Mapping[AlertKind, Callable[[Alert, ZoneInfo], AlertText]]] = MappingProxyType(
    {
        AlertKind.PAUSED: _paused,
        AlertKind.OFF: _off,
        AlertKind.RESUMED: _resumed,
        AlertKind.INVALID: _invalid,
        AlertKind.HELD: _held,
        AlertKind.PARKED: _parked,
        AlertKind.REJECTED: _rejected,
        AlertKind.CONFLICT: _conflict,
        AlertKind.UNREACHABLE: _unreachable,
        AlertKind.HUNG: _hung,
        AlertKind.QUEUE_AGE: _queue_age,
        AlertKind.SUCCESS_RATE: _success_rate,
        AlertKind.SOURCE_SILENT: _source_silent,
        AlertKind.VOLUME: _volume,
        AlertKind.UNMAPPED: _unmapped,
        AlertKind.LEDGER: _ledger,
        AlertKind.COMPUTATION: _computation,
        AlertKind.SYNC: _sync,
        AlertKind.RENAME: _rename,
        AlertKind.CONFIG_FILE: _config_file,
        AlertKind.QUARANTINED: _quarantined,
        AlertKind.LAKE: _lake,
        AlertKind.LAKE_LOSS: _lake_loss,
        AlertKind.RESTORED: _restored,
        AlertKind.UNKNOWN_SOURCE: _unknown_source,
        AlertKind.DISK: _disk,
        AlertKind.WORKER: _worker,
        AlertKind.ENGAGE: _engage,
        AlertKind.CERTIFICATE: _certificate,
        AlertKind.PERSONAL_DATA: _personal_data,
        AlertKind.CHANNEL: _channel,
    }
)

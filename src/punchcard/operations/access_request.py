"""Everything that Punchcard stores about a person: for an access request, as JSON and as a page to read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from math import isfinite
from typing import Any, Final, overload

from punchcard.clock import Clock, to_iso
from punchcard.errors import ConfigurationError
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeEvent, LakeReader
from punchcard.lake.subject_events import SubjectEvent, subject_event
from punchcard.operations.ledger_subjects import find_subject_effects
from punchcard.operations.subject_identity import resolve_subjects
from punchcard.profiles.erasure import ErasedIds
from punchcard.store.access.erasure import audit_events_about
from punchcard.store.delivery.erasure import effects_about
from punchcard.store.engage.erasure import profile_data
from punchcard.store.engine import Store
from punchcard.store.ingest.erasure import requests_about
from punchcard.store.operations.erasure import reports_about
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.suppressions import active_of
from punchcard.traces.event_matching import record_may_hold
from punchcard.traces.tail import Tail
from punchcard.workspace.subject_vault import SubjectVault

_EVENTS_PER_PAGE: Final = 1_000
_PIECE_CHARACTERS: Final = 64 * 1024
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;color:#1d273b}"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}"
    "th,td{border-top:1px solid #dce1e7;padding:.3rem .5rem;text-align:left;vertical-align:top}"
    "th{font-weight:600;width:14rem}td{overflow-wrap:anywhere}pre{margin:0;white-space:pre-wrap}"
    "article{border:1px solid #dce1e7;border-radius:6px;margin:.75rem 0;padding:.25rem .5rem}"
)
_TITLES: Final[Mapping[str, str]] = {
    "ids": "Identifiers",
    "profiles": "Profiles, traits and memberships",
    "events": "Events",
    "ledger": "Awards and other calls to destinations",
    "rejectedRequests": "Rejected requests",
    "reports": "Alerts and reports",
    "auditLog": "Audit log",
}

STORED_ABOUT: Final = tuple(name for name in _TITLES if name != "ids")
"""Members of what `PersonReader` returns with what is stored; the id itself is among `ids` in any case."""


class PersonReader:
    """Collects what is stored about a person.

    Args:
        lake_url: Where the lake is.
        tail: The end of the log, which is not in the lake yet.
    """

    def __init__(
        self, *, store: Store, lake: LakeReader, lake_url: str, tail: Tail, vault: SubjectVault, clock: Clock
    ) -> None:
        self._store = store
        self._lake = lake
        self._tail = tail
        self._lake_url = lake_url
        self._vault = vault
        self._clock = clock

    def read(self, subject_type: SubjectType, subject: str) -> dict[str, Any]:
        """Return everything about a person, in plain values for `to_json`.

        Raises:
            ConfigurationError: The id is empty or blank.
            StorageError: Store, log or lake is unavailable.
        """
        subject = subject.strip()
        if not subject:
            raise ConfigurationError("Enter an id.")
        with self._store.reading() as work:
            ids = resolve_subjects(work, self._vault, subject_type, [subject], candidates=self._candidates)
            hashes = self._vault.open(work)
            digest = None if hashes is None else hashes.digest(subject_type, subject)
            is_suppressed = digest is not None and bool(active_of(work, [digest], source=""))
        events = self._events(ids)
        messages = {(event.source or "", event.message_id) for event in events}
        with self._store.reading() as work:
            return {
                "subjectType": subject_type.value,
                "subject": subject,
                "collectedAt": to_iso(self._clock.now()),
                "isSuppressed": is_suppressed,
                "ids": {
                    "userIds": sorted(ids.user_ids),
                    "emails": sorted(ids.emails),
                    "anonymousIds": sorted(ids.anonymous_ids),
                    "others": sorted(ids.others),
                },
                "profiles": _plain(profile_data(work, sorted(ids.profiles))),
                "events": _Events(events),
                "ledger": _plain(effects_about(work, find_subject_effects(work, self._vault, ids, messages))),
                "rejectedRequests": _plain(requests_about(work, ids)),
                "reports": _plain(reports_about(work, ids)),
                "auditLog": _plain(audit_events_about(work, ids)),
            }

    def _events(self, ids: ErasedIds) -> list[LakeEvent]:
        """Return the events of the person, and the items that are not valid events and name them, oldest first."""
        # The log first: an event that moves to the lake in between is then read twice, never not at all.
        events = [event for event in self._late_events(ids) if subject_event(event).is_of(ids)]
        events += self._events_with_ids(ids)
        by_place = {(event.log_position, event.event_index): event for event in events}
        for candidate in LakeEraser(self._lake_url, clock=self._clock).candidates(ids):
            position, index = candidate.place
            if candidate.place not in by_place and candidate.is_of(ids):  # such as an alias call from an id of theirs
                for event in self._lake.between(position, position):
                    if event.event_index == index:
                        by_place[candidate.place] = event
        return [by_place[place] for place in sorted(by_place)]

    def _candidates(self, ids: ErasedIds) -> Iterator[SubjectEvent]:
        yield from (event for event in map(subject_event, self._late_events(ids)) if event.may_be_of(ids))
        yield from LakeEraser(self._lake_url, clock=self._clock).candidates(ids)

    def _late_events(self, ids: ErasedIds) -> Iterator[LakeEvent]:
        """Yield the events that may be about the person, and others, of what may not be in the lake yet."""
        needles = sorted(ids.user_ids | ids.emails | ids.anonymous_ids | ids.others)
        yield from self._tail.events(may_hold=record_may_hold(needles))

    def _events_with_ids(self, ids: ErasedIds) -> Iterator[LakeEvent]:
        query = PersonQuery(
            emails=sorted(ids.emails),
            user_ids=sorted(ids.user_ids),
            anonymous_ids=sorted(ids.anonymous_ids),
            oldest_first=True,
        )
        beyond: tuple[int, int] | None = None
        while page := self._lake.events_of_person(query, limit=_EVENTS_PER_PAGE, beyond=beyond):
            beyond = (page[-1].log_position, page[-1].event_index)
            yield from (event for event in page if subject_event(event).is_of(ids))


def to_json(person: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield what was collected as JSON text, in pieces: an event is written only when its turn comes."""
    return _joined(_json_texts(person))


def to_html(person: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield what was collected as one HTML file that needs no other, in pieces."""
    return _joined(_html_texts(person))


def _json_texts(person: Mapping[str, Any]) -> Iterator[str]:
    """Yield the text of `json.dumps(person, indent=2)`."""
    before = "{\n"
    for name, value in person.items():
        yield f"{before}  {_json(name)}: "
        before = ",\n"
        if _is_list(value) and value:
            for index, row in enumerate(value):
                yield ",\n    " if index else "[\n    "
                yield _json(row).replace("\n", "\n    ")  # line breaks within texts are escaped
            yield "\n  ]"
        else:
            yield (_json([]) if _is_list(value) else _json(value)).replace("\n", "\n  ")
    yield "\n}"


def _html_texts(person: Mapping[str, Any]) -> Iterator[str]:
    title = f"Data stored about {person['subject']}"
    yield (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"<p>Collected {escape(person['collectedAt'])}. "
        f"{'New events of this person are refused.' if person['isSuppressed'] else 'New events are accepted.'}</p>"
    )
    for key, heading in _TITLES.items():
        value = person[key]
        rows = value if _is_list(value) else [value] if value else []
        count = f" ({len(rows):,})" if _is_list(value) else ""
        yield f"<h2>{escape(heading)}{count}</h2>"
        yield from (f"<article>{_table(row)}</article>" for row in rows)
        if not rows:
            yield "<p>Nothing is stored.</p>"
    yield "</body></html>"


def _joined(texts: Iterator[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    characters = 0
    for text in texts:
        waiting.append(text)
        characters += len(text)
        if characters >= _PIECE_CHARACTERS:
            yield _encoded(waiting)
            waiting, characters = [], 0
    yield _encoded(waiting)


def _encoded(texts: Sequence[str]) -> bytes:
    return "".join(texts).encode("utf-8", "replace")  # JSON may have half of a surrogate pair, which UTF-8 has not


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _table(row: Mapping[str, Any]) -> str:
    """Return the members of a row that have a value as a table."""
    cells = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{_cell(value)}</td></tr>'
        for name, value in row.items()
        if value not in (None, "", [], {})
    )
    return f"<table>{cells}</table>"


def _cell(value: object) -> str:
    if isinstance(value, str | int | float):
        return escape(str(value))
    return f"<pre>{escape(json.dumps(value, ensure_ascii=False, indent=1))}</pre>"


class _Events(Sequence[dict[str, Any]]):
    """Events in plain values, made when they are asked for: parsed ones need many times the memory."""

    def __init__(self, events: Sequence[LakeEvent]) -> None:
        self._events = events

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> "_Events": ...

    def __getitem__(self, index: int | slice) -> "dict[str, Any] | _Events":
        return _Events(self._events[index]) if isinstance(index, slice) else _event(self._events[index])


def _event(event: LakeEvent) -> dict[str, Any]:
    return {
        "receivedAt": to_iso(event.received_at),
        "source": event.source,
        "type": event.type,
        "event": event.event,
        "messageId": event.message_id,
        "content": _content(event.payload),
        "results": [
            {"destination": result.destination, "status": result.status, "reason": result.reason}
            for result in event.results
        ],
    }


def _content(payload: bytes) -> object:
    """Return an event in values that JSON has, its text if it cannot be read."""
    try:
        return json.loads(payload, parse_float=_finite, parse_constant=str)
    except (ValueError, RecursionError):
        return payload.decode(errors="replace")


def _finite(text: str) -> float | str:
    number = float(text)
    return number if isfinite(number) else text


def _plain(value: Any) -> Any:
    """Return rows of the store in values that JSON has."""
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(member) for member in value]
    if isinstance(value, datetime):
        return to_iso(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.decode(errors="replace") if isinstance(value, bytes) else value

"""Everything that Punchcard stores about a person: for an access request, as JSON and as a page to read."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Any, Final, overload

from punchcard.clock import Clock, to_iso
from punchcard.errors import ConfigurationError
from punchcard.lake.erasure import LakeEraser, SubjectEvent
from punchcard.lake.person_query import PersonQuery
from punchcard.lake.reader import LakeEvent, LakeReader
from punchcard.operations.subject_identity import resolve_subjects
from punchcard.profiles.erasure import ErasedIds
from punchcard.store.delivery.erasure import effects_about, find_effects
from punchcard.store.engage.erasure import profile_data
from punchcard.store.engine import Store
from punchcard.store.ingest.erasure import requests_about
from punchcard.store.operations.erasure import reports_about
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.suppressions import active_of
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
}


class PersonReader:
    """Collects what is stored about a person.

    Args:
        lake_url: Where the lake is.
    """

    def __init__(self, *, store: Store, lake: LakeReader, lake_url: str, vault: SubjectVault, clock: Clock) -> None:
        self._store = store
        self._lake = lake
        self._lake_url = lake_url
        self._vault = vault
        self._clock = clock

    def read(self, subject_type: SubjectType, subject: str) -> dict[str, Any]:
        """Return everything about a person, in plain values for `to_json`; the newest seconds may be missing.

        Raises:
            ConfigurationError: The id is empty or blank.
            StorageError: Store or lake is unavailable.
        """
        subject = subject.strip()
        if not subject:
            raise ConfigurationError("Enter an id.")
        eraser = LakeEraser(self._lake_url, clock=self._clock)
        candidates: Callable[[ErasedIds], Iterator[SubjectEvent]] = eraser.candidates
        with self._store.reading() as work:
            ids = resolve_subjects(work, subject_type, [subject], candidates=candidates)
            hashes = self._vault.open(work)
            digest = None if hashes is None else hashes.digest(subject_type, subject)
            is_suppressed = digest is not None and bool(active_of(work, [digest], source=""))
        events = list(self._events(ids))
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
                "ledger": _plain(effects_about(work, find_effects(work, ids.emails, messages))),
                "rejectedRequests": _plain(requests_about(work, ids)),
                "reports": _plain(reports_about(work, ids)),
            }

    def _events(self, ids: ErasedIds) -> Iterator[LakeEvent]:
        query = PersonQuery(
            emails=sorted(ids.emails),
            user_ids=sorted(ids.user_ids),
            anonymous_ids=sorted(ids.anonymous_ids),
            oldest_first=True,
        )
        beyond: tuple[int, int] | None = None
        while page := self._lake.events_of_person(query, limit=_EVENTS_PER_PAGE, beyond=beyond):
            beyond = (page[-1].log_position, page[-1].event_index)
            yield from (
                event
                for event in page
                if ids.owns(user_id=event.user_id, anonymous_id=event.anonymous_id, email=event.email)
            )


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
            yield "".join(waiting).encode()
            waiting, characters = [], 0
    yield "".join(waiting).encode()


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
    try:
        content: object = json.loads(event.payload)
    except ValueError:
        content = event.payload.decode(errors="replace")
    return {
        "receivedAt": to_iso(event.received_at),
        "source": event.source,
        "type": event.type,
        "event": event.event,
        "messageId": event.message_id,
        "content": content,
        "results": [
            {"destination": result.destination, "status": result.status, "reason": result.reason}
            for result in event.results
        ],
    }


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

"""What the commands under `punchcard privacy` do."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from punchcard.cli.confirmation import confirm
from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.cli.listing import print_json_lines
from punchcard.cli.output import printable
from punchcard.cli.written_files import whole_file
from punchcard.clock import SystemClock, to_iso
from punchcard.errors import ConfigurationError
from punchcard.operations.access_request import STORED_ABOUT, PersonReader, to_html, to_json
from punchcard.operations.regulations import NewRegulation, create_regulation, get_regulation, named_subjects
from punchcard.runtime.assembly import open_keyring, open_lake, open_log, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import (
    Regulation,
    RegulationQuery,
    RegulationStatus,
    RegulationType,
    SubjectType,
    list_regulations,
)
from punchcard.traces.tail import Tail
from punchcard.workspace import persistence
from punchcard.workspace.editing import find_source
from punchcard.workspace.subject_vault import SubjectVault

_ACTOR: Final = "command line"
_LISTED: Final = 20
_TYPES: Final = {
    "user-id": SubjectType.USER_ID,
    "email": SubjectType.EMAIL,
    "anonymous-id": SubjectType.ANONYMOUS_ID,
}


def deletion_type(*, suppresses: bool, is_internal: bool) -> RegulationType:
    """Return the type of a deletion."""
    if suppresses:
        return RegulationType.SUPPRESS_WITH_DELETE_INTERNAL if is_internal else RegulationType.SUPPRESS_WITH_DELETE
    return RegulationType.DELETE_INTERNAL if is_internal else RegulationType.DELETE_ONLY


def regulate(
    settings: Settings,
    type_: RegulationType,
    subjects: Sequence[str],
    *,
    by: str,
    source: str = "",
    assume_yes: bool,
) -> int:
    """Create a regulation, after asking if it deletes; return 0, or 1 if it failed or the person declined.

    Raises:
        ConfigurationError: The call is not valid, or there is no terminal to ask.
        StorageError: The store is unavailable.
    """
    request = NewRegulation(type=type_, subject_type=_read_type(by), subjects=subjects, source=source)
    if type_.deletes and not assume_yes and not _confirmed(len(subjects)):
        print("Nothing was changed.", file=sys.stderr)
        return 1
    with _opened(settings) as (store, vault):
        if source:
            with store.reading() as work:
                find_source(persistence.read(work).workspace, source)
        with store.unit_of_work() as work:
            id = create_regulation(work, vault, request, actor=_ACTOR, now=SystemClock().now())
            regulation = get_regulation(work, id)
    if regulation.status is RegulationStatus.FAILED:
        print(printable(regulation.detail), file=sys.stderr)
        return 1
    print(f"Regulation {id}: {regulation.status}")
    if type_.deletes:
        print(f"A worker deletes within minutes: punchcard privacy status {id}")
    return 0


def show_regulations(settings: Settings, id: int | None, *, as_json: bool) -> int:
    """Print the newest regulations, or one with its progress.

    Raises:
        ConfigurationError: There is no such regulation.
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (store, vault), store.reading() as work:
        if id is None:
            regulations = list_regulations(work, RegulationQuery(), count=_LISTED)
        else:
            regulations = [get_regulation(work, id)]
        subjects = named_subjects(work, vault, regulations)
    if as_json:
        print_json_lines(_plain(regulation, subjects[regulation.id]) for regulation in regulations)
        return 0
    for regulation in regulations:
        names = subjects[regulation.id]
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        print(
            printable(
                f"{regulation.id}  {regulation.created_at:%Y-%m-%d %H:%M:%S} UTC  {regulation.type}  "
                f"{regulation.status}  {names[0]}{more}"
            )
        )
        if regulation.detail:
            print(f"    {printable(regulation.detail)}")
        if id is not None:
            _print_progress(regulation)
    if not regulations:
        print("No regulations")
    return 0


@explained_interruption(NOTHING_CHANGED)
def export_person(settings: Settings, subject: str, *, by: str, path: Path) -> int:
    """Write what is stored about a person to two files, readable by their owner only.

    Raises:
        ConfigurationError: The id is empty, or a file cannot be written.
        StorageError: Store, log or lake is unavailable.
    """
    with _opened(settings) as (store, vault), open_log(settings) as log:
        reader = PersonReader(
            store=store,
            lake=open_lake(settings, store),
            lake_url=settings.lake_location(),
            tail=Tail(log=log, store=store),
            vault=vault,
            clock=SystemClock(),
        )
        person = reader.read(_read_type(by), subject)
    if not any(person[key] for key in STORED_ABOUT):
        print(printable(f"Nothing is stored about {subject}."))
    for ending, pieces in ((".json", to_json(person)), (".html", to_html(person))):
        target = path.with_name(path.name + ending)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target, mode=0o600) as file:
                file.writelines(pieces)
        except OSError as error:
            raise ConfigurationError(f"{target}: The file cannot be written: {error.strerror}.") from error
        print(f"Wrote {target}")
    return 0


def _print_progress(regulation: Regulation) -> None:
    for step in (*regulation.progress.stores, *regulation.progress.destinations):
        detail = f"  {step.detail}" if step.detail else ""
        print(printable(f"    {step.name}: {step.status}, {step.count:,}{detail}"))
    if regulation.progress.last_trace_at is not None:
        print(f"    The last copy was deleted at {to_iso(regulation.progress.last_trace_at)}.")


def _plain(regulation: Regulation, subjects: Sequence[str]) -> dict[str, object]:
    last_trace_at = regulation.progress.last_trace_at
    return {
        "id": str(regulation.id),
        "regulationType": regulation.type,
        "subjectType": regulation.subject_type,
        "subjects": list(subjects),
        "status": regulation.status,
        "source": regulation.source or None,
        "createdAt": to_iso(regulation.created_at),
        "finishedAt": None if regulation.finished_at is None else to_iso(regulation.finished_at),
        "lastTraceAt": None if last_trace_at is None else to_iso(last_trace_at),
        "detail": regulation.detail or None,
    }


def _read_type(by: str) -> SubjectType:
    if by not in _TYPES:
        raise ConfigurationError(f"--by {by}: Write one of {', '.join(_TYPES)}.")
    return _TYPES[by]


def _confirmed(count: int) -> bool:
    persons = "this person" if count == 1 else f"these {count:,} persons"
    question = f"Delete everything that is stored about {persons}? It cannot be undone."
    return confirm(question)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, SubjectVault]]:
    store = open_store(settings)
    try:
        yield store, SubjectVault(open_keyring(settings))
    finally:
        store.close()

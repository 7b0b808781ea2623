"""Upload files as the members of static lists: read, preview, save, discard, and download what a list has."""

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Final

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.computations.model import StaticList
from punchcard.engage.demand import request_engage
from punchcard.errors import ConfigurationError, PunchcardError
from punchcard.operations.exports import Column, Export
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.list_file import ListFile, ListRow
from punchcard.profiles.rules import EMAIL, USER_ID, IdentityRules
from punchcard.store.access import audit
from punchcard.store.engage import static_lists
from punchcard.store.engage.profiles import count_with_email, owners_of
from punchcard.store.engage.static_lists import RETENTION, ListUpload, UploadMode, UploadStatus
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.privacy.suppressions import active_of
from punchcard.workspace.computations import read_definition
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import Computation, Workspace
from punchcard.workspace.subject_vault import SubjectVault

ID_TYPES: Final = (EMAIL, USER_ID)
PREVIEW_ROWS: Final = 10
PROBLEMS_MAX: Final = 200
_ROWS_PER_UNIT_OF_WORK: Final = 2_000  # so that no award waits longer than some milliseconds
_ENTRIES_PER_PAGE: Final = 5_000
_RESTORE_MARGIN: Final = timedelta(hours=1)
_FILE_NAME_CHARACTERS_MAX: Final = 200
_SUBJECT_TYPES: Final = {EMAIL: SubjectType.EMAIL, USER_ID: SubjectType.USER_ID}


class RowProblem(msgspec.Struct, frozen=True):
    """A row that is not in the list. It does not repeat the cell, which may name a person.

    Attributes:
        line: Line of the file, from 1.
    """

    line: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """What an operator uploads.

    Attributes:
        key: Key of the list's audience.
        column: Name of the column with the ids, "" to recognize it.
        id_type: `email` or `user_id`, "" to recognize it.
    """

    key: str
    file_name: str
    actor: str
    column: str = ""
    id_type: str = ""


_problems = msgspec.json.Decoder(list[RowProblem])


def is_static_list(computation: Computation) -> bool:
    """Return whether the members of an audience come from a file."""
    try:
        return isinstance(read_definition(computation), StaticList)
    except ConfigurationError:
        return False


def list_definition(key: str) -> str:
    """Return the definition of an audience with the members of a file."""
    return f"list('{key}')"


def find_static_list(workspace: Workspace, name_or_key: str) -> Computation:
    """Return the static list with this key or name.

    Raises:
        NotFoundError: There is no such audience.
        ConfigurationError: Its members are computed.
    """
    audiences = [each for each in workspace.computations if each.kind == "audience"]
    for computation in sorted(audiences, key=lambda each: each.key != name_or_key):
        if name_or_key in (computation.key, computation.name):
            if not is_static_list(computation):
                raise ConfigurationError(
                    f"The members of {computation.name} are computed. Only a static list takes a file: add an audience "
                    f"with the definition {list_definition('its_key')}.",
                    code="no_static_list",
                )
            return computation
    raise NotFoundError(f"There is no audience {name_or_key}.")


class ListUploads:
    """Uploads of one workspace.

    Args:
        vault: Recognizes suppressed persons, who are left out.
        rules: The identity rules; ids that they block are left out.
    """

    def __init__(self, store: Store, *, vault: SubjectVault, rules: IdentityRules, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._rules = rules
        self._clock = clock

    def stage(self, new: NewUpload, pieces: Iterable[bytes]) -> ListUpload:
        """Read a file without changing the list.

        Raises:
            ConfigurationError: The file cannot be used.
            StorageError: The store is not available.
        """
        if new.id_type and new.id_type not in ID_TYPES:
            raise ConfigurationError(f"The type is {' or '.join(ID_TYPES)}.", field="type")
        file = ListFile(pieces, column=new.column, id_type=new.id_type)
        upload = ListUpload(
            id=secrets.token_hex(16),
            list_key=new.key,
            status=UploadStatus.STAGING,
            mode="",
            id_type=file.column.id_type,
            column_name=file.column.name,
            file_name=new.file_name[:_FILE_NAME_CHARACTERS_MAX],
            actor=new.actor,
            created_at=self._clock.now(),
        )
        request_engage(self._store)  # it deletes what is never saved
        with self._store.unit_of_work() as work:
            static_lists.save_upload(work, upload)
        problems: list[RowProblem] = []
        try:
            rows = iter(file)
            while batch := tuple(islice(rows, _ROWS_PER_UNIT_OF_WORK)):
                upload = self._add(upload, batch, problems)
            with self._store.reading() as work:
                added, removed = static_lists.count_differences(work, upload)
            staged = replace(upload, status=UploadStatus.STAGED, added_count=added, removed_count=removed)
            with self._store.unit_of_work() as work:
                static_lists.save_upload(work, staged)
        except (PunchcardError, OSError):
            self._end(upload)
            raise
        return staged

    def save(self, upload: ListUpload, mode: str, *, actor: str) -> ListUpload:
        """Make a staged upload the list, or add it to the list; or restore an upload that was replaced.

        Raises:
            ConfigurationError: It is not staged, or its entries were deleted.
            StorageError: The store is not available.
        """
        if mode not in tuple(UploadMode):
            raise ConfigurationError("Choose what happens with the list: replace or add.", field="mode")
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            upload = find_upload(work, upload.list_key, upload.id)
            if not is_savable(upload, self._clock):
                raise ConfigurationError(
                    f"The upload is {upload.status}, so it cannot be saved. Upload the file again.",
                    code="upload_not_staged",
                )
            saved = static_lists.activate(work, upload, UploadMode(mode), at=now)
            changes = {"path": "list", "before": None, "after": _summary(saved)}
            self._record(work, saved, actor, changes)
        request_engage(self._store)
        return saved

    def discard(self, upload: ListUpload, *, actor: str) -> None:
        """Discard an upload that is not saved.

        Raises:
            ConfigurationError: It was saved.
            StorageError: The store is not available.
        """
        if upload.status not in (UploadStatus.STAGED, UploadStatus.STAGING):
            raise ConfigurationError(
                "Only an upload that is not saved can be discarded. Upload another file to replace the list.",
                code="upload_not_staged",
            )
        self._end(upload)

    def _end(self, upload: ListUpload) -> None:
        ended = replace(upload, status=UploadStatus.ENDED, ended_at=self._clock.now() - RETENTION)
        with self._store.unit_of_work() as work:
            static_lists.save_upload(work, ended)

    def _add(self, upload: ListUpload, rows: Sequence[ListRow], problems: list[RowProblem]) -> ListUpload:
        """Add some rows to an upload; `problems` gets those that are invalid."""
        with self._store.unit_of_work() as work:
            refused = self._refused(work, upload.id_type, {row.value for row in rows if row.value})
            invalid = [
                RowProblem(row.line, problem) for row in rows if (problem := row.problem or refused.get(row.value, ""))
            ]
            problems += invalid[: PROBLEMS_MAX - len(problems)]
            entries: dict[str, int] = {}
            for row in rows:
                if row.value and row.value not in refused:
                    entries.setdefault(row.value, row.line)
            new = static_lists.add_entries(work, upload.id, entries)
            owners = owners_of(work, {(upload.id_type, value) for value in new})
            people = set(owners.values())
            without_email = 0
            if upload.id_type != EMAIL:
                without_email = len(new) - len(owners) + len(people) - count_with_email(work, people)
            updated = replace(
                upload,
                row_count=upload.row_count + len(rows),
                entry_count=upload.entry_count + len(new),
                duplicate_count=upload.duplicate_count + len(rows) - len(invalid) - len(new),
                invalid_count=upload.invalid_count + len(invalid),
                known_count=upload.known_count + len(owners),
                without_email_count=upload.without_email_count + without_email,
                problems=msgspec.json.encode(problems).decode(),
            )
            static_lists.save_upload(work, updated)
        return updated

    def _refused(self, work: Connection, id_type: str, values: set[str]) -> Mapping[str, str]:
        """Return why some ids must not be in a list: they are blocked, or of a suppressed person."""
        ids = IdReader(self._rules)
        refused: dict[str, str] = {}
        for value in values:
            common = {USER_ID: None, EMAIL: None, id_type: value}
            if not ids.ids_of(user_id=common[USER_ID], email=common[EMAIL], anonymous_id=None, payload=b""):
                refused[value] = "The identity rules block this id."
        hashes = self._vault.open(work)
        if hashes is not None:
            by_digest = {hashes.digest(_SUBJECT_TYPES[id_type], value): value for value in values}
            for digest in active_of(work, by_digest, source=""):
                refused[by_digest[digest]] = "The person is suppressed."
        return refused

    def _record(self, work: Connection, upload: ListUpload, actor: str, changes: Mapping[str, object]) -> None:
        audit.record(
            work,
            at=self._clock.now(),
            actor=actor,
            kind="change",
            resource_type="audience",
            resource_id=upload.list_key,
            changes=json.dumps([changes]),
        )


def find_upload(work: Connection, key: str, upload_id: str) -> ListUpload:
    """Return an upload of a list.

    Raises:
        NotFoundError: There is no such upload, or it is one of another list.
    """
    upload = static_lists.find_upload(work, upload_id)
    if upload is None or upload.list_key != key:
        raise NotFoundError("This upload was deleted or belongs to another list. Upload the file again.")
    return upload


def is_savable(upload: ListUpload, clock: Clock) -> bool:
    """Return whether an upload is staged, or was replaced so lately that its entries are complete."""
    if upload.status is UploadStatus.ENDED and upload.saved_at is not None and upload.ended_at is not None:
        return upload.ended_at > clock.now() - RETENTION + _RESTORE_MARGIN
    return upload.status is UploadStatus.STAGED


def read_problems(upload: ListUpload) -> list[RowProblem]:
    """Return the first invalid rows of an upload."""
    return _problems.decode(upload.problems)


def export_list(store: Store, key: str) -> Export:
    """Return the ids that a list has, whether or not somebody has them; an id of two files comes twice."""
    with store.reading() as work:
        id_types = static_lists.id_types_of(work, key)

    def pages() -> Iterator[list[tuple[str, str]]]:
        cursor: tuple[str, str] | None = None
        while True:
            with store.reading() as work:
                part = static_lists.read_part(work, key, after=cursor, limit=_ENTRIES_PER_PAGE)
            yield list(part.entries)
            cursor = part.cursor
            if cursor is None:
                return

    return Export(
        name=f"list-{key}",
        columns=[Column(name=id_type, read=partial(_id_of, id_type=id_type)) for id_type in id_types or (EMAIL,)],
        pages=pages(),
    )


def _id_of(entry: tuple[str, str], *, id_type: str) -> str | None:
    return entry[1] if entry[0] == id_type else None


def _summary(upload: ListUpload) -> str:
    return f"{upload.mode}: {upload.file_name}, {upload.entry_count} ids"

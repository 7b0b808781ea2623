"""The implementation of `punchcard audience upload` and `uploads`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from punchcard.cli.listing import print_json_lines, print_list
from punchcard.cli.output import printable
from punchcard.clock import SystemClock, to_iso
from punchcard.computations.keys import key_of
from punchcard.errors import ConfigurationError
from punchcard.operations.computation_actions import add_computation
from punchcard.operations.list_uploads import (
    ListUploads,
    NewUpload,
    find_static_list,
    list_definition,
    read_problems,
)
from punchcard.operations.sentences import count_noun
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engage.static_lists import ListUpload, UploadMode, list_uploads_of
from punchcard.store.engine import Store
from punchcard.workspace import persistence
from punchcard.workspace.apply import edit
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Computation
from punchcard.workspace.subject_vault import SubjectVault

_ACTOR = "command line"
_PIECE_BYTES = 1 << 16
_PROBLEMS_SHOWN = 10
_UPLOADS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class UploadOptions:
    """What was typed.

    Attributes:
        adds: True to add to the list, False to replace it.
        destinations: Of an audience that is created.
    """

    adds: bool
    column: str
    id_type: str
    destinations: tuple[str, ...]
    is_dry_run: bool
    as_json: bool


def upload_list(settings: Settings, name: str, file: Path, options: UploadOptions) -> None:
    """Upload a file to a static list, which is created if there is no audience with this name.

    Raises:
        ConfigurationError: The file cannot be read or used, or the audience is computed.
        StorageError: The store is unavailable.
    """
    clock = SystemClock()
    with _opened(settings) as (store, keyring):
        workspace = persistence.load(store, keyring).workspace
        try:
            computation = find_static_list(workspace, name)
            is_new = False
        except NotFoundError:
            computation, is_new = _new_audience(name, options.destinations), True
        uploads = ListUploads(store, vault=SubjectVault(keyring), rules=workspace.identity, clock=clock)
        new = NewUpload(
            key=computation.key, file_name=file.name, actor=_ACTOR, column=options.column, id_type=options.id_type
        )
        upload = uploads.stage(new, _pieces(file))
        if options.is_dry_run:
            uploads.discard(upload, actor=_ACTOR)
        else:
            if is_new:
                edit(store, add_computation(computation), clock=clock, keyring=keyring, actor=_ACTOR)
            upload = uploads.save(upload, UploadMode.ADD if options.adds else UploadMode.REPLACE, actor=_ACTOR)
    if options.as_json:
        print_json_lines([_body(upload)])
    else:
        _print(upload, computation, options)


def print_uploads(settings: Settings, name: str, *, as_json: bool) -> None:
    """Print the uploads of a static list, as a table or as JSON lines.

    Raises:
        NotFoundError: There is no such audience.
        ConfigurationError: The audience is computed.
    """
    with _opened(settings) as (store, keyring):
        key = find_static_list(persistence.load(store, keyring).workspace, name).key
        with store.reading() as work:
            uploads = list_uploads_of(work, key, limit=_UPLOADS_MAX)
    print_list(
        uploads,
        columns={
            "id": lambda upload: upload.id,
            "uploaded": lambda upload: to_iso(upload.created_at),
            "file": lambda upload: upload.file_name,
            "status": lambda upload: upload.status,
            "mode": lambda upload: upload.mode,
            "ids": lambda upload: f"{upload.entry_count:,}",
            "by": lambda upload: upload.actor,
        },
        body=_body,
        as_json=as_json,
        empty="No file was uploaded yet. Upload one with `punchcard audience upload`.",
    )


def _body(upload: ListUpload) -> object:
    from punchcard.api.list_uploads import upload_view

    return upload_view(upload)


def _new_audience(name: str, destinations: tuple[str, ...]) -> Computation:
    key = key_of(name)
    return Computation(kind="audience", key=key, name=name, definition=list_definition(key), destinations=destinations)


def _pieces(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise ConfigurationError(f"{file}: The file cannot be read: {error.strerror}.") from error


def _print(upload: ListUpload, computation: Computation, options: UploadOptions) -> None:
    ids = "email" if upload.id_type == "email" else "user id"
    print(
        f"Read {count_noun(upload.row_count, 'row')} of {upload.file_name} (column {printable(upload.column_name)}): "
        f"{count_noun(upload.entry_count, ids)}, {count_noun(upload.duplicate_count, 'duplicate')}, "
        f"{upload.invalid_count:,} not valid."
    )
    new = upload.entry_count - upload.known_count
    print(
        f"{count_noun(upload.known_count, 'customer')} known, {new:,} new, {upload.without_email_count:,} without an "
        "email."
    )
    for problem in read_problems(upload)[:_PROBLEMS_SHOWN]:
        print(f"  line {problem.line:,}: {problem.problem}")
    if upload.invalid_count > _PROBLEMS_SHOWN:
        print(f"  and {upload.invalid_count - _PROBLEMS_SHOWN:,} more")
    removed = 0 if options.adds else upload.removed_count
    if options.is_dry_run:
        print(f"Nothing was saved. It would add {upload.added_count:,} and remove {removed:,} of {computation.name}.")
    else:
        print(f"Saved {computation.name} ({computation.key}): {upload.added_count:,} added, {removed:,} removed.")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Keyring]]:
    store = open_store(settings)
    try:
        yield store, open_keyring(settings)
    finally:
        store.close()

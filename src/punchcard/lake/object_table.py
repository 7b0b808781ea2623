"""The Delta table on S3: every commit is one object that is written only if no other process has written it.

The state of the table is kept in memory and advanced by the commits that others write (`object_log`). An append makes
four requests: the next commit (missing), the known commit (present), the data file, the new commit. Checkpoints and
changes of the schema are made by deltalake on a local copy of the log, and uploaded.
"""

import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from punchcard.clock import Clock, SystemClock, to_micros
from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LOG, LakeLocation
from punchcard.lake.object_log import (
    APPLICATION,
    LAST_CHECKPOINT,
    DamagedLogError,
    TableState,
    apply_next,
    checkpoint_path,
    commit_content,
    commit_path,
    load_state,
    version_of,
)
from punchcard.lake.object_store import ObjectStore
from punchcard.lake.schema import PARTITION
from punchcard.lake.table import COMMITS_PER_CHECKPOINT, LostRaceError, create_delta_table, missing_columns

if TYPE_CHECKING:
    from deltalake import DeltaTable

# A view that was not refreshed for so long may miss commits that were deleted since: it is read again.
_VIEW_SECONDS_MAX = 600.0
# A process that was frozen between writing a data file and committing it must not commit: a vacuum may have deleted
# the file, and the log may have been shortened. Far below the two retention times.
_COMMIT_SECONDS_MAX = 600.0
# Only without a newer commit it matters whether the known one is still there. A store that has not responded by then is
# slow: then both requests are made at once, and it is waited for once.
_PATIENCE_SECONDS = 0.1
_VACUUM_SECONDS = 600.0  # it lists everything: not every time that small files are merged
_LOG_RETENTION = timedelta(hours=1)
_FILE_RETENTION = timedelta(hours=1)  # how long a reader may use a list of files


class ObjectTable:
    """A process's view of the table; the methods are those of `LakeTable`. For one thread at a time."""

    def __init__(self, location: LakeLocation, *, clock: Clock | None = None) -> None:
        self.location = location
        self._clock = clock or SystemClock()
        self._state: TableState | None = None
        self._refreshed_at = 0.0
        self._vacuumed_at: float | None = None

    @property
    def _store(self) -> ObjectStore:
        if self.location.objects is None:
            raise ConfigurationError(f"The data lake at {self.location.url} is not on an object store.")
        return self.location.objects

    def refresh(self) -> bool:
        """Read what has been committed; False if there is no table."""
        state, self._state = self._state, None
        begun = self._clock.monotonic()
        if state is not None and begun - self._refreshed_at <= _VIEW_SECONDS_MAX:
            state = self._advanced(state)
        else:
            state = None
        self._state = self._load() if state is None else state
        self._refreshed_at = begun
        return self._state is not None

    def _advanced(self, state: TableState) -> TableState | None:
        """Return the state with all newer commits; None if it must be read again."""
        version, repairs = state.version, state.repairs
        is_answered = threading.Event()

        def is_newest_there() -> bool:
            is_answered.wait(_PATIENCE_SECONDS)
            return state.version > version or self._store.exists(commit_path(version))

        with ThreadPoolExecutor(1) as pool:
            is_there = pool.submit(is_newest_there)
            try:
                while apply_next(self._store, state):
                    is_answered.set()
                    if state.repairs != repairs:
                        return None
            except DamagedLogError:
                return None
            finally:
                is_answered.set()
            if state.version == version and not is_there.result():
                return None  # the newest commit is gone: only reading the whole log shows what is left
        return state

    def _load(self) -> TableState | None:
        try:
            try:
                return load_state(self._store)
            except DamagedLogError:
                return load_state(self._store)  # a commit may have been cleaned up after it was listed
        except DamagedLogError as error:
            raise LakeError(
                f"The data lake at {self.location.url} cannot be read: {error.message}. Run `punchcard lake repair`."
            ) from error

    def create(self) -> None:
        """Create the table if it was not there when last seen, and add columns that it lacks.

        Raises:
            LakeError: There are data files without a log, which need a repair.
        """
        if self._state is not None:
            self._add_columns(self._state)
            return
        self.location.refuse_files_without_log()
        self.create_table()

    def create_table(self) -> None:
        """Create the table, whatever objects there are."""
        with tempfile.TemporaryDirectory(prefix="punchcard-lake-") as folder:
            create_delta_table(folder)
            self._store.create(commit_path(0), (Path(folder) / commit_path(0)).read_bytes())
        self.refresh()  # another process may have been faster

    def _add_columns(self, state: TableState) -> None:
        if not (missing := missing_columns(state.columns)):
            return
        with self._local_copy(state) as delta:
            delta.alter.add_columns(missing)
            content = (_folder_of(delta) / commit_path(state.version + 1)).read_bytes()
        self._store.create(commit_path(state.version + 1), content)
        self.refresh()

    def last_position(self) -> int:
        """Return the highest log position in the table as last seen, 0 if there is none."""
        return 0 if self._state is None else self._state.position

    def contains(self, file: DataFile) -> bool:
        """Return whether the file is part of the table as last seen."""
        return self._state is not None and file.path in self._state.files

    def files(self) -> list[DataFile]:
        """Return the data files as last seen, newest log positions first."""
        files = [] if self._state is None else self._state.files.values()
        return sorted(files, key=lambda file: (file.last_position, file.first_position), reverse=True)

    def version(self) -> int:
        """Return the version as last seen, -1 if there is no table."""
        return -1 if self._state is None else self._state.version

    def commit(
        self,
        added: Sequence[DataFile],
        *,
        removed: Sequence[DataFile] = (),
        through_position: int | None,
        clock: Clock,
        drops_rows: bool = False,
    ) -> None:
        """Commit on top of the state last seen, or not at all; see `LakeTable.commit`."""
        state = self._state
        if state is None:
            raise LakeError(f"The data lake at {self.location.url} cannot be written: there is no table.")
        if through_position is not None and through_position <= state.position:
            raise LostRaceError(f"The data lake already holds the log up to position {state.position}.")
        if (waited := self._clock.monotonic() - self._refreshed_at) > _COMMIT_SECONDS_MAX:
            raise LakeError(f"A commit of the data lake was given up: it was prepared for {waited:.0f} seconds.")
        content = commit_content(
            added,
            removed,
            changes=not removed or drops_rows,
            now_millis=to_micros(clock.now()) // 1000,
            transactions={} if through_position is None else {APPLICATION: through_position},
            operation="WRITE" if not removed else "DELETE" if drops_rows else "OPTIMIZE",
        )
        version = state.version + 1
        if self._store.create(commit_path(version), content):
            state.apply(content)
            return
        self.refresh()
        if self._state is not None and content in self._state.commits:
            return  # it is this commit: the response was lost, and the request was repeated
        raise LostRaceError(f"The data lake has changed to version {self.version()}.")

    def shorten_log(self) -> None:
        """Write a checkpoint when it is due, and delete old commits that it replaces."""
        state = self._state
        if state is None or state.version - max(state.checkpoint, 0) < COMMITS_PER_CHECKPOINT:
            return
        with self._local_copy(state) as delta:
            delta.create_checkpoint()
            upload_checkpoint(self._store, _folder_of(delta), state.version, as_version=state.version)
        state.checkpoint, state.commits = state.version, []
        self._delete_old_commits(state.version)

    def _delete_old_commits(self, before: int) -> None:
        """Delete log files below a checkpoint. Their age is by the object store's clock alone."""
        log = list(self._store.objects(LOG))
        newest = max((item.modified for item in log), default=None)
        if newest is None:
            return  # a list that lacks the newest objects, as some stores give it, may be empty
        self._store.delete(
            [
                item.path
                for item in log
                if (version := version_of(item.path)) is not None
                and version < before
                and newest - item.modified > _LOG_RETENTION
            ]
        )

    def vacuum(self) -> int:
        """Delete files that have been in no commit for an hour; return their number."""
        now = self._clock.monotonic()
        if self._state is None or (self._vacuumed_at is not None and now - self._vacuumed_at < _VACUUM_SECONDS):
            return 0
        # Read again: what a damaged log names is not known, and must not be deleted before a repair.
        self._state, self._refreshed_at = self._load(), self._clock.monotonic()
        if (state := self._state) is None:
            return 0
        objects = list(self._store.objects())
        newest = max((item.modified for item in objects), default=None)
        removed_before = to_micros(self._clock.now() - _FILE_RETENTION) // 1000
        old = [
            item.path
            for item in objects
            if newest is not None
            and item.path.startswith(f"{PARTITION}=")
            and item.path not in state.files
            and newest - item.modified > _FILE_RETENTION
            and state.removed.get(item.path, 0) < removed_before
        ]
        self._store.delete(old)
        self._vacuumed_at = now
        return len(old)

    def replaced_files(self) -> list[str]:
        """Return the files that were removed from the table and still exist, relative to the root."""
        if (state := self._state) is None:
            return []
        existing = {item.path for item in self._store.objects() if item.path.startswith(f"{PARTITION}=")}
        return sorted((state.removed.keys() - state.files.keys()) & existing)

    @contextmanager
    def _local_copy(self, state: TableState) -> Iterator["DeltaTable"]:
        """Copy the log into a temporary folder, as far as the state was read from it."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        with tempfile.TemporaryDirectory(prefix="punchcard-lake-") as folder:
            log = Path(folder) / LOG
            log.mkdir()
            try:
                if state.checkpoint >= 0:
                    checkpoint = self._store.read(checkpoint_path(state.checkpoint))
                    if checkpoint is None:
                        raise LakeError(f"The data lake at {self.location.url} has lost its checkpoint.")
                    (Path(folder) / checkpoint_path(state.checkpoint)).write_bytes(checkpoint)
                    # deltalake only commits after a version with an existing commit.
                    (Path(folder) / commit_path(state.checkpoint)).write_text('{"commitInfo":{"operation":"COPY"}}\n')
                first = state.version - len(state.commits) + 1
                for version, commit in enumerate(state.commits, start=first):
                    (Path(folder) / commit_path(version)).write_bytes(commit)
                yield DeltaTable(folder)
            except (OSError, DeltaError) as error:
                cause = str(error).partition("\n")[0]
                raise LakeError(f"The data lake's log at {self.location.url} cannot be written: {cause}.") from error


def upload_checkpoint(store: ObjectStore, folder: Path, version: int, *, as_version: int) -> None:
    """Upload the checkpoint of a table in a local folder.

    Args:
        version: Its version there.
        as_version: Its version on the object store.
    """
    hint = json.loads((folder / LAST_CHECKPOINT).read_text())
    store.write(checkpoint_path(as_version), (folder / checkpoint_path(version)).read_bytes())
    store.write(LAST_CHECKPOINT, json.dumps({**hint, "version": as_version}).encode())


def _folder_of(delta: "DeltaTable") -> Path:
    return Path(urlsplit(delta.table_uri).path)

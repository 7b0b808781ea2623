"""The Delta log of a table on S3: the state that its newest checkpoint and the commits behind it describe.

Reading what is new takes two requests (the next commit, which does not exist, and the known one, which does). deltalake
would read each commit since the last checkpoint again to find the log position.
"""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LOG
from punchcard.lake.object_store import ObjectStore
from punchcard.lake.schema import PARTITION

APPLICATION: Final = "punchcard"
"""The `txn` action of our commits: its version is the highest log position that the table holds."""

REPAIR: Final = "punchcard-repair"
"""The `txn` action of a repair of the log: earlier views of the table must not be used after it.

Its version is that of its commit, which is followed by a checkpoint of the same version with the repaired state.
"""

LAST_CHECKPOINT: Final = f"{LOG}/_last_checkpoint"
_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")
_CHECKPOINT = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint\.parquet")


class DamagedLogError(LakeError):
    """A file of the log is missing or cannot be read."""


@dataclass(kw_only=True)
class TableState:
    """A version of the table.

    Attributes:
        checkpoint: The version of the checkpoint that it was read from, -1 if there was none.
        commits: The commits since the checkpoint as stored, in order; the last one is `version`.
        removed: Files that are no longer in the table, with the time of their removal in milliseconds.
    """

    checkpoint: int = -1
    version: int = -1
    commits: list[bytes] = field(default_factory=list)
    position: int = 0
    repairs: int = -1
    columns: frozenset[str] = frozenset()
    files: dict[str, DataFile] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)

    def apply(self, commit: bytes) -> None:
        """Advance by one version.

        Raises:
            DamagedLogError: The commit cannot be read; the state is unchanged.
        """
        name = f"{self.version + 1:020}.json"
        try:
            actions = [json.loads(line) for line in commit.splitlines() if line.strip()]
            if not actions or not all(isinstance(action, dict) and len(action) == 1 for action in actions):
                raise ValueError("it has no actions")
            changes = [_parse(*next(iter(action.items()))) for action in actions]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedLogError(f"{LOG}/{name} is damaged: {error}") from error
        for change in changes:
            if change is not None:
                self._change(change)
        self.version += 1
        self.commits.append(commit)

    def _change(self, change: "_Change") -> None:
        match change:
            case DataFile():
                self.files[change.path] = change
                self.removed.pop(change.path, None)
            case _Removed():
                self.files.pop(change.path, None)
                self.removed[change.path] = change.at
            case _Transaction(application=application, version=version):
                if application == APPLICATION:
                    self.position = version
                elif application == REPAIR:
                    self.repairs = version
            case _Columns():
                self.columns = change.names

    def apply_checkpoint(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Set the content of a checkpoint, one action per row."""
        for row in rows:
            for kind, content in row.items():
                if content is not None and (change := _parse(kind, content)) is not None:
                    self._change(change)


def commit_path(version: int) -> str:
    """Return the path of a commit."""
    return f"{LOG}/{version:020}.json"


def checkpoint_path(version: int) -> str:
    """Return the path of a checkpoint."""
    return f"{LOG}/{version:020}.checkpoint.parquet"


def version_of(path: str) -> int | None:
    """Return the version of a commit or checkpoint by its path; None for any other object."""
    match = _COMMIT.fullmatch(path) or _CHECKPOINT.fullmatch(path)
    return int(match[1]) if match else None


def load_state(store: ObjectStore) -> TableState | None:
    """Read the newest state; None if there is no log.

    Raises:
        DamagedLogError: Files of the log are missing or damaged.
        LakeError: The object store is unavailable.
    """
    hint = _hinted_checkpoint(store)
    items = {item.path: item for item in store.objects(LOG, after=None if hint is None else f"{LOG}/{hint:020}")}
    if hint is not None and checkpoint_path(hint) not in items:
        items = {item.path: item for item in store.objects(LOG)}
    commits = sorted(int(match[1]) for path in items if (match := _COMMIT.fullmatch(path)))
    checkpoints = [int(match[1]) for path in items if (match := _CHECKPOINT.fullmatch(path))]
    if not commits and not checkpoints:
        store.refuse_incomplete_list([commit_path(0), LAST_CHECKPOINT], items)
        return None
    state = TableState(checkpoint=max(checkpoints, default=-1))
    newer = [version for version in commits if version > state.checkpoint]
    begin = [checkpoint_path(state.checkpoint)] if checkpoints else []
    contents = store.read_all([items[path] for path in (*begin, *map(commit_path, newer))])
    if checkpoints:
        state.apply_checkpoint(_checkpoint_rows(begin[0], contents.pop(0)))
        state.version = state.checkpoint
    for version, commit in zip(newer, contents, strict=True):
        if version != state.version + 1 or commit is None:
            raise DamagedLogError(f"{commit_path(state.version + 1)} is missing")
        state.apply(commit)
    if state.repairs > state.checkpoint:
        raise DamagedLogError("a repair was not completed")  # it ends with a checkpoint of its version
    return state


def apply_next(store: ObjectStore, state: TableState) -> bool:
    """Apply the next commit; False if there is none.

    Raises:
        DamagedLogError: It is damaged.
    """
    if (commit := store.read(commit_path(state.version + 1))) is None:
        return False
    state.apply(commit)
    return True


def commit_content(
    added: Sequence[DataFile],
    removed: Sequence[DataFile],
    *,
    changes: bool,
    now_millis: int,
    transactions: Mapping[str, int],
    operation: str,
) -> bytes:
    """Return a commit: one action per line.

    Args:
        changes: Whether rows are added or deleted; False if they are only stored differently.
        transactions: Versions by application.
    """
    actions: list[dict[str, Any]] = [
        {"commitInfo": {"timestamp": now_millis, "operation": operation, "operationParameters": {}}},
        *(
            {"txn": {"appId": application, "version": version, "lastUpdated": now_millis}}
            for application, version in transactions.items()
        ),
        *(
            {
                "add": {
                    "path": file.path,
                    "partitionValues": {PARTITION: file.day.isoformat()},
                    "size": file.bytes,
                    "modificationTime": now_millis,
                    "dataChange": changes,
                    "stats": file.statistics(),
                }
            }
            for file in added
        ),
        *(
            {
                "remove": {
                    "path": file.path,
                    "deletionTimestamp": now_millis,
                    "dataChange": changes,
                    "extendedFileMetadata": True,
                    "partitionValues": {PARTITION: file.day.isoformat()},
                    "size": file.bytes,
                }
            }
            for file in removed
        ),
    ]
    return "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions).encode()


@dataclass(frozen=True)
class _Removed:
    path: str
    at: int


@dataclass(frozen=True)
class _Transaction:
    application: str
    version: int


@dataclass(frozen=True)
class _Columns:
    names: frozenset[str]


_Change = DataFile | _Removed | _Transaction | _Columns


def _parse(kind: str, content: Mapping[str, Any]) -> _Change | None:
    match kind:
        case "add":
            statistics = json.loads(content["stats"])
            return DataFile(
                path=unquote(content["path"]),
                day=datetime.date.fromisoformat(dict(content["partitionValues"])[PARTITION]),
                bytes=int(content["size"]),
                rows=int(statistics["numRecords"]),
                first_position=int(statistics["minValues"]["log_position"]),
                last_position=int(statistics["maxValues"]["log_position"]),
            )
        case "remove":
            return _Removed(unquote(content["path"]), int(content.get("deletionTimestamp") or 0))
        case "txn":
            return _Transaction(content["appId"], int(content["version"]))
        case "metaData":
            return _Columns(frozenset(column["name"] for column in json.loads(content["schemaString"])["fields"]))
    return None


def _hinted_checkpoint(store: ObjectStore) -> int | None:
    """Return the version that `_last_checkpoint` names. It is only a hint: without it, everything is listed."""
    content = store.read(LAST_CHECKPOINT)
    try:
        return None if content is None else int(json.loads(content)["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _checkpoint_rows(path: str, content: bytes | None) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet

    if content is None:
        raise DamagedLogError(f"{path} is missing")
    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(content))
        rows: list[dict[str, Any]] = table.select([name for name in _KINDS if name in table.column_names]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedLogError(f"{path} is damaged: {error}") from error
    if not rows:
        raise DamagedLogError(f"{path} is damaged: it is empty")
    return rows


_KINDS = ("metaData", "txn", "add", "remove")

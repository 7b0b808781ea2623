"""Read the Delta log file by file: which files can be read, and the newest state that can be restored from them.

A table's state is its newest checkpoint and every commit after that, without a gap. One damaged file makes everything
after it unreadable, although the data files exist.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from punchcard.errors import LakeError, StorageError
from punchcard.lake.location import LOG, LakeLocation
from punchcard.lake.table import LakeTable

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")


@dataclass(frozen=True, kw_only=True)
class LogFiles:
    """The files of a log by version.

    Attributes:
        damaged: Files that cannot be read.
    """

    commits: dict[int, Path]
    checkpoints: dict[int, Path]
    damaged: list[Path]


def read_log_files(log: Path) -> LogFiles:
    """Read every file of a log.

    Raises:
        StorageError: The folder cannot be read.
    """
    commits: dict[int, Path] = {}
    checkpoints: dict[int, Path] = {}
    damaged: list[Path] = []
    try:
        for path in sorted(log.iterdir()) if log.is_dir() else ():
            if match := _COMMIT.fullmatch(path.name):
                target, is_good = commits, _is_commit(path)
            elif match := _CHECKPOINT.fullmatch(path.name):
                target, is_good = checkpoints, _is_checkpoint(path)
            else:
                continue
            if is_good:
                target[int(match[1])] = path
            else:
                damaged.append(path)
    except OSError as error:
        raise LakeError(f"The data lake's log at {log} cannot be read: {error}.") from error
    return LogFiles(commits=commits, checkpoints=checkpoints, damaged=damaged)


def damaged_commits(folder: Path) -> list[Path]:
    """Return the commits after the newest checkpoint that cannot be read, also those that Delta treats as empty."""
    log = folder / LOG
    newest = max((int(path.name[:20]) for path in log.glob("*.checkpoint.parquet")), default=-1)
    return [path for path in sorted(log.glob("*.json")) if path.stem > f"{max(newest, 0):020}" and not _is_commit(path)]


@dataclass(frozen=True, kw_only=True)
class GoodState:
    """The newest state that can be restored from a damaged log.

    Attributes:
        version: The version of the table, -1 if no state is left.
        files: The log files of the state.
        table: The table in that state, read through a copy of its log; it has no data files.
    """

    version: int
    files: list[Path]
    table: LakeTable


def newest_state(files: LogFiles, scratch: Path) -> GoodState:
    """Find the newest state by trying to open each.

    Args:
        scratch: An empty folder for copies.
    """
    for number, (version, chain) in enumerate(_chains(files)):
        copy = scratch / f"try-{number}" / LOG
        copy.mkdir(parents=True)
        for path in chain:
            shutil.copyfile(path, copy / path.name)
        table = LakeTable(LakeLocation(str(copy.parent)))
        try:
            if table.refresh():
                table.files()
                return GoodState(version=version, files=chain, table=table)
        except StorageError:
            continue
    return GoodState(version=-1, files=[], table=LakeTable(LakeLocation(str(scratch / "nothing"))))


def _chains(files: LogFiles) -> Iterator[tuple[int, list[Path]]]:
    """Yield the runs of files that may be a state, the newest end first."""
    candidates: list[tuple[int, int]] = []
    for base in [-1, *files.checkpoints]:
        end = base
        while end + 1 in files.commits:
            end += 1
        candidates += [(version, base) for version in range(max(base, 0), end + 1)]
    for version, base in sorted(candidates, reverse=True):
        start = [files.checkpoints[base]] if base >= 0 else []
        if not start and 0 not in files.commits:
            continue
        yield (
            version,
            [
                *start,
                *(files.commits[number] for number in range(max(base, 0), version + 1) if number in files.commits),
            ],
        )


def restore_state(folder: Path, state: GoodState, *, aside: Path) -> None:
    """Leave only the state's files in the log; everything else is moved, not deleted.

    Raises:
        StorageError: The log cannot be written.
    """
    log = folder / LOG
    keep = {path.name for path in state.files}
    try:
        aside.mkdir(parents=True)
        if log.exists() and not log.is_dir():
            log.rename(aside / log.name)
        log.mkdir(parents=True, exist_ok=True)
        # The newest first: a reader in between sees an older state, not one with a gap.
        for path in sorted(log.iterdir(), reverse=True):
            if path.name not in keep:
                path.rename(aside / path.name)
        if not keep:
            log.rmdir()
        elif not (commit := log / f"{state.version:020}.json").exists():
            # deltalake only commits after a version with an existing commit; the checkpoint has everything that was in
            # it.
            commit.write_text('{"commitInfo":{"operation":"REPAIR"}}\n')
    except OSError as error:
        raise LakeError(f"The data lake's log at {log} cannot be repaired: {error}.") from error


def _is_commit(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        actions = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except ValueError:
        return False
    return bool(actions) and all(isinstance(action, dict) and len(action) == 1 for action in actions)


def _is_checkpoint(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        return path.is_file() and pyarrow.parquet.ParquetFile(path).read().num_rows > 0
    except (pa.ArrowException, OSError):
        return False

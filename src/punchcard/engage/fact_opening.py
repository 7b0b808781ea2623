"""Open the facts: one file, or one for each shard."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from punchcard.engage.fact_shards import FactShards
from punchcard.engage.fact_store import FactStore
from punchcard.engage.facts import Facts
from punchcard.errors import ConfigurationError, StorageError

SHARDS_MAX = 64


def shard_paths(path: Path, shards: int) -> list[Path]:
    """Return the file of each shard; of undivided facts, `path` itself.

    Raises:
        ConfigurationError: There cannot be so many shards.
    """
    if not 1 <= shards <= SHARDS_MAX:
        raise ConfigurationError(
            f"engage_shards: {shards} is not a number of shards. Set PUNCHCARD_ENGAGE_SHARDS to a number from 1 to "
            f"{SHARDS_MAX}."
        )
    if shards == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}-of-{shards}{path.suffix}") for number in range(shards)]


def open_facts(paths: Sequence[Path]) -> Facts:
    """Open the facts in these files, one for each shard.

    Raises:
        StorageError: A file cannot be opened.
    """
    with ExitStack() as opened:
        parts = []
        for path in paths:
            parts.append(FactStore(path))
            opened.callback(parts[-1].close)
        facts = parts[0] if len(parts) == 1 else FactShards(parts)
        opened.pop_all()
    return facts


def discard_other_facts(path: Path, paths: Sequence[Path]) -> None:
    """Delete the files of another number of shards: deleted persons must not stay there.

    Raises:
        StorageError: A file cannot be deleted.
    """
    current = {*paths, *(other.with_name(other.name + ".wal") for other in paths)}
    for pattern in (f"{path.name}*", f"{path.stem}-*-of-*{path.suffix}*"):
        for file in path.parent.glob(pattern):
            try:
                if file not in current:
                    file.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{file} cannot be deleted: {error.strerror}.") from error

"""Snapshots of the facts beside the lake: another machine, or one that lost its data folder, goes on from the newest.

A snapshot is the files of all shards at one state of the store, in pieces, below `_engage/` in the lake's location. Its
description is written last, so there is a complete snapshot or none. Only the newest is retained.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from punchcard.clock import Clock
from punchcard.engage.fact_opening import open_facts
from punchcard.engage.facts import FILE_VERSION, Facts, Meta
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.errors import LakeError, StorageError
from punchcard.lake.location import LakeLocation

FOLDER = "_engage"
"""Delta ignores folders with names that begin with an underscore."""

_PIECE_BYTES = 32 * 1024 * 1024  # written to an object store within its time limit, and held in memory
_DESCRIPTION = ".json"


class Piece(msgspec.Struct, frozen=True):
    """A part of a file of facts, relative to the lake's root."""

    path: str
    sha256: str


class FactSnapshot(msgspec.Struct, frozen=True):
    """The description of a snapshot.

    Attributes:
        version: Version of the files.
        stamp: The state of the store that the facts belong to.
        position: The last log position with included events.
        shards: The pieces of each file.
    """

    version: int
    stamp: int
    position: int
    shards: tuple[tuple[Piece, ...], ...]


_description = msgspec.json.Decoder(FactSnapshot)


class FactSnapshots:
    """Writes and reads snapshots. Use in the process that leads Engage.

    Args:
        url: Location of the lake.
        interval_seconds: Time between two snapshots.
    """

    def __init__(self, url: str, *, clock: Clock, interval_seconds: float) -> None:
        self._location = LakeLocation(url)
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._due_at = clock.monotonic() + interval_seconds
        self._writing: threading.Thread | None = None

    def write_if_due(self, facts: Facts) -> None:
        """Begin to write a snapshot, if it is time: the facts are copied now, and the copies are written meanwhile.

        Raises:
            StorageError: The facts cannot be copied.
        """
        if self._clock.monotonic() < self._due_at or (self._writing is not None and self._writing.is_alive()):
            return
        self._due_at = self._clock.monotonic() + self._interval_seconds
        meta = facts.meta()
        copies = facts.copy_files()
        self._writing = threading.Thread(target=self._write, args=(copies, meta), name="fact-snapshot", daemon=True)
        self._writing.start()

    def finish(self) -> None:
        """Wait until nothing is being written."""
        if self._writing is not None:
            self._writing.join()

    def discard(self) -> None:
        """Delete all snapshots: they have facts of deleted persons, or of a store that was restored since.

        Raises:
            StorageError: They cannot be deleted; call again.
        """
        self.finish()
        try:
            for path in self._paths():
                self._location.remove(path)
        except OSError as error:
            raise StorageError(f"The snapshots of facts in {self._location.url} cannot be deleted: {error}.") from error

    def newest(self) -> FactSnapshot | None:
        """Return the newest complete snapshot, None if there is none.

        Raises:
            StorageError: The location is not available.
        """
        for path in sorted(self._paths(), reverse=True):
            if not path.endswith(_DESCRIPTION):
                continue
            try:
                snapshot = _description.decode(self._read(path))
            except (FileNotFoundError, msgspec.DecodeError):  # deleted a moment ago, or cut off by a crash
                continue
            if snapshot.version == FILE_VERSION:
                return snapshot
        return None

    def fetch(self, snapshot: FactSnapshot, paths: Sequence[Path]) -> bool:
        """Replace closed files of facts by those of a snapshot; False if a piece is missing or damaged.

        Raises:
            StorageError: The location is not available, or the files cannot be written.
        """
        try:
            copies = [path.with_name(path.name + ".copy") for path in paths]
            for copy, pieces in zip(copies, snapshot.shards, strict=True):
                with copy.open("wb") as file:
                    for piece in pieces:
                        content = self._read(piece.path)
                        if hashlib.sha256(content).hexdigest() != piece.sha256:
                            return False
                        file.write(content)
            for copy, path in zip(copies, paths, strict=True):
                path.with_name(path.name + ".wal").unlink(missing_ok=True)
                copy.replace(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"A snapshot of facts cannot be read: {error}.") from error
        return True

    def _write(self, copies: Sequence[Path], meta: Meta) -> None:
        begun = self._clock.monotonic()
        name = f"{FOLDER}/{meta.stamp:020}-{meta.position:020}"
        try:
            shards = tuple(
                tuple(self._write_piece(f"{name}-{number}-{index}.part", content) for index, content in _pieces(copy))
                for number, copy in enumerate(copies)
            )
            snapshot = FactSnapshot(FILE_VERSION, meta.stamp, meta.position, shards)
            self._write_piece(name + _DESCRIPTION, msgspec.json.encode(snapshot))
            for path in self._paths():
                if not path.startswith(name):
                    self._location.remove(path)
            size = sum(copy.stat().st_size for copy in copies)
        except (OSError, LakeError) as error:  # the facts are unharmed, and the next snapshot is written in time
            EngageTelemetry().snapshot_failed(error=str(error))
        else:
            EngageTelemetry().snapshot_written(size=size, seconds=self._clock.monotonic() - begun)
        finally:
            for copy in copies:
                with suppress(OSError):
                    copy.unlink()

    def _write_piece(self, path: str, content: bytes) -> Piece:
        sink = self._location.create(path)
        sink.write(content)
        self._location.publish(path, sink)
        return Piece(path, hashlib.sha256(content).hexdigest())

    def _read(self, path: str) -> bytes:
        with self._location.open(path) as file:
            return bytes(file.read())

    def _paths(self) -> list[str]:
        if self._location.objects is not None:
            return [item.path for item in self._location.objects.objects(FOLDER)]
        root = self._location.folder or Path()
        return [file.relative_to(root).as_posix() for file in (root / FOLDER).glob("*")]


def open_newest_facts(
    paths: Sequence[Path], snapshots: FactSnapshots | None, *, stamp: int, position: int, erased: int
) -> Facts:
    """Open the facts; those of the newest snapshot if the files of this machine are older.

    Args:
        stamp: The state of the store.
        position: The last log position that the store has processed.
        erased: The state of the store since which deleted persons are in no facts.

    Raises:
        StorageError: The files or the snapshots are not available.
    """
    snapshot = snapshots.newest() if snapshots is not None else None
    if snapshots is not None and snapshot is not None and snapshot.stamp > stamp:
        snapshots.discard()  # the store was restored from an older copy, and will come to this stamp by other events
        snapshot = None
    facts = open_facts(paths)
    try:
        meta = facts.meta()
        if (meta.stamp, meta.position) == (stamp, position) and stamp >= erased:
            return facts
        if not erased <= meta.state <= stamp:
            facts.recreate()
            meta = facts.meta()
        if (
            snapshots is None
            or snapshot is None
            or snapshot.stamp < erased
            or not meta.position < snapshot.position <= position
            or len(snapshot.shards) != len(paths)
        ):
            return facts
        facts.close()
        if snapshots.fetch(snapshot, paths):
            EngageTelemetry().snapshot_fetched(position=snapshot.position)
        facts = open_facts(paths)
    except BaseException:
        facts.close()
        raise
    return facts


def _pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        index = 0
        while content := file.read(_PIECE_BYTES):
            yield index, content
            index += 1

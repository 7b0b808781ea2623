"""One import from the first row to the last."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from punchcard.cli.importing.display import Counts, Display, open_display
from punchcard.cli.importing.identity import FileIdentity
from punchcard.cli.importing.progress import Progress, ProgressFile
from punchcard.cli.importing.rows import BadRow, EventRow, RowReader, open_rows
from punchcard.cli.importing.sender import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, ReadyRow, Sender
from punchcard.cli.tracking_client import TrackingClient
from punchcard.events.times import read_time

_EVENT_BYTES_MAX = 32 * 1024
_SAVE_SECONDS = 0.5
# The server corrects a timestamp by how long ago it was sent; a row's time is what the file says. So these, which
# archives of Segment carry, stay behind.
_LEFT_BEHIND = ("sentAt", "receivedAt", "originalTimestamp")
_NOTHING = (None, "", msgspec.Raw(b"null"), msgspec.Raw(b'""'))


def import_file(path: Path, *, url: str, write_key: str, strict: bool, restart: bool) -> int:
    """Send every row of a file, in order; returns 0 if all were accepted, else 1.

    Args:
        strict: True to stop when a row is not accepted.
        restart: True to begin at the first row whatever an earlier run achieved.

    Raises:
        ConfigurationError: the file's format or its columns are not understood, or the URL is none.
        PunchcardError: the file cannot be read on, or the server takes nothing from us.
    """
    client = TrackingClient(url, write_key)
    identity = FileIdentity(path, write_key=write_key)
    kept = ProgressFile.of(identity.key(client.url))
    if restart:
        kept.forget()
    reader = open_rows(path)
    begun = time.monotonic()
    try:
        with open_display(path.name, reader.size) as display:
            sender = Sender(
                client, on_waiting=lambda problem, seconds: display.say(f"{problem}; trying again in {seconds:.1f} s")
            )
            run = _Run(reader, identity, sender, kept, display, strict=strict)
            try:
                finished = run.to_the_end()
            except KeyboardInterrupt:
                run.keep_progress()
                display.say("stopped; the same command goes on from here")
                raise
    finally:
        client.close()
        reader.close()
    counts, seconds = run.counts, time.monotonic() - begun
    print(
        f"{counts.read} rows read, {counts.sent} sent, {counts.refused} refused "
        f"({seconds:.1f} s, {counts.sent_now / max(seconds, 1e-3):,.0f} rows/s)"
    )
    if not finished:
        print("stopped: a row is not accepted (--strict)", file=sys.stderr)
    return 1 if counts.refused else 0


class _Run:
    """One run over the file: what is settled, what waits for its batch."""

    def __init__(
        self,
        reader: RowReader,
        identity: FileIdentity,
        sender: Sender,
        kept: ProgressFile,
        display: Display,
        *,
        strict: bool,
    ) -> None:
        self.counts = Counts()
        self._reader = reader
        self._identity = identity
        self._sender = sender
        self._kept = kept
        self._display = display
        self._strict = strict
        self._instance: str | None = None
        self._settled_row = 0
        self._saved_at = time.monotonic()

    def to_the_end(self) -> bool:
        """Send everything; False if it stopped at a row that is not accepted."""
        self._instance = self._sender.instance()
        standing = self._kept.load(instance=self._instance)
        if standing is not None:
            self._settled_row = standing.row
            self.counts = Counts(read=standing.read, sent=standing.sent, refused=standing.refused)
            self._display.say(
                f"going on after row {standing.row}, up to which an earlier run came (--restart begins again)"
            )
        for batch, bad in self._batches():
            refused = bad + (self._sender.send(batch) if batch else [])
            self.counts.refused += len(refused)
            accepted = len(batch) - (len(refused) - len(bad))
            self.counts.sent += accepted
            self.counts.sent_now += accepted
            for row in sorted(refused, key=lambda row: row.number):
                self._display.say(f"row {row.number}: {row.reason}")
            self._settled_row = max(self._settled_row, *(row.number for row in batch), *(row.number for row in bad))
            self._display.show(self._reader.position, self.counts)
            if refused and self._strict:
                return False
            if time.monotonic() - self._saved_at > _SAVE_SECONDS:
                self.keep_progress()
        self._kept.forget()
        return True

    def keep_progress(self) -> None:
        """Keep how far this run came, for the next one."""
        self._saved_at = time.monotonic()
        if self._instance is None or self._settled_row == 0:
            return
        done = self.counts
        self._kept.save(
            Progress(
                instance=self._instance,
                row=self._settled_row,
                read=done.sent + done.refused,
                sent=done.sent,
                refused=done.refused,
            )
        )

    def _batches(self) -> Iterator[tuple[list[ReadyRow], list[BadRow]]]:
        """Rows by the batch, with the bad ones among them; under `strict` a batch ends before the first bad row."""
        ready: list[ReadyRow] = []
        bad: list[BadRow] = []
        size = 0
        for row in self._reader.rows(after=self._settled_row):
            self.counts.read += 1
            out = row if isinstance(row, BadRow) else self._ready(row)
            if isinstance(out, BadRow):
                bad.append(out)
                if self._strict:
                    break
                if len(bad) == BATCH_EVENTS_MAX:
                    yield ready, bad
                    ready, bad, size = [], [], 0
                continue
            if ready and (len(ready) == BATCH_EVENTS_MAX or size + len(out.event) > BATCH_BYTES_MAX):
                yield ready, bad
                ready, bad, size = [], [], 0
            ready.append(out)
            size += len(out.event) + 1
        if ready or bad:
            yield ready, bad

    def _ready(self, row: EventRow) -> ReadyRow | BadRow:
        members = row.members
        if members.get("type") in _NOTHING:
            if members.get("event") in _NOTHING:
                return BadRow(row.number, "has neither a type nor an event name")
            members["type"] = "track"
        if members.get("timestamp") in _NOTHING and members.get("originalTimestamp") not in _NOTHING:
            members["timestamp"] = members["originalTimestamp"]
        for key in _LEFT_BEHIND:
            members.pop(key, None)
        is_timed = members.get("timestamp") not in _NOTHING
        if is_timed and read_time(_plain(members["timestamp"])) is None:
            # The server would take the time of receipt instead, and years of history would happen today.
            return BadRow(row.number, f"timestamp: expected ISO-8601, e.g. 2026-01-02T03:04:05Z, not {_shown(members)}")
        if members.get("messageId") in _NOTHING:
            members["messageId"] = self._identity.message_id(row.number, row.content, is_timed=is_timed)
        try:
            event = msgspec.json.encode(members)
        except UnicodeEncodeError as error:
            return BadRow(row.number, f"holds text that is not Unicode: {error}")
        if len(event) > _EVENT_BYTES_MAX:
            return BadRow(row.number, f"is an event of {len(event)} bytes; at most {_EVENT_BYTES_MAX} are taken")
        return ReadyRow(row.number, event)


def _plain(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _shown(members: dict[str, object]) -> str:
    return repr(_plain(members["timestamp"]))[:60]

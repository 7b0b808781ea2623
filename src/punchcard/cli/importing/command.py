"""Runs an import from the first row to the last."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from punchcard.cli.importing.display import Counts, Display, open_display
from punchcard.cli.importing.earnings import count_earnings, find_token
from punchcard.cli.importing.file_identity import FileIdentity
from punchcard.cli.importing.mapping import ImportMapping, save_mapping
from punchcard.cli.importing.preview import confirm_amounts
from punchcard.cli.importing.progress import Progress, ProgressFile
from punchcard.cli.importing.rows import BadRow, EventRow, RowReader, open_rows
from punchcard.cli.importing.sender import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, ReadyRow, Sender
from punchcard.cli.interruption import explain_interruption
from punchcard.cli.output import printable
from punchcard.cli.tracking_client import TrackingClient
from punchcard.events.times import read_time

_EVENT_BYTES_MAX = 32 * 1024
_SAVE_SECONDS = 0.5
# The server corrects timestamps by `sentAt`, but the times in a file are final. Archives of Segment have these members.
_DROPPED_MEMBERS = ("sentAt", "receivedAt", "originalTimestamp")
_MESSAGE_IDS_MAX = 200_000  # some 20 MB
_NOTES_MAX = 10
_EMPTY_VALUES = (None, "", msgspec.Raw(b"null"), msgspec.Raw(b'""'))


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of an import.

    Attributes:
        strict: True to stop when a row is not accepted.
        restart: True to begin at the first row even if an earlier import was interrupted.
        is_confirmed: True to ask for no confirmation.
        save_mapping: File to write the mapping to, None for none.
        token: Token of the Public API, to count what the rows earned; None to look for one.
        data: Data folder on this machine, which may contain a token.
    """

    strict: bool = False
    restart: bool = False
    is_confirmed: bool = False
    save_mapping: Path | None = None
    token: str | None = None
    data: Path = Path("data")


def import_file(path: Path, *, url: str, write_key: str, mapping: ImportMapping, options: ImportOptions) -> int:
    """Send every row of a file, in order; return 0 if all were accepted, else 1.

    Args:
        mapping: Mapping of the file's columns.

    Raises:
        ConfigurationError: The file's format, its columns or the URL are invalid.
        PunchcardError: The file cannot be read, or the server accepts nothing.
    """
    client = TrackingClient(url, write_key)
    identity = FileIdentity(path, write_key=write_key)
    progress_file = ProgressFile.for_key(identity.key(client.url))
    if options.restart:
        progress_file.delete()
    reader = open_rows(path, mapping)
    try:
        for notice in reader.notices:
            print(printable(notice), file=sys.stderr)
        confirmed = confirm_amounts(reader, mapping, is_confirmed=options.is_confirmed)
        if options.save_mapping is not None:
            save_mapping(confirmed, options.save_mapping)
        begun = time.monotonic()
        with open_display(path.name, reader.size) as display:
            sender = Sender(
                client, on_waiting=lambda problem, seconds: display.say(f"{problem} Retrying in {seconds:.1f} s.")
            )
            run = _Run(reader, identity, sender, progress_file, display, mapping=mapping, strict=options.strict)
            try:
                finished = run.send_all()
            except KeyboardInterrupt:
                run.save_progress()
                explain_interruption("What was sent stays. Run the same command to continue.")
                raise
        counts, seconds = run.counts, time.monotonic() - begun
        token = find_token(options.token, url=url, data=options.data)
        earnings = count_earnings(client, run.message_ids, token=token)
    finally:
        client.close()
        reader.close()
    limit_note = f" of the first {_MESSAGE_IDS_MAX:,} sent" if len(run.message_ids) == _MESSAGE_IDS_MAX else ""
    earned = "" if earnings.earned is None else f", {earnings.sentence}{limit_note}"
    print(
        f"{counts.read} rows read, {counts.sent} sent, {counts.refused} refused{earned} "
        f"({seconds:.1f} s, {counts.sent_now / max(seconds, 1e-3):,.0f} rows/s)"
    )
    if earnings.earned is None:
        print(earnings.sentence)
    if run.users_by_email:
        rows = "1 row" if run.users_by_email == 1 else f"{run.users_by_email:,} rows"
        print(f"{rows} without a user id: the email address was used.")
    if not finished:
        print("Stopped: a row was not accepted (--strict).", file=sys.stderr)
    return 1 if counts.refused else 0


class _Run:
    """A run over the file, with its counts and progress."""

    def __init__(
        self,
        reader: RowReader,
        identity: FileIdentity,
        sender: Sender,
        progress_file: ProgressFile,
        display: Display,
        *,
        mapping: ImportMapping,
        strict: bool,
    ) -> None:
        self.counts = Counts()
        self.message_ids: list[str] = []  # of accepted rows, in order
        self.users_by_email = 0
        self._mapping = mapping
        self._notes_shown = 0
        self._reader = reader
        self._identity = identity
        self._sender = sender
        self._progress_file = progress_file
        self._display = display
        self._strict = strict
        self._instance: str | None = None
        self._recorded_row = 0
        self._saved_at = time.monotonic()

    def send_all(self) -> bool:
        """Send everything; return False if it stopped at a row that was not accepted."""
        self._instance = self._sender.instance()
        earlier = self._progress_file.load(instance=self._instance)
        if earlier is not None:
            self._recorded_row = earlier.row
            self.counts = Counts(read=earlier.read, sent=earlier.sent, refused=earlier.refused)
            self._display.say(
                f"Continuing after row {earlier.row}, where an earlier import was interrupted (--restart begins again)."
            )
        for batch, bad in self._batches():
            refused = bad + (self._sender.send(batch) if batch else [])
            self.counts.refused += len(refused)
            accepted = len(batch) - (len(refused) - len(bad))
            self._record_message_ids(batch, refused)
            self.counts.sent += accepted
            self.counts.sent_now += accepted
            for row in sorted(refused, key=lambda row: row.number):
                self._display.say(f"row {row.number}: {row.reason}")
            self._recorded_row = max(self._recorded_row, *(row.number for row in batch), *(row.number for row in bad))
            self._display.show(self._reader.position, self.counts)
            if refused and self._strict:
                return False
            if time.monotonic() - self._saved_at > _SAVE_SECONDS:
                self.save_progress()
        self._progress_file.delete()
        return True

    def _record_message_ids(self, batch: Sequence[ReadyRow], refused: Sequence[BadRow]) -> None:
        numbers = {row.number for row in refused}
        room = _MESSAGE_IDS_MAX - len(self.message_ids)
        self.message_ids += [row.message_id for row in batch if row.number not in numbers][:room]

    def save_progress(self) -> None:
        """Save the progress, so that the next run can continue."""
        self._saved_at = time.monotonic()
        if self._instance is None or self._recorded_row == 0:
            return
        counts = self.counts
        self._progress_file.save(
            Progress(
                instance=self._instance,
                row=self._recorded_row,
                read=counts.sent + counts.refused,
                sent=counts.sent,
                refused=counts.refused,
            )
        )

    def _batches(self) -> Iterator[tuple[list[ReadyRow], list[BadRow]]]:
        """Yield batches of rows and of bad rows; with `strict`, the last batch ends before the first bad row."""
        ready: list[ReadyRow] = []
        bad: list[BadRow] = []
        size = 0
        for row in self._reader.rows(after=self._recorded_row):
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
        for note in row.notes[: max(0, _NOTES_MAX - self._notes_shown)]:
            self._notes_shown += 1
            self._display.say(f"row {row.number}: {note}")
        if (
            self._mapping.event
            and members.get("event") in _EMPTY_VALUES
            and members.get("type") in (*_EMPTY_VALUES, "track")
        ):
            members["event"] = self._mapping.event
        if members.get("userId") in _EMPTY_VALUES and members.get("anonymousId") in _EMPTY_VALUES:
            email = _find_email(members)
            if email is not None:
                members["userId"] = email
                self.users_by_email += 1
        if members.get("type") in _EMPTY_VALUES:
            if members.get("event") in _EMPTY_VALUES:
                return BadRow(row.number, "Has neither a type nor an event name. Use --event NAME to set one.")
            members["type"] = "track"
        if members.get("timestamp") in _EMPTY_VALUES and members.get("originalTimestamp") not in _EMPTY_VALUES:
            members["timestamp"] = members["originalTimestamp"]
        for key in _DROPPED_MEMBERS:
            members.pop(key, None)
        is_timed = members.get("timestamp") not in _EMPTY_VALUES
        if is_timed and read_time(_plain(members["timestamp"])) is None:
            # The server would use the time of receipt instead, and years of history would happen today.
            timestamp = _format_timestamp(members)
            return BadRow(row.number, f"timestamp: {timestamp} is not a time such as 2026-01-02T03:04:05Z.")
        if members.get("messageId") in _EMPTY_VALUES:
            members["messageId"] = self._identity.message_id(row.number, row.content, is_timed=is_timed)
        try:
            event = msgspec.json.encode(members)
        except UnicodeEncodeError as error:
            return BadRow(row.number, f"Contains text that is not Unicode: {error}.")
        if len(event) > _EVENT_BYTES_MAX:
            return BadRow(row.number, f"Has {len(event)} bytes. An event has at most {_EVENT_BYTES_MAX}.")
        return ReadyRow(row.number, event, str(_plain(members["messageId"])))


def _find_email(members: Mapping[str, object]) -> str | None:
    """Return the email address in a row, None if there is none. Searches the fields that destinations use."""
    context = _inner(members, "context")
    holders = (members, _inner(members, "properties"), _inner(context, "traits"), _inner(members, "traits"))
    for holder in holders:
        email = _plain(holder.get("email"))
        if isinstance(email, str) and "@" in email:
            return email.strip().lower()
    return None


def _inner(members: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = _plain(members.get(name))
    return value if isinstance(value, Mapping) else {}


def _plain(value: object) -> object:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _format_timestamp(members: dict[str, object]) -> str:
    return repr(_plain(members["timestamp"]))[:60]

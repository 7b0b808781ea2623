"""The implementation of `send`: sends one event, or the events of a small file, through the Tracking API."""

import json
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from punchcard.cli.tracking_client import TrackingClient
from punchcard.errors import ConfigurationError, PunchcardError
from punchcard.events.times import read_time

_BATCH_EVENTS_MAX = 100
_BATCH_BYTES_MAX = 450_000


def send_event(
    target: TrackingClient, call: str, *, texts: Mapping[str, str | None], objects: Mapping[str, str | None]
) -> None:
    """Send one event and print its message id.

    Args:
        call: `track`, `identify` …
        texts: Text members of the envelope; None is left out. A missing `messageId` is generated.
        objects: Members that are JSON objects, as text. Their numbers are not parsed, so that 9.99 stays 9.99.

    Raises:
        ConfigurationError: One of `objects` is not a JSON object, or the timestamp is invalid.
        PunchcardError: The server did not accept the event.
    """
    timestamp = texts.get("timestamp")
    if timestamp and read_time(timestamp) is None:
        raise ConfigurationError(f"--timestamp {timestamp}: Use ISO-8601, e.g. 2026-01-02T03:04:05Z.")
    message_id = texts.get("messageId") or str(uuid.uuid4())
    members = [f"{json.dumps(key)}:{json.dumps(text)}" for key, text in texts.items() if text and key != "messageId"]
    members += [f'"type":{json.dumps(call)}', f'"messageId":{json.dumps(message_id)}']
    for key, text in objects.items():
        if text is not None:
            _check_object(f"--{key}", text)
            members.append(f"{json.dumps(key)}:{text}")
    body = ("{" + ",".join(members) + "}").encode(errors="surrogateescape")
    _post(target, call, body)
    _print_message_ids([message_id])


def send_file(target: TrackingClient, file: Path) -> None:
    """Send the events of a file and print their message ids.

    The file has JSON lines, one JSON array, or the body of a batch as the Tracking API takes it.

    Raises:
        ConfigurationError: The file has no events.
        PunchcardError: The file cannot be read, or the server did not accept a batch. Earlier batches were sent.
    """
    events, shared = _read_events(file)
    batch = _Batch(target, shared)
    for number, text in events:
        batch.add(number, text)
    if not batch.events:
        raise ConfigurationError(f"{file}: The file has no events.")
    batch.send()


class _Batch:
    """Events of a file that are sent in one body.

    Args:
        shared: Members of the body beside the events, each with a comma in front.
    """

    def __init__(self, target: TrackingClient, shared: bytes) -> None:
        self.events: list[bytes] = []
        self._target = target
        self._shared = shared
        self._message_ids: list[str] = []
        self._numbers: list[int] = []

    def add(self, number: int, text: bytes) -> None:
        """Add an event; send those before it if it does not fit beside them."""
        message_id, event = _ensure_message_id(text, number)
        size = sum(map(len, self.events)) + len(event)
        if self.events and (len(self.events) == _BATCH_EVENTS_MAX or size > _BATCH_BYTES_MAX):
            self.send()
        self.events.append(event)
        self._message_ids.append(message_id)
        self._numbers.append(number)

    def send(self) -> None:
        """Send the events and print their message ids."""
        body = b'{"batch":[' + b",".join(self.events) + b"]" + self._shared + b"}"
        _post(self._target, "batch", body, numbers=self._numbers)
        _print_message_ids(self._message_ids)
        self.events, self._message_ids, self._numbers = [], [], []


def _post(target: TrackingClient, call: str, body: bytes, *, numbers: Sequence[int] = ()) -> None:
    try:
        response = target.post(call, body)
    except PunchcardError as error:
        raise PunchcardError(f"{error.message} Start Punchcard with `punchcard up`, or set --url.") from error
    if response.is_accepted:
        return
    match response.status:
        case 401:
            reason = f"The server does not know the write key: {response.message}. See [[sources]] in the config file."
        case 400:
            index = response.index
            event = "The event" if index is None or index >= len(numbers) else f"Event {numbers[index]}"
            reason = f"{event} was not accepted: {response.message}"
        case 404:
            reason = "There is no Tracking API at this URL."
        case _:
            reason = f"HTTP {response.status}: {response.message}"
    raise PunchcardError(f"{target.url}: {reason}", code="not_accepted")


def _print_message_ids(message_ids: list[str]) -> None:
    print("\n".join(message_ids), flush=True)
    if sys.stdout.isatty():
        print(f"Sent. To see its result: punchcard trace {message_ids[-1]}", file=sys.stderr)


def _check_object(option: str, text: str) -> None:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{option}: This is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f'{option}: Use a JSON object such as \'{{"email": "ann@example.com"}}\'.')


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _read_events(file: Path) -> tuple[Iterable[tuple[int, bytes]], bytes]:
    """Return the events of a file with their numbers, and the members of a batch beside them."""
    import msgspec

    from punchcard.events.json_problems import describe_json_problem

    content = file.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
    if content.startswith(b"["):
        try:
            items = msgspec.json.decode(content, type=list[msgspec.Raw])
        except msgspec.DecodeError as error:
            raise PunchcardError(
                f"{file}: This is not a JSON array: {describe_json_problem(content, error)}."
            ) from error
        return enumerate(map(bytes, items), start=1), b""
    try:
        members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return [line for line in enumerate(content.splitlines(), start=1) if line[1].strip()], b""
    try:
        items = msgspec.json.decode(members["batch"], type=list[msgspec.Raw])
    except (msgspec.DecodeError, KeyError):
        return [(1, content)], b""
    shared = {name: value for name, value in members.items() if name != "batch"}
    return enumerate(map(bytes, items), start=1), b"".join(
        b"," + msgspec.json.encode(name) + b":" + bytes(value) for name, value in shared.items()
    )


def _ensure_message_id(text: bytes, number: int) -> tuple[str, bytes]:
    import msgspec

    from punchcard.events.json_problems import describe_json_problem

    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        existing_id = msgspec.json.decode(members.get("messageId", msgspec.Raw(b"null")))
    except msgspec.DecodeError as error:
        raise PunchcardError(f"Event {number} is not a JSON object: {describe_json_problem(text, error)}.") from error
    if isinstance(existing_id, str) and existing_id:
        return existing_id, msgspec.json.encode(members)
    message_id = str(uuid.uuid4())
    members["messageId"] = msgspec.Raw(json.dumps(message_id).encode())
    return message_id, msgspec.json.encode(members)

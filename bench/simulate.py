"""How long `punchcard simulate` takes for events of which 1 in 50 has a mapped name.

    python -m bench.simulate [EVENTS, by default 10000000]

Builds a lake in a temporary folder (about 0.17 GB a million events) and removes it afterwards.
"""

import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from itertools import count
from pathlib import Path

import msgspec

from bench.report import Figure, show
from bench.size import size
from punchcard.clock import SystemClock, to_micros
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.store.engine import Store
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import open_keyring

_EVENTS = size(10_000_000, 20_000)
_BATCH = size(200_000, 10_000)
_PER_RECORD = 100
_MAPPED_EVERY = 50
_TARGET_SECONDS = 20.0
_TARGET_MEGABYTES = 1_000.0
_RESULTS = (
    '[{"destination":"perkville","status":"refused","reason":"not_allowlisted",'
    '"detail":"Product Viewed is not in eventToPerkMap","effectKey":null}]'
)
_CONFIG = b"""
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "none"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"
"""


def main(events: int = _EVENTS) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="simulate-bench-") as folder:
        data = Path(folder)
        _configure(data)
        _fill(data, events)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "punchcard", "simulate", "--data", folder, "--since", "30d", "--format", "csv"]
        done = subprocess.run([*command, "--map", "Class Booked=123460"], capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - begun
        awards = {line.split(",")[0]: int(line.split(",")[3]) for line in done.stdout.splitlines()[1:]}
        if awards != {"Class Booked": events // _MAPPED_EVERY}:
            raise AssertionError(f"simulated {awards}")
    # Of its largest process, on Linux in kilobytes; the planning processes are smaller.
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1_000
    name = f"simulate {events:,} events, 1 in {_MAPPED_EVERY} mapped"
    show(Figure(name=name, unit="s", values=[seconds], target=_TARGET_SECONDS, at_most=True))
    show(Figure(name="  memory", unit="MB", values=[megabytes], target=_TARGET_MEGABYTES, at_most=True))


def _configure(data: Path) -> None:
    store = Store(f"sqlite:///{data / 'punchcard.db'}")
    workspace = read_content(_CONFIG, "punchcard.toml", environment={})
    apply(store, workspace, clock=SystemClock(), keyring=open_keyring(None, data / "secret-key"), actor="config file")
    store.close()


def _fill(data: Path, events: int) -> None:
    """Fill the lake with views, and every 50th event a booking."""
    writer = LakeWriter(str(data / "lake"))
    decoder = msgspec.json.Decoder(WireEvent)
    numbers = count()
    instant = SystemClock().now() - timedelta(days=1)
    for batch in range(events // _BATCH):
        first = batch * _BATCH // _PER_RECORD + 1
        rows = LakeRows()
        for at in range(0, _BATCH, _PER_RECORD):
            rows.add_record(
                [_event(next(numbers), decoder, instant) for _ in range(_PER_RECORD)],
                source="website",
                received_at=to_micros(instant),
                position=first + at // _PER_RECORD,
                results=[_RESULTS] * _PER_RECORD,
            )
        writer.append(rows, first_position=first, last_position=first + _BATCH // _PER_RECORD - 1)


def _event(number: int, decoder: "msgspec.json.Decoder[WireEvent]", instant: object) -> Event:
    name = "Class Booked" if number % _MAPPED_EVERY == 0 else "Product Viewed"
    body = msgspec.json.encode(
        {
            "messageId": f"m{number}",
            "userId": f"u{number % 100_000}",
            "event": name,
            "properties": {"email": f"u{number % 100_000}@example.com", "page": "/classes/yoga", "campaign": "autumn"},
        }
    )
    return Event(EventType.TRACK, MessageId(f"m{number}"), instant, instant, decoder.decode(body), body)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _EVENTS)

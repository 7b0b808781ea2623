"""The lake's promise across crashes: whatever moment a writer is killed at, each log range is in the lake once."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from punchcard.lake.reader import LakeReader
from punchcard.lake.writer import LakeWriter

_EVENTS_PER_POSITION = 20
_WRITER = f"""
import sys
from punchcard.clock import from_micros
from punchcard.events.model import Event, EventType, WireEvent
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter

instant = from_micros(1_767_312_000_000_000)
writer = LakeWriter(sys.argv[1])
while True:
    first = writer.last_position() + 1
    last = first + first % 3
    rows = LakeRows()
    for position in range(first, last + 1):
        for index in range({_EVENTS_PER_POSITION}):
            name = f"{{position:05}}-{{index:02}}"
            event = Event(EventType.TRACK, name, instant, instant, WireEvent(), b"{{}}" * 500)
            rows.add(event, source="s", received_at=position, position=position, index=index, results="[]")
    writer.append(rows, first_position=first, last_position=last)
    writer.compact()
    print(last, flush=True)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_writer_killed_at_any_moment_leaves_no_gap_and_no_double(tmp_path: Path, seed: int) -> None:
    """Acknowledged is there; nothing is there twice; the next writer goes on where the table ends."""
    chance = random.Random(seed)
    url = str(tmp_path / "lake")
    acknowledged = 0
    for _ in range(6):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer.stdout as message:
            acknowledged = int(message.readline())
            time.sleep(chance.random() * 0.4)
            writer.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *(int(line) for line in message if line.endswith("\n"))])
        writer.wait()
        assert LakeWriter(url).last_position() >= acknowledged
    last = LakeWriter(url).last_position()
    assert acknowledged <= last
    result = sorted(
        item for recent_message_key in LakeReader(url).recent_message_keys(10_000_000) for item in recent_message_key
    )
    assert result == [
        f"s {position:05}-{index:02}" for position in range(1, last + 1) for index in range(_EVENTS_PER_POSITION)
    ]

"""Several processes use one data folder at the same time, and each finds that the others delete files of it."""

import subprocess
import sys
from pathlib import Path

from punchcard.testing.product import command
from punchcard.testing.waiting import wait_until

ENDED_FILES = 3_000
PROCESSES = 4
PREPARING = """
import sys
from pathlib import Path
from punchcard.runtime.metrics import prepare_metrics

print("ready", flush=True)
sys.stdin.readline()
prepare_metrics(Path(sys.argv[1]), reset=True)
"""
RESTLESS = """
import sys
from pathlib import Path

file = Path(sys.argv[1]) / "punchcard.db-wal"
while True:
    file.touch()
    file.unlink()
"""


def test_processes_that_start_together_all_delete_old_counts(tmp_path: Path) -> None:
    counts = tmp_path / "metrics"
    counts.mkdir()
    for number in range(ENDED_FILES):
        (counts / f"counter_{2**22 + number}.db").touch()  # no process has such an id
    pipe = subprocess.PIPE
    starting = [
        subprocess.Popen([sys.executable, "-c", PREPARING, str(tmp_path)], stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(PROCESSES)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in starting:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in starting] == [b""] * PROCESSES
    assert [process.returncode for process in starting] == [0] * PROCESSES
    assert len(list(counts.glob("counter_*.db"))) == PROCESSES


def test_doctor_checks_a_folder_in_which_files_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "punchcard.db").touch(0o600)
    with subprocess.Popen([sys.executable, "-c", RESTLESS, str(tmp_path)]) as restless:
        try:
            wait_until((tmp_path / "punchcard.db-wal").exists)
            for _ in range(5):
                assert "data folder" in command("doctor", "--data", str(tmp_path)).stdout
        finally:
            restless.kill()

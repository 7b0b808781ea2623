"""`punchcard demo`, a newcomer's first minute: all starts, points arrive, the shown trace works, Ctrl-C ends it.

It runs from the wheel in a clean environment, as `uvx punchcard demo` does: nothing of the repository is there.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.clean_environment import CleanEnvironment, install_wheel

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240  # an audience is left half a minute after it was entered
STOP_SECONDS = 120


class Demo:
    """A running demo and what it has printed."""

    def __init__(self, folder: Path, environment: CleanEnvironment) -> None:
        # A group of its own: Ctrl-C in a terminal reaches every process of it, and so does a test's last resort.
        self._process = subprocess.Popen(
            [environment.command, "demo", "--port", "0"],
            cwd=folder,
            env=environment.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._came:
                self.lines.append(line.rstrip())
                self._came.notify_all()

    def wait_for(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """The first line that matches, once so many have."""

        def matches() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._came:
            assert self._came.wait_for(lambda: len(matches()) >= times, PATIENCE_SECONDS), "\n".join(self.lines)
            return matches()[0]

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        os.killpg(self._process.pid, signal.SIGINT)
        status = self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        return status

    def kill(self) -> None:
        """The end of what is still there."""
        self._process.terminate()  # it stops its parts then, which no signal to it reaches
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def demo(folder: Path, environment: CleanEnvironment) -> Iterator[Demo]:
    running = Demo(folder, environment)
    try:
        yield running
    finally:
        running.kill()


def transactions(sandbox_url: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{sandbox_url}/sandbox/transactions", timeout=120) as response:
        result: list[dict[str, object]] = json.load(response)["transactions"]
    return result


def is_gone(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.URLError:
        return True
    return False


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    return install_wheel(tmp_path_factory.mktemp("clean"))


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as response:
        content: bytes = response.read()
    return content


def test_the_wheel_has_everything_that_is_read_at_run_time(environment: CleanEnvironment) -> None:
    """All that git has in the package, what `make assets` builds, and the documentation."""
    with zipfile.ZipFile(environment.wheel) as archive:
        packed = {name.removeprefix("punchcard/") for name in archive.namelist()}
    source = ROOT / "src" / "punchcard"
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - packed == set()
    assert {"app/built/manifest.json", "ingest/built/library.json", "default.toml"} <= packed
    pages = {f"documentation/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "docs").rglob("*.md")}
    assert pages - packed == set()
    assert environment.wheel.stat().st_size < 6_000_000  # as docs/how-to/install.md says


def test_points_flow_members_come_and_go_and_the_demo_resumes(tmp_path: Path, environment: CleanEnvironment) -> None:
    with demo(tmp_path, environment) as first:
        url = first.wait_for(r"accepts events at\s+(http://\S+)/v1/track")[1]
        sandbox = first.wait_for(r"sandbox is at\s+(http://\S+)/")[1]
        first.wait_for(r"^  delivered .* × perk 12345\d  \w+@example.com", times=3)
        command = shlex.split(first.wait_for(r"punchcard trace .*")[0])
        trace = subprocess.run(
            [environment.command, *command[1:]],
            cwd=tmp_path,
            env=environment.variables,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert "perkville: delivered" in trace.stdout
        # A member enters and leaves an audience: both are effects without a quantity.
        first.wait_for(r"^  delivered  set just_arrived = true of \w+@example.com")
        first.wait_for(r"^  delivered  set just_arrived = false of \w+@example.com")
        # The App has its styles, and its documentation with pictures.
        index = fetch(f"{url}/docs").decode()
        assert "The styles are not built" not in index
        assert fetch(url + re.findall(r'href="(/assets/app[^"]+css)"', index)[0])
        assert fetch(f"{url}/docs/app/home.png").startswith(b"\x89PNG")
        booked = transactions(sandbox)
        assert len(booked) >= 3
        assert len({row["trans_source_id"] for row in booked}) == len(booked)
        assert first.interrupt() == 0, "\n".join(first.lines)
        assert is_gone(f"{url}/health/live")
        assert is_gone(sandbox)
    with demo(tmp_path, environment) as second:
        sandbox = second.wait_for(r"sandbox is at\s+(http://\S+)/")[1]
        second.wait_for(r"^  delivered .* × perk 12345\d ")  # setting a trait books no transaction
        ids = [row["trans_source_id"] for row in transactions(sandbox)]
        assert {row["trans_source_id"] for row in booked} < set(ids)
        assert len(set(ids)) == len(ids)
        assert second.interrupt() == 0, "\n".join(second.lines)

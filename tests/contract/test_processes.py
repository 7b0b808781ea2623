"""A forked process of a test is what `python -m` starts: all that it gets, shows and leaves is the same."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.product import cpu_seconds, memory_bytes
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.processes import children_of, run_module, start_module
from punchcard.testing.product import ProductProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

PROBE = """
import json, os, resource, signal, sys, tempfile, threading

def stream(file):
    return [file.fileno(), file.encoding, file.errors, file.line_buffering, file.isatty()]

print(json.dumps({
    "arguments": sys.argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "first import path": sys.path[0],
    "name": __name__,
    "streams": [stream(file) for file in (sys.stdin, sys.stdout, sys.stderr)],
    "descriptors": len(os.listdir("/proc/self/fd")),
    "descriptors at most": resource.getrlimit(resource.RLIMIT_NOFILE),
    "session leader": os.getsid(0) == os.getpid(),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
    "blocked signals": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "threads": threading.active_count(),
    "temporary folder": tempfile.gettempdir(),
    "umask": os.umask(0),
}))
"""
COMMAND_LINE = "import sys; print(open('/proc/self/cmdline').read().split(chr(0)))"


@pytest.fixture(params=["forked", "python -m"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How processes start."""
    if request.param == "python -m":
        monkeypatch.setenv("TEST_FORKS", "0")
    return str(request.param)


def script(folder: Path, code: str) -> Path:
    """A folder with the module `probe`."""
    folder.joinpath("probe.py").write_text(textwrap.dedent(code))
    return folder


def seen(folder: Path, *, forks: bool, **more: Any) -> dict[str, Any]:
    """What a process finds when it starts."""
    environment = {**os.environ, "TMPDIR": str(folder), "PROBE": "æ", "TEST_FORKS": "1" if forks else "0"}
    pipe = subprocess.PIPE
    process = start_module("probe", "a b", "--c", stdout=pipe, environment=environment, folder=folder, **more)
    with process:
        result: dict[str, Any] = json.loads(process.communicate()[0])
    return result


@pytest.mark.parametrize(
    "more",
    [{}, {"descriptors_max": 77}, {"stdin": subprocess.PIPE}, {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}],
    ids=["plain", "limited", "piped input", "piped errors"],
)
def test_a_forked_process_finds_what_a_started_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, more: dict[str, Any]
) -> None:
    script(tmp_path, PROBE)
    run_module("probe", folder=tmp_path)  # now the process that forks is running
    umask = os.umask(0o027)
    request.addfinalizer(lambda: os.umask(umask))
    forked = seen(tmp_path, forks=True, **more)
    monkeypatch.setenv("TEST_FORKS", "0")
    started = seen(tmp_path, forks=False, **more)
    for result in (forked, started):
        for variable in ("TEST_FORKS", "PWD", "OLDPWD", "SHLVL", "_"):  # the others are a shell's, which sets the limit
            result["environment"].pop(variable, None)
    assert forked == started
    assert forked["arguments"][1:] == ["a b", "--c"]


def test_only_what_can_be_forked_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = script(tmp_path, COMMAND_LINE)
    assert "punchcard.testing.fork_server" in run_module("probe", folder=folder).stdout
    for variable, value in (("PYTHONUTF8", "0"), ("LC_ALL", "C"), ("LANG", "POSIX")):
        started = run_module("probe", folder=folder, environment={**os.environ, variable: value})
        assert "punchcard.testing.fork_server" not in started.stdout, variable
    monkeypatch.setenv("LC_ALL", "C")  # of this process, but not of the one that forks
    assert "punchcard.testing.fork_server" not in run_module("probe", folder=folder).stdout


@pytest.mark.parametrize(
    ("code", "status", "output", "error"),
    [
        ("print('done')", 0, "done\n", ""),
        ("raise SystemExit(3)", 3, "", ""),
        ("import sys; sys.exit('no')", 1, "", "no\n"),
        ("import os; print('a', flush=True); os._exit(7)", 7, "a\n", ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "", ""),
        ("import atexit; atexit.register(print, 'at the end')", 0, "at the end\n", ""),
        ("import sys; print(sys.stdin.read().upper())", 0, "HELLO\n", ""),
        ("import threading; threading.Timer(0.1, print, ['from a thread']).start()", 0, "from a thread\n", ""),
    ],
)
def test_status_and_output_are_those_of_the_process(
    way: str, tmp_path: Path, code: str, status: int, output: str, error: str
) -> None:
    done = run_module("probe", stdin="hello", folder=script(tmp_path, code))
    assert (done.returncode, done.stdout, done.stderr) == (status, output, error), way


def test_an_exception_is_shown_and_ends_with_1(way: str, tmp_path: Path) -> None:
    done = run_module("probe", folder=script(tmp_path, "raise ValueError('broken')"))
    assert done.returncode == 1, way
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ValueError: broken\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_signal_reaches_the_process(way: str, tmp_path: Path, number: int, status: int) -> None:
    code = """
        import signal, sys
        try:
            print("ready", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            sys.exit(130)
        """
    with start_module("probe", stdout=subprocess.PIPE, folder=script(tmp_path, code)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None, way
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(number)
        assert (process.wait(), process.poll(), process.returncode) == (status, status, status)
        assert not Path(f"/proc/{process.pid}").exists()
        process.kill()  # without effect on another process that may have the id


def test_streams_are_files_and_a_terminal(way: str, tmp_path: Path) -> None:
    folder = script(tmp_path, "import sys; print(sys.stdout.isatty()); print('error', file=sys.stderr)")
    ours, theirs = pty.openpty()
    with (tmp_path / "errors").open("w") as errors:
        process = start_module("probe", stdout=theirs, stderr=errors, folder=folder)
        assert process.wait() == 0, way
    os.close(theirs)
    assert os.read(ours, 100) == b"True\r\n"
    os.close(ours)
    assert (tmp_path / "errors").read_text() == "error\n"
    with start_module("probe", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, folder=folder) as process:
        assert sorted(process.communicate()[0].split()) == ["False", "error"]


def test_a_process_that_takes_too_long_is_killed(way: str, tmp_path: Path) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(900)"
    with pytest.raises(subprocess.TimeoutExpired):
        run_module("probe", folder=script(tmp_path, code), seconds=0.2)


def test_the_product_is_the_same_by_its_script_its_module_and_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    forked = run_module("punchcard", "send", "--nothing")
    monkeypatch.setenv("TEST_FORKS", "0")
    started = run_module("punchcard", "send", "--nothing")
    script = Path(sys.executable).parent / "punchcard"
    done = subprocess.run([script, "send", "--nothing"], capture_output=True, text=True, check=False)
    results = [(process.returncode, process.stdout, process.stderr) for process in (forked, started, done)]
    assert results[0] == results[1] == results[2]
    assert results[0][0] == 2


def test_the_product_forks_its_worker_as_when_it_is_started(tmp_path: Path) -> None:
    with ProductProcess(tmp_path, configuration(perkville_url="http://127.0.0.1:9")) as product:
        worker = product.worker_pid()
        command_lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (product.pid, worker)]
    assert command_lines[0] == command_lines[1]


def test_a_killed_test_run_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    test_run = """
        import subprocess, sys, time
        from pathlib import Path
        from punchcard.testing.processes import start_module
        start_module("endless", folder=Path(sys.argv[1]))
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(test_run), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        pidfd = os.pidfd_open(int(killed.stdout.readline()))
        killed.kill()
    with open(pidfd, "rb"):
        assert select.select([pidfd], [], [], PATIENCE_SECONDS)[0], "the forked process still runs"


RESTLESS = """
import subprocess, threading

def lasting():
    subprocess.run(["sleep", "60"])

def passing():
    subprocess.run(["true"])

threading.Thread(target=lasting, daemon=True).start()
print("begun", flush=True)
while True:
    threads = [threading.Thread(target=passing) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_children_are_counted_while_threads_and_other_children_end() -> None:
    with subprocess.Popen([sys.executable, "-c", RESTLESS], stdout=subprocess.PIPE, text=True) as restless:
        try:
            assert restless.stdout is not None
            assert restless.stdout.readline() == "begun\n"
            lasting = wait_until(lambda: children_named("sleep", restless.pid))
            for _ in range(100):
                assert children_named("sleep", restless.pid) == lasting
                assert cpu_seconds(restless.pid) >= 0
                assert memory_bytes(restless.pid) > 0
        finally:
            for pid in [restless.pid, *children_of(restless.pid)]:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, signal.SIGKILL)


def children_named(name: str, pid: int) -> list[int]:
    """The children of a process that run a program."""
    matches = []
    for child in children_of(pid):
        with suppress(OSError):  # it has just ended
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                matches.append(child)
    return matches

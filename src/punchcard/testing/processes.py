"""Starts processes that run modules of the product, quickly.

Importing the product takes more time than most of what tests do with it. So `start_module` asks a process that has
imported it to fork, which differs from `python -m` in nothing that tests see: arguments, environment, folder, standard
streams, signals and exit status. What differs is the command line that the kernel shows.

Processes are started with `python -m` where that is not possible: on systems other than Linux, with other settings of
Python, of the language or of the dynamic linker than this process has, while coverage is measured, and if TEST_FORKS
is 0.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from punchcard.testing.fork_server import RESPONSE, StartRequest
from punchcard.testing.waiting import PATIENCE_SECONDS

_FORKS = "TEST_FORKS"
_START_VARIABLES = ("PYTHON", "LANG", "LC_", "LD_")  # those that Python reads, and the dynamic linker
_COVERAGE_VARIABLE = "COVERAGE_PROCESS_CONFIG"
_MILLISECONDS = 1000


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started and that run, the oldest first.

    Raises:
        psutil.NoSuchProcess: The process has ended.
    """
    return [child.pid for child in sorted(psutil.Process(pid).children(), key=psutil.Process.create_time)]


def start_module(
    module: str,
    *arguments: str,
    stdin: IO[Any] | int | None = None,
    stdout: IO[Any] | int | None = None,
    stderr: IO[Any] | int | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    descriptors_max: int | None = None,
) -> "subprocess.Popen[str]":
    """Start a process in a session of its own that runs a module as `python -m` does.

    Args:
        stdin: As for `subprocess.Popen`, as are stdout and stderr; pipes are of text.
        environment: All its variables; None for those of this process.
        folder: Its working directory; None for that of this process.
        descriptors_max: Maximum number of its open files; None leaves this process's own limit.
    """
    variables = dict(os.environ if environment is None else environment)
    if _can_fork(variables):
        request = StartRequest(
            module, arguments, variables, str(folder or Path.cwd()), umask=_umask(), descriptors_max=descriptors_max
        )
        return _ForkedProcess(_SERVER, request, stdin=stdin, stdout=stdout, stderr=stderr)
    command = [sys.executable, "-m", module, *arguments]
    if descriptors_max is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors_max}; exec "$0" "$@"', *command]
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=variables,
        cwd=folder,
        start_new_session=True,
    )


def _umask() -> int:
    """Return the umask of this process, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def run_module(
    module: str,
    *arguments: str,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = PATIENCE_SECONDS,
) -> "subprocess.CompletedProcess[str]":
    """Run a module as `python -m` does, to its end.

    Args:
        stdin: What it reads; None for nothing.
        environment: All its variables; None for those of this process.
        folder: Its working directory; None for that of this process.

    Raises:
        subprocess.TimeoutExpired: It took longer than `seconds`, and was killed.
    """
    pipe = subprocess.PIPE
    source = subprocess.DEVNULL if stdin is None else pipe
    with start_module(
        module, *arguments, stdin=source, stdout=pipe, stderr=pipe, environment=environment, folder=folder
    ) as process:
        try:
            output, errors = process.communicate(stdin, timeout=seconds)
        except BaseException:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.wait(), output, errors)


def end_fork_server() -> None:
    """End the process that forks, if it was started, and those that it has forked."""
    _SERVER.close()


def _can_fork(environment: Mapping[str, str]) -> bool:
    if sys.platform != "linux" or _COVERAGE_VARIABLE in os.environ or os.environ.get(_FORKS) == "0":
        return False
    return _interpreter_settings(environment) == _SERVER.interpreter_settings()


def _interpreter_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_START_VARIABLES)}


class _ForkServer:
    """The process that forks, started when it is first needed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._settings: dict[str, str] = {}

    def interpreter_settings(self) -> dict[str, str]:
        """Return the variables that were read when the process started, or will be."""
        return _interpreter_settings(os.environ) if self._connection is None else self._settings

    def fork(self, request: StartRequest, streams: list[int]) -> tuple[int, int, int]:
        """Return the process id, a pidfd, and the pipe that brings the wait status."""
        with self._guard:
            if self._connection is None:
                self._connection = self._start()
            socket.send_fds(self._connection, [request.to_bytes()], streams)
            message, descriptors, _, _ = socket.recv_fds(self._connection, RESPONSE.size, 2)
        if not message:
            raise RuntimeError("The process that forks has ended.")
        pidfd, status = descriptors
        return RESPONSE.unpack(message)[0], pidfd, status

    def close(self) -> None:
        """End the process."""
        with self._guard:
            if self._connection is not None and self._process is not None:
                self._connection.close()
                self._process.wait()
            self._connection = self._process = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = theirs.fileno()
        self._settings = _interpreter_settings(os.environ)
        with theirs:
            # Its standard streams are not those of pytest: a reader of them must not wait for its end.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "punchcard.testing.fork_server", str(descriptor)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[descriptor],
                start_new_session=True,
            )
        return ours


_SERVER = _ForkServer()


class _ForkedProcess(subprocess.Popen[str]):
    """A process that is not a child of this one; all public members of the base class work as for a child."""

    def __init__(
        self,
        server: _ForkServer,
        request: StartRequest,
        *,
        stdin: IO[Any] | int | None,
        stdout: IO[Any] | int | None,
        stderr: IO[Any] | int | None,
    ) -> None:
        self.args = [sys.executable, "-m", request.module, *request.arguments]
        self.stdin = self.stdout = self.stderr = None
        self.returncode: int | None = None
        self._guard = threading.Lock()
        with ExitStack() as passed:
            streams: list[int] = []
            for name, stream, mode in (("stdin", stdin, "w"), ("stdout", stdout, "r"), ("stderr", stderr, "r")):
                number = len(streams)
                if stream == subprocess.PIPE:
                    reader, writer = os.pipe()
                    ours, theirs = (writer, reader) if mode == "w" else (reader, writer)
                    setattr(self, name, os.fdopen(ours, mode))
                elif stream == subprocess.DEVNULL:
                    theirs = os.open(os.devnull, os.O_RDWR)
                elif stream == subprocess.STDOUT:
                    theirs = os.dup(streams[1])
                else:
                    theirs = os.dup(
                        number if stream is None else stream if isinstance(stream, int) else stream.fileno()
                    )
                passed.callback(os.close, theirs)
                streams.append(theirs)
            self.pid, self._pidfd, self._status = server.fork(request, streams)

    def poll(self) -> int | None:
        """Return the exit status if the process has ended."""
        return self._exit_status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status as soon as the process has ended."""
        status = self._exit_status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process, unless it has ended."""
        with self._guard:
            if self.returncode is None:
                with suppress(ProcessLookupError):  # it has ended, and its status follows
                    signal.pidfd_send_signal(self._pidfd, sig)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Send the input, and return all output and errors ("" for those without a pipe)."""
        results = ["", ""]

        def write(stream: IO[str]) -> None:
            with suppress(BrokenPipeError), stream:  # the process need not read
                stream.write(input or "")

        def read(number: int, stream: IO[str]) -> None:
            with stream:
                results[number] = stream.read()

        threads = []
        if self.stdin is not None:
            threads.append(threading.Thread(target=write, args=(self.stdin,), daemon=True))
        for number, stream in enumerate((self.stdout, self.stderr)):
            if stream is not None:
                threads.append(threading.Thread(target=read, args=(number, stream), daemon=True))
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join()
        return results[0], results[1]

    def _exit_status(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._status, select.POLLIN)
            if not waiting.poll(None if seconds is None else seconds * _MILLISECONDS):
                return None
        with self._guard:
            if self.returncode is None:
                message = os.read(self._status, RESPONSE.size)
                if not message:
                    raise RuntimeError("The process that forks has ended before this one.")
                self.returncode = os.waitstatus_to_exitcode(RESPONSE.unpack(message)[0])
                os.close(self._status)
                os.close(self._pidfd)
            return self.returncode

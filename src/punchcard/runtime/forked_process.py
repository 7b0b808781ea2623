"""A child process forked from this one before it opens anything: both share the memory of everything imported so far.

A fork copies neither threads nor locks, and both sides would use one database connection or socket. So a process forks
only while it is a single thread that has opened nothing (`can_fork`); otherwise its caller starts a new interpreter.
"""

import fcntl
import gc
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

# These start threads or keep connections of their own as soon as they are imported.
_UNSAFE_MODULES: Final = frozenset({"deltalake", "duckdb", "psycopg", "pyarrow"})
_THREADS: Final = Path("/proc/self/task")
_DESCRIPTORS: Final = Path("/proc/self/fd")
_NAME: Final = Path("/proc/self/comm")
_STANDARD_STREAMS: Final = 3
_FAILED: Final = 1
_INTERRUPTED: Final = 130

# Of the forked processes that have not ended: each child closes those of the others.
_parent_descriptors: set[int] = set()


def can_fork(*, counters: Path, shared: Collection[int] = ()) -> bool:
    """Return whether this process is one thread that has opened nothing a child could not share.

    Args:
        counters: Folder of the files of prometheus_client, which opens files of the child's own after a fork.
        shared: Descriptors that are meant for children.
    """
    if not hasattr(os, "pidfd_open") or not _THREADS.exists():
        return False
    if _UNSAFE_MODULES & set(sys.modules) or len(list(_THREADS.iterdir())) > 1:
        return False
    descriptors = set(map(int, os.listdir(_DESCRIPTORS))).difference(shared)
    return not any(_is_own(descriptor, counters) for descriptor in descriptors)


def _is_own(descriptor: int, counters: Path) -> bool:
    """Return whether this program has opened a descriptor; those of its parent are open in every child anyway."""
    if descriptor < _STANDARD_STREAMS:
        return False
    try:
        if not fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
            return False
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # a source of random bytes
            return False
        return Path(os.readlink(_DESCRIPTORS / str(descriptor))).parent != counters.resolve()
    except OSError:  # closed meanwhile: the one by which the folder was listed
        return False


class ForkedProcess:
    """A forked child that waits until it may begin. It ends when this process is gone, as its standard input closes.

    Args:
        name: Name of the process in lists of the system; at most 15 characters are shown.
        prepare: Called in the child at once.
        run: Called in the child once it may begin; returns its exit status.
    """

    def __init__(self, name: str, *, prepare: Callable[[], object], run: Callable[[], int]) -> None:
        self._status: int | None = None
        self._guard = threading.Lock()
        siblings = list(_parent_descriptors)
        begin, self._lifeline = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # a collection writes to what it visits, and each page that it writes to is no longer shared
        self.pid = os.fork()
        if self.pid == 0:
            # A child that held the lifeline of another one would keep it running after the end of their parent.
            for descriptor in (self._lifeline, *siblings):
                os.close(descriptor)
            _run_child(name, begin, prepare, run)
        os.close(begin)
        self._descriptor = os.pidfd_open(self.pid)
        _parent_descriptors.update((self._lifeline, self._descriptor))

    def begin(self) -> None:
        """Begin the work of the child; without effect if it has ended already, which `wait` reports."""
        with suppress(BrokenPipeError):
            os.write(self._lifeline, b"1")

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status of the child, negative for a signal, once it has ended.

        Raises:
            subprocess.TimeoutExpired: It has not ended within this many seconds.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1_000):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        with self._guard:
            if self._status is None:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self._status

    def terminate(self) -> None:
        """Send SIGTERM; without effect once it has ended."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; without effect once it has ended."""
        self._send(signal.SIGKILL)

    def end(self) -> None:
        """Wait for the end of a child that was never begun, or that was stopped."""
        _parent_descriptors.difference_update((self._lifeline, self._descriptor))
        os.close(self._lifeline)
        self.wait()
        os.close(self._descriptor)

    def _send(self, number: signal.Signals) -> None:
        with self._guard:
            if self._status is None:
                signal.pidfd_send_signal(self._descriptor, number)


def _run_child(name: str, begin: int, prepare: Callable[[], object], run: Callable[[], int]) -> None:
    """Run the child and end it, without the exit handlers that belong to its parent."""
    status = _FAILED
    try:
        if begin != 0:
            os.dup2(begin, 0)
            os.close(begin)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  # until the process ends
        _NAME.write_text(name)
        prepare()
        status = run() if os.read(0, 1) else 0
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else _FAILED
    except BaseException:  # noqa: BLE001  # the outermost loop of the child: nothing of it may return to the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

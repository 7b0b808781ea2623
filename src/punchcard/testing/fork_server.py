"""A process that has imported the product and forks itself for each start: what `python -m` does, without the imports.

Run by `punchcard.testing.processes`, which connects it to a socket. Each message on it requests one process; the
response holds its process id, a pidfd, and a pipe that brings its wait status once it has ended and was reaped.
"""

import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

MESSAGE_BYTES_MAX = 1 << 20
RESPONSE = struct.Struct("=i")
STREAMS = 3  # standard input, output and error
# prometheus_client decides at import where it stores values. The others start threads, which a fork does not copy, or
# keep the product from forking: see `punchcard.runtime.forked_process`.
_NOT_PRELOADED = frozenset(
    {"prometheus_client", "duckdb", "_duckdb", "pyarrow", "deltalake", "psycopg", "psycopg_pool", "confluent_kafka"}
)
_SKIPPED_PACKAGES = ("punchcard.testing", "punchcard.store.migrations")


@dataclass(frozen=True)
class StartRequest:
    """A module to run as `__main__`, with all that a process gets from its parent except its standard streams.

    Args:
        umask: Permissions that new files do not get.
        descriptors_max: Maximum number of open files; None leaves that of the server.
    """

    module: str
    arguments: Sequence[str]
    environment: dict[str, str]
    folder: str
    umask: int
    descriptors_max: int | None = None

    def to_bytes(self) -> bytes:
        """Return the request as a message."""
        return json.dumps(asdict(self)).encode()


class _Blocker(MetaPathFinder):
    """Refuses the imports that each process must make itself."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Raise ImportError for a blocked module; leave all others to the other finders."""
        if fullname.partition(".")[0] in _NOT_PRELOADED:
            raise ImportError(f"{fullname} is not preloaded", name=fullname)
        return None


def preload() -> None:
    """Import every module of the product that needs neither a blocked one nor one that is not installed.

    Raises:
        ImportError: A module failed for another reason.
        RuntimeError: An import has started a thread.
    """
    importlib.import_module("punchcard.runtime")  # before anything imports structlog, see there
    punchcard = importlib.import_module("punchcard")
    blocker = _Blocker()
    sys.meta_path.insert(0, blocker)
    try:
        for module in pkgutil.walk_packages(punchcard.__path__, "punchcard.", onerror=lambda _: None):
            if module.name.startswith(_SKIPPED_PACKAGES) or module.name.endswith(".__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                # What is missing is an optional extra: the process that needs it reports that itself.
                if not error.name or error.name.partition(".")[0] == "punchcard":
                    raise
    finally:
        sys.meta_path.remove(blocker)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("an import has started a thread, which forked processes would lack: add it to those blocked")


def serve(connection: socket.socket) -> StartRequest | None:
    """Fork for each request until the connection is closed, which ends all that still runs: nobody is left to stop it.

    Returns:
        The request, in a forked process; None in the server.
    """
    running: dict[int, tuple[int, int]] = {}  # process id and status pipe, by pidfd
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd != connection.fileno():
                    selector.unregister(key.fd)
                    _report_end(key.fd, *running.pop(key.fd))
                    continue
                message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES_MAX, STREAMS)
                if not message:
                    for pid, _ in running.values():
                        _kill(pid)
                    return None
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    for pidfd, (_, pipe) in running.items():
                        os.close(pidfd)
                        os.close(pipe)
                    return _become(StartRequest(**json.loads(message)), descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                pidfd = os.pidfd_open(pid)
                reader, writer = os.pipe()
                running[pidfd] = (pid, writer)
                selector.register(pidfd, selectors.EVENT_READ)
                socket.send_fds(connection, [RESPONSE.pack(pid)], [pidfd, reader])
                os.close(reader)


def _kill(pid: int) -> None:
    """Kill a forked process with its session, or alone if it is too young to have one."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)


def _report_end(pidfd: int, pid: int, pipe: int) -> None:
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(pipe, RESPONSE.pack(status))
    os.close(pipe)
    os.close(pidfd)


def _become(request: StartRequest, descriptors: Sequence[int]) -> StartRequest:
    """Give this forked process what the request says, and the state of a process that has just started."""
    os.setsid()
    for stream, descriptor in enumerate(descriptors):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.chdir(request.folder)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    tempfile.tempdir = None
    sys.path[0] = request.folder
    if sys.stdout.isatty():
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.descriptors_max is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (request.descriptors_max, request.descriptors_max))
    return request


def main() -> None:
    """Serve the socket of which the descriptor is the argument; in a forked process, run the requested module."""
    preload()
    gc.collect()
    gc.freeze()  # what is imported is shared with the forked processes, unless a search for garbage writes to it
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        request = serve(connection)
    if request is not None:
        sys.argv[1:] = request.arguments
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

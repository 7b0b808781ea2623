"""The other processes of `up` and `serve`: forked before this one opens more than its port, begun once it has."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from punchcard.runtime.child_process import ChildProcess
from punchcard.runtime.forked_process import ForkedProcess, can_fork
from punchcard.runtime.listening import bind_sockets
from punchcard.runtime.metrics import metrics_folder, reserve_metrics
from punchcard.runtime.settings import Settings

_WORKER_MODULE = "punchcard.runtime.processes"
_SERVING_MODULE = "punchcard.runtime.serving_process"


class Children:
    """The child processes of a first process, and its own socket.

    Attributes:
        listening: The socket on which the first process accepts requests.
    """

    def __init__(self, settings: Settings, listening: socket.socket, children: list[ChildProcess]) -> None:
        self._settings = settings
        self.listening = listening
        self._children = children
        self._stopping = threading.Event()
        self._keepers: list[threading.Thread] = []

    def begin(self) -> None:
        """Begin all of them, and start each again whenever it ends unexpectedly."""
        for child in self._children:
            keeper = threading.Thread(target=child.keep_running, args=(self._stopping,), name="child-keeper")
            keeper.start()
            self._keepers.append(keeper)

    def request_stop(self) -> None:
        """Request all of them to finish, and start none again."""
        self._stopping.set()
        for child in self._children:
            child.request_stop()

    def stop(self) -> None:
        """Wait until all of them have finished; kill those that take too long."""
        self.request_stop()
        for child in self._children:
            child.stop(self._settings.shutdown_seconds)
        for keeper in self._keepers:
            keeper.join()


@contextmanager
def open_children(
    settings: Settings, *, config_file: str = "", worker: Callable[[Settings], int] | None = None
) -> Iterator[Children]:
    """Bind the port and fork the other processes, which wait to begin.

    Args:
        config_file: The file from which the configuration is applied, "" if there is none.
        worker: Runs the worker in its process; None has none.

    Raises:
        PunchcardError: The port is in use, or the key of stored secrets cannot be read.
    """
    # Before the fork, so that all processes share it. Deriving the key takes 50 ms.
    import punchcard.runtime.serve  # noqa: F401
    from punchcard.runtime.assembly import open_keyring

    open_keyring(settings)

    with ExitStack() as opened:
        sockets = bind_sockets(settings.host, settings.port, count=settings.processes)
        for bound in sockets:
            opened.callback(bound.close)
        descriptors = {bound.fileno() for bound in sockets}
        may_fork = can_fork(counters=metrics_folder(settings.data), shared=descriptors)

        def fork(name: str, run: Callable[[], int], *, listening: socket.socket | None = None) -> ForkedProcess | None:
            if not may_fork:
                return None

            def prepare() -> None:
                reserve_metrics(settings.data)
                for bound in sockets:
                    if bound is not listening:
                        bound.close()
                if listening is None:
                    import punchcard.runtime.worker  # noqa: F401  # while the first process opens its storage

            forked = ForkedProcess(name, prepare=prepare, run=run)
            opened.callback(forked.end)
            return forked

        children = []
        if worker is not None:
            forked = fork("punchcard-worker", lambda: worker(settings))
            children.append(ChildProcess(settings, name="worker", module=_WORKER_MODULE, forked=forked))
        for bound in sockets[1:]:
            children.append(_serving_child(settings, bound, config_file, fork))
        yield Children(settings, sockets[0], children)


def _serving_child(
    settings: Settings,
    listening: socket.socket,
    config_file: str,
    fork: Callable[..., ForkedProcess | None],
) -> ChildProcess:
    from punchcard.runtime.serving_process import run_serving_process

    descriptor = str(listening.fileno())
    return ChildProcess(
        settings,
        name="serve",
        module=_SERVING_MODULE,
        arguments=["--socket", descriptor, "--config-file", config_file],
        descriptors=[listening.fileno()],
        forked=fork(
            "punchcard-serve",
            lambda: run_serving_process(settings, listening, config_file=config_file),
            listening=listening,
        ),
    )

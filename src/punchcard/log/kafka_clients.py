"""The clients of librdkafka, each destroyed by a thread of ours.

librdkafka aborts the process if a client is destroyed by its own thread. An admin client runs Python there, to report
responses, and Python collects garbage in whichever thread it runs: a client in a reference cycle, with an exception
for example, would be destroyed there. So all clients are referred to from here until nothing else refers to them.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

_ONLY_HERE: Final = 2  # references: that of the list, and that of the call which counts them

T = TypeVar("T")

_clients: Final[list[Any]] = []
_lock: Final = threading.Lock()


def open_client(kind: Callable[[dict[str, Any]], T], settings: Mapping[str, Any]) -> T:
    """Return a new client; destroy those that are used no more.

    Args:
        kind: `AdminClient`, `Consumer` or `Producer`.
        settings: As librdkafka names them.

    Raises:
        KafkaException: A setting is wrong.
    """
    destroy_unused()
    client = kind(dict(settings))
    with _lock:
        _clients.append(client)
    return client


def destroy_unused() -> None:
    """Destroy the clients that nothing but this module refers to."""
    with _lock:
        unused = [_clients.pop(index) for index in reversed(range(len(_clients))) if _is_unused(index)]
    unused.clear()  # may wait for their threads, so not with the lock


def _is_unused(index: int) -> bool:
    return sys.getrefcount(_clients[index]) <= _ONLY_HERE

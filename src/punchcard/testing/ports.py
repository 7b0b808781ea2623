"""Ports of the loopback that a test gives to processes which it starts later, or starts again."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Reserve a free port until the block ends.

    Nobody else is given it, and connections to it are refused until a server that sets SO_REUSEADDR, as ours do,
    listens on it.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield int(reservation.getsockname()[1])

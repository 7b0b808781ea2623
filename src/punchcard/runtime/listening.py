"""The sockets on which requests are accepted: one, or one for each serving process of a port."""

import os
import socket

from punchcard.errors import PunchcardError


def bind_sockets(host: str, port: int, *, count: int) -> list[socket.socket]:
    """Bind as many sockets to one address; the kernel divides connections among those that listen.

    The process that starts the others binds all of them and keeps them open: connections that wait for a process that
    has ended are accepted by the one that takes its place.

    Args:
        port: 0 selects a free one.

    Raises:
        PunchcardError: The address is in use or cannot be listened on.
    """
    # Alone at first: sockets that share a port would also share it with another Punchcard of the same user.
    first = _bind(host, port, is_shared=False)
    if count == 1:
        return [first]
    port = first.getsockname()[1]
    first.close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_bind(host, port, is_shared=True))
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _bind(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PunchcardError(
            f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. Choose another port with --port.",
            code="address_unavailable",
        ) from error
    listening.set_inheritable(False)
    return listening

"""A link to a network namespace that can be cut as by a broken cable: what was sent before is lost, or comes later."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

# PostgreSQL notices a machine that has vanished by these options of its sessions, which are set here for it.
_NOTICED: Final = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}


class CutNetwork:
    """A link to a namespace in which one server is reached.

    Args:
        path: The Unix socket of the server.
        port: At which it is reached there.

    Attributes:
        address: At which it is reached.
    """

    def __init__(self, path: Path, *, port: int) -> None:
        self._name = f"pc{uuid.uuid4().hex[:8]}"
        number = int(self._name[2:4], 16)
        self.address = f"10.203.{number}.2"
        self._run("netns", "add", self._name)
        self._run("link", "add", self._name, "type", "veth", "peer", "name", "inside", "netns", self._name)
        self._run("addr", "add", f"10.203.{number}.1/24", "dev", self._name)
        self._run("-n", self._name, "addr", "add", f"{self.address}/24", "dev", "inside")
        self._run("-n", self._name, "link", "set", "inside", "up")
        self._run("link", "set", self._name, "up")
        command_line = ["ip", "netns", "exec", self._name, sys.executable, "-m", __name__]
        self._relay = subprocess.Popen([*command_line, self.address, str(port), str(path)], stdout=subprocess.PIPE)
        assert self._relay.stdout is not None
        assert self._relay.stdout.readline() == b"ready\n"

    @staticmethod
    def _run(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def cut(self) -> None:
        """Lose everything that is sent, without a word to either side."""
        self._run("-n", self._name, "link", "set", "inside", "down")

    def restore(self) -> None:
        """Let everything through again."""
        self._run("-n", self._name, "link", "set", "inside", "up")

    def close(self) -> None:
        """Remove link and namespace."""
        self._relay.kill()
        self._relay.communicate()
        self._run("netns", "del", self._name)


@contextmanager
def network_to_socket(path: Path, *, port: int) -> Iterator[CutNetwork]:
    """Yield a network with the server of a Unix socket in it; skip the test where none can be made."""
    probe = f"pc{uuid.uuid4().hex[:8]}"
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("only root with iproute2 can make network namespaces")
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        pytest.skip("this machine permits no network namespaces")
    subprocess.run(["ip", "netns", "del", probe], check=True)
    network = CutNetwork(path, port=port)
    try:
        yield network
    finally:
        network.close()


@contextmanager
def network_to_port(port: int, folder: Path) -> Iterator[CutNetwork]:
    """Yield a network with the server of a local port in it, at the same port; skip where none can be made."""
    path = folder / "relay.sock"
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen()
        threads: list[threading.Thread] = []

        def start(target: Callable[..., None], *arguments: object) -> None:
            threads.append(threading.Thread(target=target, args=arguments))
            threads[-1].start()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    near = stack.enter_context(listening.accept()[0])
                    far = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                    start(_pump, near, far)
                    start(_pump, far, near)

        start(accept)
        try:
            with network_to_socket(path, port=port) as network:
                yield network
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:  # the relay is gone: all connections have ended
                thread.join()


def _relay(address: str, port: int, path: str) -> None:
    """Accept TCP in this network namespace and pass it on to a Unix socket, which all namespaces share."""
    with socket.create_server((address, port)) as listening:
        print("ready", flush=True)
        while True:
            near, _ = listening.accept()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _NOTICED.items():
                near.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            far = socket.socket(socket.AF_UNIX)
            far.connect(path)
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # wakes the thread of the other direction


if __name__ == "__main__":
    _relay(sys.argv[1], int(sys.argv[2]), sys.argv[3])

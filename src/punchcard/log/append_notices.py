"""Tells the process that reads a log file of new records, through the kernel: no process has to look in vain.

The reader binds a datagram socket in Linux's abstract namespace, which makes no file, vanishes with the process, and
is named by the log file. Each process that appends sends one datagram after its commit. A notice says only "look
again", so it does no harm if one is lost, doubled or forged. Where none can come, such as from another network
namespace, the reader notices that and looks every few milliseconds instead.
"""

import select
import socket
import sys
import threading
from contextlib import suppress
from typing import Final

_NOTICE: Final = b"1"
_DRAINED_MAX: Final = 64


class AppendNotices:
    """Sends and receives notices for one log file. `send` is safe from any thread; the rest is for the reader's thread.

    Args:
        file: Device and inode of the log file, None if it has none.
    """

    def __init__(self, file: tuple[int, int] | None) -> None:
        self._address = None
        if file is not None and sys.platform == "linux":
            self._address = f"\0punchcard-log-{file[0]:x}-{file[1]:x}"
        self._sending: socket.socket | None = None
        self._receiving: socket.socket | None = None
        self._may_receive = self._address is not None
        self._guard = threading.Lock()
        self._waiting = threading.Lock()  # held while the reader uses its socket, which must not be closed meanwhile
        # Trusted until a record is found of which no notice came.
        self._is_trusted = True
        self._is_unannounced = False

    def send(self) -> None:
        """Wake the reader, if there is one on this machine."""
        if self._address is None:
            return
        with self._guard, suppress(OSError):  # nobody reads, or enough notices wait already
            if self._sending is None:
                self._sending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._sending.sendto(_NOTICE, self._address)

    def wait(self, *, seconds: float, poll_seconds: float, closing: threading.Event) -> None:
        """Return on the next notice, at the latest when the time is over.

        Args:
            poll_seconds: The maximum time where notices do not come.
            closing: Set before the notice by which a reader is ended.
        """
        with self._waiting:
            self._wait(seconds=seconds, poll_seconds=poll_seconds, closing=closing)

    def _wait(self, *, seconds: float, poll_seconds: float, closing: threading.Event) -> None:
        is_first = self._receiving is None
        receiving = self._bound()
        if receiving is None:
            closing.wait(min(seconds, poll_seconds))
            return
        if is_first:
            return  # what was appended before the socket was bound has sent its notice to nobody
        poll = select.poll()
        poll.register(receiving, select.POLLIN)
        limit = seconds if self._is_trusted else min(seconds, poll_seconds)
        if not closing.is_set() and poll.poll(limit * 1_000):
            self._is_trusted = True
            self._is_unannounced = False
            with suppress(BlockingIOError):
                for _ in range(_DRAINED_MAX):
                    receiving.recv(1)
        else:
            self._is_unannounced = True

    def note_records(self) -> None:
        """Note that records were read: if no notice of them came, do not wait for notices until one comes."""
        if self._is_unannounced:
            self._is_unannounced = False
            self._is_trusted = False

    def close(self) -> None:
        """Close the sockets, once a wait has ended: its `closing` must be set and the notice sent before."""
        with self._waiting, self._guard:
            for opened in (self._sending, self._receiving):
                if opened is not None:
                    opened.close()
            self._sending = self._receiving = self._address = None

    def _bound(self) -> socket.socket | None:
        """Return the reader's socket; None where there can be none, or another reader of this file has it."""
        with self._guard:
            if self._receiving is None and self._may_receive and self._address is not None:
                receiving = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                try:
                    receiving.bind(self._address)
                except OSError:
                    receiving.close()
                    self._may_receive = False
                else:
                    self._receiving = receiving
            return self._receiving

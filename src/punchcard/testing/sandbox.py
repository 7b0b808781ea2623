"""The sandbox Perkville as a real process of its own, for tests that start, break, kill and judge it."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from punchcard.testing.waiting import PATIENCE_SECONDS

STOP_SECONDS = 60
"""A sandbox that has not ended by then hangs, which is a defect."""


@dataclass(frozen=True, slots=True)
class SandboxReply:
    """What the sandbox answered: `headers` by lower-case name, `body` as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON; of whatever shape the sandbox gave it."""
        return json.loads(self.body)


class SandboxProcess:
    """A running sandbox; as a context manager it is stopped at the end.

    Args:
        data: The folder that keeps its state. Start another process on it to see what outlived the first.
        port: The port to listen on; 0 takes a free one.
    """

    token = "sandbox-token"

    def __init__(self, data: Path, *, port: int = 0) -> None:
        command = [sys.executable, "-m", "punchcard.sandbox", "--data", str(data), "--port", str(port)]
        # Its own session: a Ctrl-C at the test run must not tear it down before the test has judged it.
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "ready at " not in line:
            self.kill()
            raise RuntimeError(f"The sandbox did not start: {line!r}, exit status {self._process.returncode}")
        self.url = line.partition("ready at ")[2].split()[0]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def request(
        self, method: str, path: str, *, body: object = None, headers: dict[str, str] | None = None
    ) -> SandboxReply:
        """Send one request and wait for the answer, of any status, redirects not followed.

        Args:
            method: GET, POST, …
            path: From the first slash, query included.
            body: Bytes as they are, anything else as JSON.
            headers: Added to a bearer token and a JSON content type, or instead of them.

        Raises:
            OSError: no answer came.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | (headers or {})
        call = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with _OPENER.open(call, timeout=PATIENCE_SECONDS) as answer:
                return SandboxReply(answer.status, _lower(answer.headers.items()), answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return SandboxReply(refused.code, _lower(refused.headers.items()), refused.read())

    def faults(self, faults: dict[str, object]) -> None:
        """Switch exactly these faults on; `{}` clears them."""
        answer = self.request("PUT", "/sandbox/faults", body=faults)
        if answer.status != 200:
            raise ValueError(answer.json()["error"])

    def transactions(self) -> list[dict[str, Any]]:
        """The truth: every stored transaction, in the order in which they were stored."""
        found: list[dict[str, Any]] = self.request("GET", "/sandbox/transactions").json()["transactions"]
        return found

    def counts(self) -> dict[str, int]:
        """How many requests were answered with what since the process started."""
        found: dict[str, int] = self.request("GET", "/sandbox/requests").json()["counts"]
        return found

    def stop(self) -> int:
        """End it as an operator would; its exit status. Does nothing more if it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
        return self._end()

    def kill(self) -> None:
        """End it at once and without warning, by SIGKILL."""
        if self._process.poll() is None:
            self._process.kill()
        self._end()

    def _end(self) -> int:
        status = self._process.wait(STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


# No proxy of the machine stands between a test and its sandbox.
_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}

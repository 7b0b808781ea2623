"""The sandbox as a real process, for tests that start, break, kill and inspect it."""

import json
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from punchcard.testing.processes import start_module
from punchcard.testing.waiting import PATIENCE_SECONDS

STOP_SECONDS = 60
"""A sandbox that has not ended by then hangs, which is a defect."""


@dataclass(frozen=True, slots=True)
class SandboxReply:
    """A response of the sandbox: `headers` by lower-case name, `body` unchanged."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class SandboxProcess:
    """A running sandbox; as a context manager it is stopped at the end.

    Args:
        data: The folder of its state. Start another process on it to see which data has survived.
        port: The port to listen on; 0 uses a free one.
    """

    token = "sandbox-token"

    def __init__(self, data: Path, *, port: int = 0) -> None:
        # In its own session: a Ctrl-C at the test run must not stop it before the test has inspected it.
        self._process = start_module(
            "punchcard.sandbox", "--data", str(data), "--port", str(port), stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "ready at " not in line:
            self.kill()
            raise RuntimeError(f"The sandbox did not start: {line!r}, exit status {self._process.returncode}")
        self.url = line.partition("ready at ")[2].split()[0]

    @property
    def port(self) -> int:
        """The port of the sandbox."""
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
        """Send one request and return the response, of any status; redirects are not followed.

        Args:
            method: GET, POST, …
            path: From the first slash, query included.
            body: Bytes unchanged, anything else as JSON.
            headers: Added to a bearer token and a JSON content type, or replacing them.

        Raises:
            OSError: There was no response.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | (headers or {})
        call = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with _OPENER.open(call, timeout=PATIENCE_SECONDS) as response:
                return SandboxReply(response.status, _lower(response.headers.items()), response.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return SandboxReply(refused.code, _lower(refused.headers.items()), refused.read())

    def faults(self, faults: dict[str, object]) -> None:
        """Enable exactly these faults; `{}` clears them."""
        response = self.request("PUT", "/sandbox/faults", body=faults)
        if response.status != 200:
            raise ValueError(response.json()["error"])

    def transactions(self) -> list[dict[str, Any]]:
        """Return every stored transaction, in the order of storing."""
        transactions: list[dict[str, Any]] = self.request("GET", "/sandbox/transactions").json()["transactions"]
        return transactions

    def counts(self) -> dict[str, int]:
        """Return the number of requests by response since the process started."""
        counts: dict[str, int] = self.request("GET", "/sandbox/requests").json()["counts"]
        return counts

    def stop(self) -> int:
        """End the process as an operator would; return its exit status. No effect if it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
        return self._end()

    def kill(self) -> None:
        """End the process immediately with SIGKILL."""
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


# A test connects to its sandbox without the proxies of the machine.
_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}

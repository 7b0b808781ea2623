"""The whole product as real processes, for tests that start, kill and query it from outside."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from punchcard.testing.processes import children_of, run_module, start_module
from punchcard.testing.waiting import PATIENCE_SECONDS

START_SECONDS = 120
STOP_SECONDS = 60
WRITE_KEY = "wk_website"


class ProductProcess:
    """A running `punchcard up`; as a context manager it is stopped at the end.

    Args:
        folder: Folder of the config file and the data. Start another process on it to see which data has survived.
        content: Content of the config file (see `partner.configuration`); None uses the existing file.
        port: Port to listen on; 0 uses a free port.
        environment: Added to this process's environment.
        serves_only: Run `serve` instead: without a worker, with a previously applied configuration.
        applies_file: False runs `up` without the config file, with a previously applied configuration.
        arguments: Further options of the command.
        descriptors_max: Maximum number of open files of the process; None leaves this process's own limit.
    """

    def __init__(
        self,
        folder: Path,
        content: Mapping[str, object] | None = None,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        serves_only: bool = False,
        applies_file: bool = True,
        descriptors_max: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "punchcard.toml"
        if content is not None:
            self.write_config(content)
        half = ["serve"] if serves_only else ["up", *(["--config", str(self.config)] if applies_file else [])]
        self._log = (folder / "up.log").open("a")
        self._process = start_module(
            "punchcard",
            *half,
            *("--data", str(self.data), *arguments, "--port", str(port)),
            stdout=subprocess.PIPE,
            stderr=self._log,
            environment={**os.environ, **(environment or {})},
            descriptors_max=descriptors_max,
        )
        self.url = self._wait_for_url()
        self.wait_until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port of the process."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The id of the serving process."""
        return self._process.pid

    @property
    def token(self) -> str:
        """The admin token."""
        return (self.data / "admin-token").read_text().strip()

    @property
    def log(self) -> str:
        """The log of the processes on this folder."""
        return (self.folder / "up.log").read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines of one event, in order."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def write_config(self, content: Mapping[str, object]) -> None:
        """Replace the complete config file, like an editor."""
        new_file = self.config.with_suffix(".new")
        new_file.write_text(tomli_w.dumps(content))
        new_file.replace(self.config)

    def worker_pid(self) -> int | None:
        """Return the id of the worker process, None while there is none."""
        children = children_of(self.pid)
        return children[0] if children else None

    def kill_worker(self) -> None:
        """SIGKILL the worker; its parent starts another."""
        pid = self.worker_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL the serving process; the worker ends when it notices."""
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """End the process as an operator would; return its exit status. No effect if it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
        return self._end()

    def wait_until_ready(self) -> None:
        """Return as soon as the response of `GET /health/ready` is 200."""
        deadline = time.monotonic() + START_SECONDS
        while self.call("GET", "/health/ready")[0] != 200:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.url} did not become ready.")
            time.sleep(0.02)

    def call(
        self, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send one request with the admin token; return the status and the JSON body (or its text).

        Args:
            body: Bytes unchanged, anything else as JSON.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | dict(headers or {})
        if path.startswith("/api"):
            sent.setdefault("Authorization", f"Bearer {self.token}")
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with _OPENER.open(request, timeout=PATIENCE_SECONDS) as response:
                return response.status, _read(response.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, _read(refused.read())
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
            return 0, None

    def send(
        self, call: str, body: Mapping[str, object] | bytes, *, write_key: str = WRITE_KEY, strict: bool = False
    ) -> tuple[int, Any]:
        """Send one request to the Tracking API, with the write key by HTTP Basic like Segment's libraries.

        Args:
            call: `track`, `batch`, …
            body: Bytes unchanged, anything else as JSON.
        """
        key = base64.b64encode(f"{write_key}:".encode()).decode()
        headers = {"Authorization": f"Basic {key}"} | ({"X-Punchcard-Strict": "1"} if strict else {})
        return self.call("POST", f"/v1/{call}", body=body, headers=headers)

    def track(self, event: str, properties: Mapping[str, object], **fields: object) -> int:
        """Send one track call with the write key; return the status."""
        body = {"type": "track", "event": event, "userId": "ann", "properties": properties, **fields}
        return self.call("POST", "/v1/track", body={"writeKey": WRITE_KEY, **body})[0]

    def trace(self, message_id: str) -> dict[str, Any] | None:
        """Return the trace of an event from the API, None if there is none."""
        status, body = self.call("GET", f"/api/events/{message_id}")
        return body["data"] if status == 200 else None

    def wait_for_status(self, message_id: str, *results: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return the event's first result, as soon as it has one of the expected statuses."""
        deadline = time.monotonic() + seconds
        while True:
            trace = self.trace(message_id)
            if trace is not None and trace["results"] and trace["results"][0]["status"] in results:
                result: dict[str, Any] = trace["results"][0]
                return result
            if time.monotonic() > deadline:
                raise AssertionError(f"{message_id} is not {' or '.join(results)} after {seconds} s: {trace}")
            time.sleep(0.05)

    def _wait_for_url(self) -> str:
        assert self._process.stdout is not None
        timer = threading.Timer(START_SECONDS, self._process.kill)
        timer.start()
        try:
            for line in self._process.stdout:
                if match := re.search(r"Punchcard (?:is up:|listens on) (https?://[\w.:\[\]]+)", line):
                    return match[1]
        finally:
            timer.cancel()
        self._end()
        raise RuntimeError(f"`up` did not start: {(self.folder / 'up.log').read_text()[-2000:]}")

    def _end(self) -> int:
        status = self._process.wait(STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        return status


class WorkerProcess:
    """A running `punchcard worker`; as a context manager it is stopped at the end.

    Args:
        data: Its data folder.
        environment: Added to this process's environment.
        log: File to which its log lines are appended.
        arguments: Further options of the command.
        half: Another command with the same options: `engage`.
    """

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str],
        log: Path,
        *,
        arguments: Sequence[str] = (),
        half: str = "worker",
    ) -> None:
        self._log = log.open("a")
        self._process = start_module(
            "punchcard",
            *(half, "--data", str(data), *arguments),
            stderr=self._log,
            environment={**os.environ, **environment},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """End the process as a supervisor does; return its exit status."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        return int(self._process.returncode)

    def signal(self, number: int) -> None:
        """Send a signal to the worker."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL the worker."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def is_running(self) -> bool:
        """Return whether the worker has not ended."""
        return self._process.poll() is None


def command(
    *arguments: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run one `punchcard` command to its end."""
    return run_module("punchcard", *arguments, stdin=stdin, environment={**os.environ, **(environment or {})})


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")

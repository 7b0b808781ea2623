"""An S3 server on loopback for tests: versitygw, a real one with real conditional writes. It counts its requests."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

ACCESS_KEY: Final = "lake-writer"
SECRET_KEY: Final = "lake-writer-secret"
_BINARY = Path(sys.executable).parent / "versitygw"
_FIELDS = 9  # of a line of its output: time, name, status, duration, address, method, path, error, query
_STOP_SECONDS = 30.0
_LAKES: dict[str, Path] = {}  # the folders of all lakes, by URL: servers have buckets of one name


def lake_folder(url: str) -> Path:
    """Return the folder of a lake. An object of the test server is a file with the same path below it."""
    return _LAKES[url] if url.startswith("s3://") else Path(url)


@dataclass(frozen=True)
class Request:
    """A request that the server has answered."""

    status: int
    method: str
    path: str
    query: str


class S3Server:
    """A server process with one bucket. It survives `stop` and `start` with its objects and its port.

    Args:
        folder: For objects and the server's output.
    """

    bucket: Final = "events"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("objects", "metadata"):
            (folder / name).mkdir(parents=True)
        self.objects = folder / "objects" / self.bucket
        self.objects.mkdir()
        self._log = folder / "requests.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @staticmethod
    def is_installed() -> bool:
        """Return whether `make s3` has built it."""
        return _BINARY.is_file()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, *, endpoint: str = "", secret_key: str = SECRET_KEY) -> Mapping[str, str]:
        """Return the variables with which a process uses the server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def new_lake(self) -> str:
        """Return the URL of a lake that is not there yet."""
        path = f"lakes/{uuid.uuid4().hex}"
        url = f"s3://{self.bucket}/{path}"
        _LAKES[url] = self.objects / path
        return url

    def start(self) -> None:
        """Start the process and wait until it answers."""
        environment = {**os.environ, "ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
        command = [str(_BINARY), "--port", f"127.0.0.1:{self.port}", "--region", "us-east-1", "--keep-alive", "posix"]
        command += ["--sidecar", str(self._folder / "metadata"), str(self._folder / "objects")]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        wait_until(self._accepts_connections)

    def stop(self) -> None:
        """End the process: connections are refused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """Stop answering: connections are accepted."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Answer again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def requests(self, url: str = "") -> list[Request]:
        """Return all requests so far, or those for a lake."""
        name = url.rpartition("/")[2]
        last = f"/last-{uuid.uuid4().hex}"  # the server writes its lines after its responses
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        connection.request("GET", last)
        connection.getresponse().read()
        connection.close()
        wait_until(lambda: last in self._log.read_text(errors="replace"))
        lines = (line.split("|") for line in self._log.read_text(errors="replace").splitlines())
        rows = [[field.strip() for field in line] for line in lines if len(line) == _FIELDS]
        requests = [Request(int(row[2]), row[5], row[6], row[8]) for row in rows]
        return [request for request in requests if name in request.path or name in request.query]

    def _accepts_connections(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

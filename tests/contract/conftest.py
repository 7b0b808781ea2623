"""A Tracking API that listens on loopback, over the real SQLite log, and a client that says exactly what goes out."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.contract.privacy_world import CONFIG

from punchcard.ingest.app import TrackingApp
from punchcard.log.bodies import decompress
from punchcard.log.group_commit import GroupCommit
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.clock import ManualClock
from punchcard.testing.listening import ListeningApp
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

WRITE_KEY = "wk_website"
BODY_SECONDS = 1.0


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded


def _tracking_app(commit: GroupCommit) -> TrackingApp:
    return TrackingApp(commit, keys=lambda key: key == WRITE_KEY, clock=ManualClock(), body_seconds=BODY_SECONDS)


class TrackingServer:
    """The app on a socket of its own, in a thread."""

    def __init__(self, folder: Path) -> None:
        self.log = SqliteEventLog(folder / "log.db")
        self._listening = ListeningApp(self.log, _tracking_app)
        self.port = self._listening.port

    def close(self) -> None:
        self._listening.close()
        self.log.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send exactly this and read the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, call: str, content: object, *, packed: bool = False, **headers: str) -> Answer:
        """Post JSON (or text as it is) with the known write key by Basic, unless a header says otherwise."""
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        every = {"Authorization": "Basic d2tfd2Vic2l0ZTo=", "Content-Type": "application/json"}
        every |= {name.replace("_", "-"): value for name, value in headers.items()}
        if packed:
            text = gzip.compress(text)
            every["Content-Encoding"] = "gzip"
        return self.request("POST", f"/v1/{call}", text, {name: value for name, value in every.items() if value})

    def raw(self, text: bytes, *, then_close: bool = False) -> bytes:
        """Send these bytes on a connection of their own; all that comes back until the server closes or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(text)
            if then_close:
                return b""
            result = b""
            try:
                while part := connection.recv(65_536):
                    result += part
                    if b"\r\n\r\n" in result and result.endswith(b"}"):
                        break
            except TimeoutError:
                return result  # the server waits for more: nothing further will arrive
            return result

    def recorded(self) -> list[tuple[str, str, str, bytes]]:
        """What is in the log: call, write key, sender's address, body."""
        result = self.log.read(0, records_max=10_000, bytes_max=1 << 40)
        return [(item.call, item.write_key, item.ip, decompress(item)) for item in result]


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[TrackingServer]:
    server = TrackingServer(tmp_path)
    yield server
    server.close()


@pytest.fixture(params=["folder", "S3"])
def lake_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The location of a lake that is not there yet: every promise holds in a folder and on S3."""
    if request.param == "folder":
        return str(tmp_path / "a lake")
    return str(request.getfixturevalue("s3_server").new_lake())


@pytest.fixture
def api(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    """A running API over a real store, log and lake, with the configuration of `privacy_world`."""
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        yield server

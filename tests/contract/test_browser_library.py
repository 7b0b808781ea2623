"""The files that websites load, over HTTP: access, caching, and the error when they are missing."""

import base64
import contextlib
import gzip
import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from punchcard.ingest.browser_library import BrowserLibraryApp
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.listening import ListeningApp
from punchcard.testing.waiting import PATIENCE_SECONDS

KEY = "wk_website"
SCRIPT = f"/analytics.js/v1/{KEY}/analytics.min.js"
BUILT = Path(__file__).parents[2] / "src" / "punchcard" / "ingest" / "built"

TraitCondition = Callable[..., tuple[int, Mapping[str, str], bytes]]


def asking(port: int) -> TraitCondition:
    def ask(path: str, *, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    return ask


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[TraitCondition]:
    assert (BUILT / "library.json").exists(), "run `make assets`"
    with (
        contextlib.closing(SqliteEventLog(tmp_path / "log.db")) as log,
        ListeningApp(log, lambda _: BrowserLibraryApp(keys=lambda key: key == KEY)) as app,
    ):
        yield asking(app.port)


@pytest.mark.parametrize("name", ["analytics.min.js", "analytics.js", "platform/analytics.min.js"])
def test_the_script_is_the_published_one_with_its_licence_and_source_map(ask: TraitCondition, name: str) -> None:
    status, headers, body = ask(f"/analytics.js/v1/{KEY}/{name}")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert headers["access-control-allow-origin"] == "*"
    text = body.decode()
    assert text.startswith("/*! @segment/analytics-next 1.")
    source_map = text.rpartition("sourceMappingURL=")[2].strip()
    lines = json.loads(ask(source_map)[2])["mappings"].split(";")
    assert lines[0] == ""  # our own line
    assert len(lines[1]) > 10_000
    assert b"Permission is hereby granted" in ask("/analytics-next/bundles/LICENSE.txt")[2]


def test_every_part_that_the_script_loads_is_there_for_ever(ask: TraitCondition) -> None:
    parts = [name for name in json.loads((BUILT / "library.json").read_text())["files"] if ".bundle." in name]
    assert len(parts) >= 10
    for name in parts:
        status, headers, body = ask(f"/analytics-next/bundles/{name}")
        assert (status, body) == (200, (BUILT / name).read_bytes())
        assert "immutable" in headers["cache-control"]


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip, deflate, br", True),
        ("GZIP", True),
        ("*", True),
        ("gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("br", False),
        ("", False),
    ],
)
def test_it_is_packed_for_who_takes_it(ask: TraitCondition, accepted: str, is_packed: bool) -> None:
    _, headers, body = ask(SCRIPT, Accept_Encoding=accepted)
    assert (headers.get("content-encoding") == "gzip") is is_packed
    assert headers["vary"] == "Accept-Encoding"
    assert (gzip.decompress(body) if is_packed else body) == (BUILT / "analytics.min.js").read_bytes()


def test_it_is_requested_again_only_when_it_has_changed(ask: TraitCondition) -> None:
    _, headers, _ = ask(SCRIPT)
    assert headers["cache-control"] == "public, max-age=300"
    status, again, body = ask(SCRIPT, If_None_Match=headers["etag"])
    assert (status, body, again["etag"]) == (304, b"", headers["etag"])
    assert ask(SCRIPT, If_None_Match='"other"')[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", SCRIPT, 200),
        ("OPTIONS", SCRIPT, 204),
        ("POST", SCRIPT, 405),
        ("GET", "/analytics.js/v1/wk_nobody/analytics.min.js", 404),
        ("GET", "/analytics.js/v1//analytics.min.js", 404),
        ("GET", "/analytics.js/v1/analytics.min.js", 404),
        ("GET", f"/analytics.js/v1/{KEY}/other.js", 404),
        ("GET", f"/analytics.js/v1/{KEY}/../../app.py", 404),
        ("GET", "/analytics-next/bundles/", 404),
        ("GET", "/analytics-next/bundles/library.json", 404),
        ("GET", "/analytics-next/bundles/../browser_library.py", 404),
        ("GET", "/analytics-next/bundles/%2e%2e%2fbrowser_library.py", 404),
        ("GET", "/analytics-next/bundles/none.bundle.js", 404),
    ],
)
def test_nothing_else_is_served(ask: TraitCondition, method: str, path: str, status: int) -> None:
    result, _, body = ask(path, method=method)
    assert result == status
    if method == "HEAD":
        assert body == b""
    elif status >= 400:
        assert json.loads(body)["success"] is False


@pytest.mark.parametrize("path", ["/sourceConfig", "/sourceConfig/"])
def test_rudderstacks_library_gets_the_source(ask: TraitCondition, path: str) -> None:
    basic = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    for item in (ask(path, Authorization=basic), ask(f"{path}?p=npm&writeKey={KEY}")):
        status, headers, body = item
        source = json.loads(body)["source"]
        assert (status, headers["access-control-allow-origin"]) == (200, "*")
        assert (source["enabled"], source["destinations"], source["config"]) == (True, [], {})
    assert ask(path)[0] == 404
    assert ask(f"{path}?writeKey=wk_nobody")[0] == 404


def test_without_the_files_it_says_how_to_get_them(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    with (
        contextlib.closing(SqliteEventLog(tmp_path / "log.db")) as log,
        ListeningApp(log, lambda _: BrowserLibraryApp(keys=lambda _: True, folder=folder)) as app,
    ):
        status, _, body = asking(app.port)(SCRIPT)
        assert (status, json.loads(body)["code"]) == (503, "assets_missing")
        assert "make assets" in json.loads(body)["message"]
        # Built while it runs, they are served.
        folder.mkdir()
        for file in BUILT.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        assert asking(app.port)(SCRIPT)[0] == 200

"""Promise: whatever an object store responds, the error says what is wrong with it, and nothing is taken for damage.

A repair of a lake that is whole would write over what is in it, and a web page must not pass for a lake without events.
"""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from punchcard.clock import SystemClock
from punchcard.errors import LakeError, StorageError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake.damage import repair_advice
from punchcard.lake.object_store_errors import OBJECT_STORE_UNAVAILABLE
from punchcard.lake.query import run_query
from punchcard.lake.reader import LakeReader
from punchcard.lake.repair import RepairReport, repair_lake
from punchcard.lake.schema import PARTITION, LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.testing.not_s3 import SameResponse, not_s3
from punchcard.testing.s3_server import S3Server, lake_folder
from punchcard.testing.unreliable_s3 import Fault, unreliable_s3

pytestmark = pytest.mark.long

PAGE = b"<html><body>Please sign in to this network.</body></html>"
OF_A_FILE = {"ETag": '"6666cd76f96956469e7be39d750cc7d9"', "Last-Modified": "Sun, 29 Nov 2026 08:00:00 GMT"}


def error_body(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()


def append(url: str, position: int) -> None:
    instant = SystemClock().now()
    event = Event(EventType.TRACK, MessageId(f"m-{position}"), instant, instant, WireEvent(event="Visit"), b"{}")
    rows = LakeRows()
    rows.add(event, source="web", received_at=0, position=position, index=0, results="[]")
    LakeWriter(url).append(rows, first_position=position, last_position=position)


def repair(url: str) -> RepairReport:
    return repair_lake(url, restore=lambda _is_missing, _through: iter(()), clock=SystemClock(), dry_run=False)


def uses_of(url: str) -> list[Callable[[], object]]:
    return [
        lambda: LakeWriter(url).last_position(),
        lambda: LakeWriter(url).check(),
        lambda: append(url, 9),
        lambda: LakeReader(url).find("m-1"),
        lambda: list(LakeReader(url).recent_message_keys(10)),
        lambda: run_query(url, "SELECT event FROM events", limit=1),
        lambda: repair(url),
    ]


def contents(url: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in lake_folder(url).rglob("*") if path.is_file()}


@pytest.fixture
def url(s3_server: S3Server) -> str:
    made = s3_server.new_lake()
    for position in (1, 2):
        append(made, position)
    return made


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(SameResponse(200, PAGE, {"Content-Type": "text/html"}), "does not respond as S3", id="page"),
        pytest.param(SameResponse(200, PAGE, OF_A_FILE), "does not respond as S3", id="page with an ETag"),
        pytest.param(SameResponse(200, b'{"errors":[]}'), "does not respond as S3", id="JSON"),
        pytest.param(SameResponse(200), "does not respond as S3", id="empty"),
        pytest.param(SameResponse(404, PAGE), "does not respond as S3", id="page not found"),
        pytest.param(SameResponse(404), "does not respond as S3", id="empty and not found"),
        pytest.param(SameResponse(400, PAGE), "does not respond as S3", id="page bad request"),
        pytest.param(SameResponse(307, b"", {"Location": "/login"}), "does not respond as S3", id="page to sign in"),
        pytest.param(SameResponse(403, PAGE), "denies access (403): check AWS_ACCESS_KEY_ID", id="403"),
        pytest.param(SameResponse(403, error_body("AccessDenied")), "allow s3:ListBucket", id="permissions"),
        pytest.param(SameResponse(404, error_body("NoSuchBucket")), "create it, or correct PUNCHCARD", id="bucket"),
        pytest.param(SameResponse(301, error_body("PermanentRedirect")), "correct AWS_REGION", id="region 301"),
        pytest.param(SameResponse(301), "correct AWS_REGION", id="region without body"),
        pytest.param(SameResponse(400, error_body("AuthorizationHeaderMalformed")), "AWS_REGION", id="region 400"),
        pytest.param(SameResponse(502, PAGE), "responds with 502: check it", id="gateway"),
    ],
)
def test_another_server_in_place_of_s3_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch, response: SameResponse, expected: str
) -> None:
    before = contents(url)
    with not_s3(response) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for use in uses_of(url):
            with pytest.raises(LakeError) as failure:
                use()
            assert expected in failure.value.message
            assert failure.value.code == OBJECT_STORE_UNAVAILABLE
            assert repair_advice(failure.value) == ""
    assert contents(url) == before


@pytest.mark.parametrize("spoiled_path", ["/_delta_log/", f"/{PARTITION}", "list-type=2"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Fault.GARBAGE, "proxy or a gateway"), (Fault.SHORT, "proxy or a gateway"), (Fault.CUT, "cut off")],
)
def test_spoiled_responses_are_not_taken_for_damage(
    s3_server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch, fault: Fault, expected: str, spoiled_path: str
) -> None:
    before = contents(url)
    with unreliable_s3(s3_server.port) as proxy:
        proxy.faults, proxy.share, proxy.spoils = (fault,), 1.0, spoiled_path
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        failures: list[StorageError] = []
        for use in uses_of(url)[3:]:
            try:
                use()
            except StorageError as error:
                failures.append(error)
        assert proxy.spoiled[fault]
    for failure in failures:
        assert failure.code == OBJECT_STORE_UNAVAILABLE, failure.message
        assert expected in failure.message or "does not respond as S3" in failure.message
    assert failures
    assert contents(url) == before


def test_what_is_really_damaged_is_still_repaired(url: str) -> None:
    """An object that was written over is stored as it is sent."""
    newest = max((lake_folder(url) / "_delta_log").glob("*.json"))
    newest.write_bytes(PAGE)
    with pytest.raises(LakeError, match="punchcard lake repair") as failure:
        LakeWriter(url).last_position()
    assert failure.value.code == LakeError.code
    assert repair(url).is_log_damaged
    assert LakeWriter(url).last_position() == 2


@pytest.mark.parametrize(
    ("error", "cause", "expected"),
    [
        (LakeError("It is damaged."), None, "Run `punchcard lake repair` to repair it."),
        (LakeError("Run `punchcard lake repair`."), None, ""),
        (LakeError("Away.", code=OBJECT_STORE_UNAVAILABLE), None, ""),
        (LakeError("Full."), OSError(errno.ENOSPC, "No space left on device"), ""),
        (LakeError("Gone."), OSError(errno.ENOENT, "No such file"), "Run `punchcard lake repair` to repair it."),
        (StorageError("The database is away."), None, ""),
    ],
    ids=["damaged", "said already", "away", "full", "file missing", "not the lake"],
)
def test_a_repair_is_suggested_where_it_may_help(error: StorageError, cause: OSError | None, expected: str) -> None:
    error.__cause__ = cause
    assert repair_advice(error) == expected

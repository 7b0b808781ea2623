"""`punchcard lake query` reads events: no statement changes the lake, another file or the engine's restrictions."""

import hashlib
from pathlib import Path

import pytest

from punchcard.clock import from_micros
from punchcard.errors import ConfigurationError
from punchcard.events.parse import read_request
from punchcard.lake.query import run_query
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "it's a lake"
    received_at = 1_767_312_000_000_000
    body = b'{"event": "Checked In", "userId": "ann"}'
    events = read_request(body, call="track", received_at=from_micros(received_at), position=1)
    rows = LakeRows()
    rows.add_record(events, source="web", received_at=received_at, position=1, results=["[]"])
    LakeWriter(str(folder)).append(rows, first_position=1, last_position=1)
    return folder


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM events",
        "FROM events",
        "WITH e AS (SELECT event FROM events) SELECT event, count(*) FROM e GROUP BY ALL",
        "DESCRIBE events",
        "SUMMARIZE events",
        "SELECT 'COPY events TO x; DROP TABLE y' AS text -- INSERT",
        "SELECT count(*) FROM events;",
    ],
)
def test_questions_are_answered(lake: Path, sql: str) -> None:
    _, rows = run_query(str(lake), sql, limit=10)
    assert rows


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("COPY (SELECT 1) TO '{file}' (FORMAT parquet)", id="overwrite a file of the lake"),
        pytest.param("COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)", id="overwrite in place"),
        pytest.param("copy events to '{folder}/new.csv'", id="new file in the lake"),
        pytest.param("COPY (SELECT 1) TO '/tmp/punchcard-query.csv'", id="new file elsewhere"),
        pytest.param("SELECT 1; COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)", id="after a SELECT"),
        pytest.param("/* SELECT */ COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)", id="behind a comment"),
        pytest.param("EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)", id="explained"),
        pytest.param("PREPARE p AS COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)", id="prepared"),
        pytest.param("EXPORT DATABASE '{folder}/export'", id="export"),
        pytest.param("ATTACH '{folder}/new.db' AS other", id="attach"),
        pytest.param("CREATE TABLE t AS SELECT 1", id="create"),
        pytest.param("DROP VIEW events", id="drop"),
        pytest.param("SET enable_external_access = true", id="set"),
        pytest.param("RESET allowed_paths", id="reset"),
        pytest.param("PRAGMA enable_profiling", id="pragma"),
        pytest.param("INSTALL httpfs", id="install"),
        pytest.param("CALL pragma_version()", id="call"),
        pytest.param("VACUUM", id="vacuum"),
        pytest.param("SELECT 1; SELECT 2", id="two questions"),
        pytest.param("", id="nothing"),
        pytest.param("-- nothing", id="a comment"),
        pytest.param("SELEC 1", id="no SQL"),
        pytest.param("SELECT * FROM read_text('/etc/passwd')", id="read another file"),
        pytest.param(
            "SELECT * FROM read_text('{folder}/_delta_log/00000000000000000000.json')", id="read the Delta log"
        ),
        pytest.param("SELECT * FROM glob('{folder}/*')", id="list files"),
        pytest.param("SELECT * FROM query('COPY (SELECT 1) TO ''{file}''')", id="through query()"),
    ],
)
def test_nothing_else_is_done(lake: Path, sql: str) -> None:
    before = fingerprint(lake)
    file = next(lake.rglob("*.parquet"))
    quoted = {name: str(path).replace("'", "''") for name, path in (("file", file), ("folder", lake))}
    with pytest.raises(ConfigurationError):
        run_query(str(lake), sql.format(**quoted), limit=10)
    assert fingerprint(lake) == before
    assert not Path("/tmp/punchcard-query.csv").exists()


def test_duckdb_alone_keeps_new_files_out(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second lock holds without the first."""
    monkeypatch.setattr("punchcard.lake.query._select_statement", lambda _, sql: sql)
    before = fingerprint(lake)
    quoted = str(lake).replace("'", "''")
    for target in (f"{quoted}/new.csv", "/tmp/punchcard-query.csv"):
        with pytest.raises(ConfigurationError):
            run_query(str(lake), f"COPY (SELECT 1) TO '{target}'", limit=10)
    assert fingerprint(lake) == before

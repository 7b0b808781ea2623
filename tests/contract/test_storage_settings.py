"""A wrong setting of the storage is distinguished from a server that is away by the words of a real server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.errors import StorageError, StorageSettingsError
from punchcard.log.opening import open_event_log
from punchcard.store.engine import Store

WRONG = {
    "password": ("cautious", "wrong-secret", "postgres", "password authentication failed"),
    "no password": ("cautious", None, "postgres", "no password supplied"),
    "role": ("nobody_knows", None, "postgres", "does not exist"),
    "login": ("locked_out", None, "postgres", "not permitted to log in"),
    "database": ("postgres", None, "no_such_database", "does not exist"),
    "address": ("stranger", None, "postgres", "pg_hba.conf"),
    "schema": ("homeless", None, "postgres", "no schema has been selected"),
    "rights": ("powerless", None, "closed", "permission denied"),
}
RULES = "local all cautious scram-sha-256\nlocal all stranger reject\nlocal all all trust\n"


def url_of(server_url: str, user: str, password: str | None, database: str) -> str:
    url = make_url(server_url).set(username=user, password=password, database=database)
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def server_url(postgres_server_url: str) -> Iterator[str]:
    """A server with users and rights of its own; its rules are as before at the end."""
    with psycopg.connect(postgres_server_url, autocommit=True) as administrator:
        row = administrator.execute("SHOW hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        before = rules.read_text()
        rules.write_text(RULES)
        administrator.execute("SELECT pg_reload_conf()")
        for name, options in {"cautious": "PASSWORD 'secret'", "stranger": "", "powerless": "", "homeless": ""}.items():
            administrator.execute(f"CREATE ROLE {name} LOGIN {options}".encode())
        administrator.execute("ALTER ROLE homeless SET search_path = nowhere")
        administrator.execute("CREATE ROLE locked_out NOLOGIN")
        administrator.execute("CREATE DATABASE closed")
        yield postgres_server_url
        administrator.execute("DROP DATABASE closed WITH (FORCE)")
        for name in ("cautious", "stranger", "powerless", "homeless", "locked_out"):
            administrator.execute(f"DROP ROLE {name}".encode())
        rules.write_text(before)
        administrator.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("opens", [Store, open_event_log], ids=["store", "log"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_of_postgresql_is_distinguished(server_url: str, name: str, opens: Any) -> None:
    user, password, database, words = WRONG[name]
    with pytest.raises(StorageSettingsError, match=words) as refused:
        opens(url_of(server_url, user, password, database))
    assert "Correct PUNCHCARD_" in refused.value.message
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("opens", [Store, open_event_log], ids=["store", "log"])
def test_a_server_that_is_away_is_no_wrong_setting(tmp_path: Path, opens: Any) -> None:
    for url in (f"postgresql://postgres@/postgres?host={tmp_path}", "postgresql://postgres@127.0.0.1:1/postgres"):
        with pytest.raises(StorageError) as failed:
            opens(url)
        assert failed.value.code == "storage_unavailable"

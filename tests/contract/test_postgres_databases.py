"""Databases that tests use one after another: each is like a new one."""

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.testing.postgres_databases import PostgresDatabases

ROWS = "INSERT INTO revisions (name, value) VALUES ('ping', 1)"
STATISTICS = "SELECT count(*) FROM pg_stat_user_tables WHERE last_vacuum IS NOT NULL"


def change(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def read(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.mark.parametrize(
    "statements",
    [
        (ROWS,),
        (ROWS, "DELETE FROM revisions"),
        (ROWS, "VACUUM revisions"),
        ("UPDATE alembic_version SET version_num = '0001'",),
        ("DELETE FROM alembic_version",),
        ("SELECT nextval('effects_id_seq')",),
        ("ALTER TABLE revisions ADD COLUMN more int",),
        ("DROP TABLE revisions",),
        ("CREATE TABLE more (id int)", "INSERT INTO more VALUES (1)"),
        ("CREATE SCHEMA more",),
        ("ALTER TABLE revisions DROP CONSTRAINT pk_revisions",),
        (ROWS, "ANALYZE revisions"),
    ],
    ids=lambda statements: "; ".join(statements),
)
def test_a_database_is_like_a_new_one_whatever_a_test_has_done(
    postgres_databases: PostgresDatabases, statements: tuple[str, ...]
) -> None:
    new = postgres_databases.lend()
    queries = (
        "SELECT * FROM revisions",
        "SELECT * FROM alembic_version",
        "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1",
        "SELECT relname, relkind, CASE relkind WHEN 'r' THEN reltuples END, pg_relation_size(oid) FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT nspname FROM pg_namespace ORDER BY 1",
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attrelid = 'revisions'::regclass ORDER BY 2",
        "SELECT conname FROM pg_constraint ORDER BY 1",
        "SELECT count(*) FROM pg_statistic WHERE starelid = 'revisions'::regclass",
        STATISTICS,
    )
    expected = [read(new, query) for query in queries]
    changed = postgres_databases.lend()
    change(changed, *statements)
    postgres_databases.take_back(changed)
    again = postgres_databases.lend()
    assert [read(again, query) for query in queries] == expected
    postgres_databases.take_back(again)
    postgres_databases.take_back(new)


def test_rows_are_deleted_and_the_database_is_used_again(postgres_databases: PostgresDatabases) -> None:
    url = postgres_databases.lend()
    change(url, ROWS)
    postgres_databases.take_back(url)
    again = postgres_databases.lend()
    assert make_url(again).database == make_url(url).database
    postgres_databases.take_back(again)


def test_connections_of_a_test_are_ended(postgres_databases: PostgresDatabases) -> None:
    url = postgres_databases.lend()
    connection = psycopg.connect(url)
    connection.execute(f"{ROWS}; SELECT pg_advisory_lock(1)".encode())
    postgres_databases.take_back(url)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    again = postgres_databases.lend()
    assert read(again, "SELECT pg_try_advisory_lock(1)") == [(True,)]
    postgres_databases.take_back(again)


def test_a_database_that_a_test_has_dropped_is_not_missed(
    postgres_databases: PostgresDatabases, postgres_server_url: str
) -> None:
    url = postgres_databases.lend()
    change(postgres_server_url, f"DROP DATABASE {make_url(url).database}")
    postgres_databases.take_back(url)
    again = postgres_databases.lend()
    assert read(again, "SELECT * FROM revisions") == []
    postgres_databases.take_back(again)

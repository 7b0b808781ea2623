import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from punchcard.runtime.garbage_collection import collect_rarely


@pytest.fixture(autouse=True)
def default_collection() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.unfreeze()  # what `tests/conftest.py` has frozen
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_a_worker_leaves_its_loaded_code_out_of_collections() -> None:
    collect_rarely()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] >= 5_000  # few collections
    assert gc.get_threshold()[0] <= 20_000  # each of them short


def test_cycles_are_still_collected() -> None:
    collect_rarely()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.isenabled()
    assert gc.collect() >= 1


def test_a_serving_process_collects_as_usual_what_came_after_its_code() -> None:
    code = "import gc, sqlalchemy; from punchcard.runtime.garbage_collection import collect_often; collect_often(); "
    code += "print(gc.get_freeze_count() > 10_000, gc.get_threshold())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True (700, 10, 10)\n"


@pytest.mark.parametrize(
    "module", ["punchcard.__main__", "punchcard.runtime.processes", "punchcard.runtime.engage_process"]
)
def test_a_process_that_starts_does_not_search_its_imports_for_cycles(module: str) -> None:
    """Few collections, as each visits everything that is imported so far."""
    code = f"import sys, gc; sys.argv = ['punchcard', '--version']; import {module} as module; " + (
        "module.main(); " if module.endswith("__main__") else ""
    )
    code += "print(gc.get_threshold()[0] > 10_000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize("loads_first", [True, False])
@pytest.mark.parametrize("collect", ["collect_often", "collect_rarely"])
def test_a_process_that_has_used_duckdb_ends_silently(collect: str, loads_first: bool) -> None:
    """DuckDB reports everything that is left when the process ends, and frozen objects are."""
    lines = [f"{collect}()", "import duckdb; duckdb.connect().execute('SELECT 1'); duckdb.default_connection()"]
    code = f"import sys; from punchcard.runtime.garbage_collection import {collect}; "
    code += "; ".join(reversed(lines) if loads_first else lines)
    code += "; sys.argv = ['punchcard', '--version']; from punchcard.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""

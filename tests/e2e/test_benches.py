"""Every bench still runs: once, at a size at which its figures mean nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import BENCHES, CLUSTER
from punchcard.testing.processes import run_module

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
# Not `outages`: it kills brokers, and is run by `make bench-cluster` only.
NAMES = tuple(name for name in dict.fromkeys((*BENCHES, *CLUSTER)) if name != "outages")
LIMIT_SECONDS = 840


@pytest.fixture(scope="module")
def sections() -> dict[str, list[str]]:
    """What each bench has printed, in one run of all of them, as `make bench` and `make bench-cluster` do it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PUNCHCARD_")}
    done = run_module("bench", "--tiny", *NAMES, folder=ROOT, environment=environment, seconds=LIMIT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    heads = [part.partition("\n") for part in re.split(r"^== ", done.stdout, flags=re.MULTILINE)[1:]]
    return {head.partition(" ")[0]: text.strip().splitlines() for head, _, text in heads}


@pytest.mark.parametrize("name", NAMES)
def test_bench_runs_at_a_tiny_size(sections: dict[str, list[str]], name: str) -> None:
    assert sections[name]


@pytest.mark.parametrize("error", ["RuntimeError('broken')", "SystemExit(2)"])
def test_a_bench_that_fails_does_not_stop_the_others(error: str) -> None:
    code = (
        "import sys, types, bench.__main__ as runner\n"
        f"def fail(): raise {error}\n"
        "sys.modules['bench.ingest'] = types.SimpleNamespace(main=fail)\n"
        "sys.modules['bench.routing'] = types.SimpleNamespace(main=lambda: print('routing ran'))\n"
        "sys.exit(runner.main(['ingest', 'routing']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "routing ran" in done.stdout
    assert "Failed: ingest." in done.stderr
    table = done.stdout.partition("== all figures")[2]
    assert re.search("^ingest +FAILED$", table, re.MULTILINE)
    assert "routing" not in table


def test_an_unknown_bench_is_refused() -> None:
    done = run_module("bench", "nothing", folder=ROOT)
    assert done.returncode == 2
    assert "ingest" in done.stderr

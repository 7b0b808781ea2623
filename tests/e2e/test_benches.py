"""Every bench still runs: once, at a size at which its figures mean nothing."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.__main__ import BENCHES, CLUSTER
from punchcard.testing.processes import run_module, start_module

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
# Not `outages`: it kills brokers, and is run by `make bench-cluster` only.
NAMES = tuple(name for name in dict.fromkeys((*BENCHES, *CLUSTER)) if name != "outages")
LIMIT_SECONDS = 840


@dataclass(frozen=True)
class BenchRun:
    """What a run of several benches has printed.

    Attributes:
        sections: Output of each bench that began, by its name, in order; errors are part of it.
        failed: Names of those that failed, or did not end in time.
    """

    sections: dict[str, str]
    failed: frozenset[str]

    def failure_of(self, name: str) -> str:
        """Return why a bench counts as failed, with its output; "" if it does not."""
        if name not in self.sections:
            last = next(reversed(self.sections), "")
            return f"The bench {name} did not begin. The last one was {last}:\n{self.sections.get(last, '')}"
        output = self.sections[name].strip()
        if name in self.failed:
            return f"The bench {name} failed:\n{output}"
        return "" if output else f"The bench {name} has printed nothing."


def read_run(output: str) -> BenchRun:
    """Read what `python -m bench` has printed, whether it came to its end or not."""
    benches, end, table = output.partition("\n== all figures")
    parts = re.split(r"^== (?=\w+ \(load average)", benches, flags=re.MULTILINE)[1:]
    sections = {part.partition(" ")[0]: part.partition("\n")[2] for part in parts}
    unfinished = [] if end else list(sections)[-1:]
    return BenchRun(sections, frozenset([*re.findall(r"^(\w+) +FAILED$", table, re.MULTILINE), *unfinished]))


@pytest.fixture(scope="module")
def bench_run(tmp_path_factory: pytest.TempPathFactory) -> BenchRun:
    """One run of all benches, as `make bench` and `make bench-cluster` do it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PUNCHCARD_")}
    path = tmp_path_factory.mktemp("benches") / "output"
    with path.open("ab") as output:
        process = start_module(
            "bench", "--tiny", *NAMES, folder=ROOT, environment=environment, stdout=output, stderr=output
        )
        with process:
            try:
                process.wait(LIMIT_SECONDS)
            except subprocess.TimeoutExpired:  # the bench that runs now is the one that failed
                os.killpg(process.pid, signal.SIGKILL)
    return read_run(path.read_text(errors="replace"))


@pytest.mark.parametrize("name", NAMES)
def test_bench_runs_at_a_tiny_size(bench_run: BenchRun, name: str) -> None:
    if failure := bench_run.failure_of(name):
        pytest.fail(failure, pytrace=False)


FAILED_RUN = """\
== ingest (load average 1.0 on 2 cores)
ingest on SQLite                10.0 events/s
== routing (load average 2.0 on 2 cores)
Traceback (most recent call last):
RuntimeError: broken
== delivery (load average 2.0 on 2 cores)
"""


def test_a_bench_that_fails_is_named_with_its_output() -> None:
    run = read_run(
        f"{FAILED_RUN}delivery          5.0 events/s\n\n== all figures, beside those of x\nrouting  FAILED\n"
    )
    assert [run.failure_of(name) for name in ("ingest", "delivery")] == ["", ""]
    assert run.failure_of("routing").startswith("The bench routing failed:")
    assert "RuntimeError: broken" in run.failure_of("routing")


def test_a_bench_that_does_not_end_is_named_with_its_output() -> None:
    run = read_run(f"{FAILED_RUN}begun\n")
    assert run.failure_of("delivery") == "The bench delivery failed:\nbegun"
    assert run.failure_of("latency") == "The bench latency did not begin. The last one was delivery:\nbegun\n"


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
    assert "unknown bench nothing; choose from ingest, " in " ".join(done.stderr.split())


def test_help_names_the_benches_and_runs_none() -> None:
    done = run_module("bench", "--help", folder=ROOT)
    assert done.returncode == 0
    assert "Example: python -m bench routing ingest" in done.stdout
    assert all(name in done.stdout for name in BENCHES)

"""The README, done as it is written: a newcomer who copies each block ends with one transaction of 9.99."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from punchcard.testing.ports import reserved_port
from punchcard.testing.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


def blocks() -> list[tuple[str, str]]:
    """Language and text of every block of the section that a newcomer follows."""
    section = (ROOT / "README.md").read_text().partition("## Use it from a terminal")[2].partition("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


class Newcomer:
    """Does what the blocks say, in a folder of their own and on other ports.

    Args:
        ports: What to write in place of the ports 8080 and 9100.
    """

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = ports
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PUNCHCARD_")}
        # `make install` made it there; the page calls everything by that name.
        (folder / ".venv").symlink_to(sys.prefix)

    def here(self, text: str) -> str:
        """The text for the ports that are free here."""
        text = re.sub(r"(127\.0\.0\.1):(8080|9100)", lambda match: f"{match[1]}:{self.ports[match[2]]}", text)
        text = re.sub(r"punchcard sandbox$", f"punchcard sandbox --port {self.ports['9100']}", text, flags=re.MULTILINE)
        text = re.sub(r"punchcard up (.*)$", rf"punchcard up \1 --port {self.ports['8080']}", text, flags=re.MULTILINE)
        return text.replace("punchcard send", f"punchcard send --url http://127.0.0.1:{self.ports['8080']}")

    def run(self, text: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", self.here(text)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def terminal(self, command: str, *, says: str) -> Iterator[None]:
        """A terminal in which the command keeps running; yields once its first line is there."""
        with (self.folder / "terminal.log").open("a") as errors:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {self.here(command)}"],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            try:
                assert process.stdout is not None
                first = process.stdout.readline()
                assert says in first, first + (self.folder / "terminal.log").read_text()
                yield
            finally:
                process.terminate()
                process.communicate(timeout=PATIENCE_SECONDS)

    def transactions(self) -> list[dict[str, object]]:
        """What the sandbox holds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['9100']}/sandbox/transactions") as response:
            return list(json.load(response)["transactions"])


def test_the_readme_leads_to_the_first_points(tmp_path: Path) -> None:
    with ExitStack() as reservations:
        ports = {port: reservations.enter_context(reserved_port()) for port in ("8080", "9100")}
        follow(Newcomer(tmp_path, ports))


def follow(newcomer: Newcomer) -> None:
    """Do what the section says, in its order."""
    texts = blocks()
    assert [language for language, _ in texts] == ["sh", "toml", "sh", "sh", "sh", "python", "sh"]
    (_, first), (_, config), (_, start), (_, check), (_, by_curl), (_, by_python), (_, by_command) = texts
    install, sandbox = first.splitlines()
    assert install == "make install"
    (newcomer.folder / "punchcard.toml").write_text(newcomer.here(config))
    (newcomer.folder / "send.py").write_text(newcomer.here(by_python))
    with ExitStack() as terminals:
        terminals.enter_context(newcomer.terminal(sandbox, says="Sandbox Perkville ready"))
        terminals.enter_context(newcomer.terminal(start.strip(), says="Punchcard is up"))
        findings = newcomer.run(check).splitlines()
        assert len(findings) > 5
        assert all(finding.startswith("ok ") for finding in findings)
        assert newcomer.run(by_curl) == '{"success":true}'
        newcomer.run(".venv/bin/python send.py")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not newcomer.transactions() and time.monotonic() < deadline:
            time.sleep(0.2)
        # The last line of the block only looks: until routing has come to the event, it says so.
        trace = newcomer.run(by_command)
        while "duplicate" not in trace and time.monotonic() < deadline:
            time.sleep(0.2)
            trace = newcomer.run(by_command)
        assert "perkville: duplicate (same_effect)" in trace
        assert "9.99 × perk 123456 for example@example.com" in trace
        transactions = newcomer.transactions()
        assert [(row["email"], row["quantity"]) for row in transactions] == [("example@example.com", "9.99")]

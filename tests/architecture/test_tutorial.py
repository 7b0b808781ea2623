"""The first tutorial, done as it is written: each command is run, and each stated output is what really comes."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from punchcard.testing.ports import reserved_port
from punchcard.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-points.md"
START_SECONDS = 30

BLOCK = re.compile(r"([^\n]+)\n\n```(\w+)\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A fenced block, its language, and the last line of text before it."""

    before: str
    language: str
    text: str


def blocks() -> list[Block]:
    text = PAGE.read_text()
    # Consecutive blocks have no text between them; a dash takes its place.
    return [Block(*match.groups()) for match in BLOCK.finditer(text.replace("```\n\n```", "```\n\n-\n\n```"))]


def general(output: str) -> str:
    """The output without what differs each time: times, durations and profiles."""
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC", "TIME", output)
    output = re.sub(r"\buse_\w{27}", "PROFILE", output)
    return re.sub(r"\d+ ms", "N ms", output)


@contextmanager
def running(command: str, folder: Path, environment: dict[str, str], expected: str) -> Iterator[None]:
    """A command in a terminal of its own; its first line must be the expected one."""
    with (folder / "terminal.log").open("a") as errors:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
            assert first == expected, (folder / "terminal.log").read_text()
            yield
        finally:
            process.terminate()
            process.communicate(timeout=START_SECONDS)


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def outcome(command: str, folder: Path, environment: dict[str, str], *, stated: str) -> str:
    """What the block's last line prints, repeated until that is what is stated if the line only looks."""
    *first, last = re.split(r"(?<!\\)\n(?=punchcard|python)", command.strip())
    for line in first:
        run(line, folder, environment)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        output = run(last, folder, environment)
        only_looks = last.startswith(("punchcard trace", "punchcard export"))
        if not only_looks or general(output) == general(stated) or time.monotonic() > deadline:
            return output
        time.sleep(0.3)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """A newcomer who follows the page word for word sees what the page says."""
    with ExitStack() as reservations:
        ports = {port: str(reservations.enter_context(reserved_port())) for port in ("8080", "9100")}
        follow(tmp_path, ports)


def follow(tmp_path: Path, ports: Mapping[str, str]) -> None:
    """Do what the page says, in its order, on other ports than 8080 and 9100."""

    def here(text: str) -> str:
        return re.sub(r"(127\.0\.0\.1):(8080|9100)", lambda match: f"{match[1]}:{ports[match[2]]}", text)

    environment = {name: value for name, value in os.environ.items() if not name.startswith("PUNCHCARD_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    all_blocks = blocks()
    compared = 0
    with ExitStack() as terminals:
        for number, block in enumerate(all_blocks):
            text = here(block.text)
            following = all_blocks[number + 1] if number + 1 < len(all_blocks) else None
            stated = here(following.text).strip() if following and following.language == "text" else None
            if block.language in ("toml", "python"):
                save(text, block.before, tmp_path)
            elif block.language == "sh" and text.startswith(("punchcard sandbox", "punchcard up")):
                port = ports["9100" if "sandbox" in text else "8080"]
                assert stated is not None
                terminals.enter_context(running(f"{text.strip()} --port {port}", tmp_path, environment, stated))
                compared += 1
            elif block.language == "sh":
                command = text.replace("punchcard send ", f"punchcard send --url http://127.0.0.1:{ports['8080']} ")
                assert stated is not None
                output = outcome(command, tmp_path, environment, stated=stated)
                assert general(output) == general(stated)
                compared += 1
    assert compared == 16


def save(text: str, before: str, folder: Path) -> None:
    """Do with a block what the line before it says: save it as a file, or change one line of the config file."""
    if named := re.search(r"[Ss]ave this as `([\w.]+)`", before):
        (folder / named[1]).write_text(text)
        return
    file = folder / "punchcard.toml"
    key = text.partition("=")[0]
    changed = re.sub(rf"^{key}=.*\n", lambda _: text, file.read_text(), flags=re.MULTILINE)
    assert changed != file.read_text()
    file.write_text(changed)

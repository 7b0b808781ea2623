"""The data folder: closed to other users of the machine, and explained where a file in it is damaged."""

import os
import pty
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.processes import start_module
from punchcard.testing.product import ProductProcess
from punchcard.testing.product import command as command_line
from punchcard.testing.waiting import PATIENCE_SECONDS

NOBODY = "http://127.0.0.1:9"  # a Perkville that is not there


def modes(folder: Path) -> dict[str, int]:
    """The permission bits of everything directly in a folder, and of the folder itself as `.`."""
    result = {".": stat.S_IMODE(folder.stat().st_mode)}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a running product has just deleted it
            result[path.name] = stat.S_IMODE(path.stat().st_mode)
    return result


def test_nobody_else_can_read_what_up_creates(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with ProductProcess(tmp_path, configuration(perkville_url=NOBODY)) as product:
            product.track("Checked In", {"email": "ann@example.com"})
            result = modes(product.data)
            assert {"log.db", "punchcard.db", "admin-token", "secret-key"} <= result.keys()
            assert not {name: oct(mode) for name, mode in result.items() if mode & 0o077}
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def used_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that has been used, and is at rest."""
    with ProductProcess(tmp_path_factory.mktemp("used"), configuration(perkville_url=NOBODY)) as product:
        product.track("Checked In", {"email": "ann@example.com"})
        return product.data


@pytest.mark.parametrize("command", ["up", "apply", "trace"])
def test_a_folder_of_an_earlier_version_is_closed(tmp_path: Path, used_data: Path, command: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(used_data, data)
    data.chmod(0o755)
    for path in data.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o644)
    if command == "up":
        with ProductProcess(tmp_path, configuration(perkville_url=NOBODY)):
            pass
    elif command == "apply":
        assert command_line("export", "--data", str(data)).returncode == 0
    else:
        command_line("trace", "nothing", "--data", str(data))
    result = modes(data)
    for name in (".", "log.db", "punchcard.db", "admin-token", "secret-key"):
        assert not result[name] & 0o077, name


def test_the_admin_token_is_not_printed_into_files(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        arguments = ("up", "--data", str(tmp_path / "data"), "--port", "0")
        process = start_module("punchcard", *arguments, stdout=file, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "admin-token" not in output.read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
    printed = output.read_text()
    assert str(tmp_path / "data" / "admin-token") in printed
    assert (tmp_path / "data" / "admin-token").read_text().strip() not in printed


def test_a_person_at_a_terminal_sees_the_admin_token(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = start_module(
        "punchcard",
        *("up", "--data", str(tmp_path / "data"), "--port", "0"),
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    try:
        printed = b""
        while b"The admin token of the API is in" not in printed:
            printed += os.read(ours, 4096)
        assert (tmp_path / "data" / "admin-token").read_bytes().strip() in printed
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        os.close(ours)


def _overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def _overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("punchcard.db", ["up", "--port", "0"]),
        ("punchcard.db", ["export"]),
        ("punchcard.db", ["check"]),
        ("log.db", ["up", "--port", "0"]),
        ("log.db", ["trace", "m1"]),
    ],
)
@pytest.mark.parametrize("damage", [_overwrite, _overwrite_middle])
def test_a_damaged_database_is_named_with_the_cure(
    tmp_path: Path, used_data: Path, name: str, damage: Callable[[Path], None], command: list[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(used_data, data)
    for path in data.glob(f"{name}-*"):
        path.unlink()
    damage(data / name)
    done = command_line(*command, "--data", str(data))
    assert done.returncode == 1, done.stderr
    assert "a defect of Punchcard" not in done.stderr
    assert "Traceback" not in done.stderr
    assert name in done.stderr
    assert "backup" in done.stderr

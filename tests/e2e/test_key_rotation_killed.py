"""`punchcard secrets rotate` is killed at any moment, and run twice at once: nothing encrypted is ever lost."""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.contract.privacy_world import dump

from punchcard.cli.configuring import apply_file
from punchcard.errors import ConfigurationError
from punchcard.runtime.settings import read_settings
from punchcard.testing.processes import start_module
from punchcard.testing.waiting import PATIENCE_SECONDS
from punchcard.workspace.key_file import FileKeys, KeyFile
from punchcard.workspace.keyring import open_keyring

DESTINATIONS = 80
TOKEN = re.compile(r"gAAAAA[A-Za-z0-9_=-]+")
DESTINATION = """
[[destinations]]
slug = "gym-{number}"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "token-{number}"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
"""


class Rotations:
    """An installation of many secrets, and processes that rotate its key.

    Args:
        folder: The data folder.
        store_url: Its store.
    """

    def __init__(self, folder: Path, store_url: str) -> None:
        self._folder = folder
        self._store_url = store_url
        self._variables: Mapping[str, str] = {
            "PUNCHCARD_DATA": str(folder),
            "PUNCHCARD_DATABASE_URL": store_url,
            "PUNCHCARD_CONFIG_POLL_SECONDS": "0.05",
        }
        file = folder / "punchcard.toml"
        file.write_text(
            '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n'
            + "".join(DESTINATION.format(number=number) for number in range(DESTINATIONS))
        )
        apply_file(file, read_settings(self._variables), dry_run=False, assume_yes=True)

    def start(self) -> "subprocess.Popen[str]":
        """Start a rotation."""
        environment = {**os.environ, **self._variables}
        return start_module(
            "punchcard", "secrets", "rotate", stdout=subprocess.PIPE, stderr=subprocess.PIPE, environment=environment
        )

    def keys(self) -> KeyFile:
        """Return the key file."""
        return KeyFile(self._folder / "secret-key")

    def forget_old_key(self) -> None:
        """Leave the key file as the end of a rotation does."""
        self.keys().write(FileKeys(current=self.keys().read().current))

    def check(self) -> int:
        """Check that each encrypted value can be read; return how many have another key than the current one."""
        keyring = open_keyring(None, self._folder / "secret-key")
        tokens = [token for _, row in dump(self._store_url) for token in TOKEN.findall(row)]
        assert len(tokens) >= DESTINATIONS
        for token in tokens:
            try:
                keyring.decrypt(token)
            except ConfigurationError as error:
                raise AssertionError("a secret is lost") from error
        return sum(not keyring.is_current(token) for token in tokens)


@pytest.fixture
def rotations(tmp_path: Path, store_url: str) -> Rotations:
    return Rotations(tmp_path, store_url)


def test_a_killed_rotation_loses_no_secret_and_is_continued(rotations: Rotations) -> None:
    started = time.monotonic()
    with rotations.start() as whole:
        assert whole.wait(PATIENCE_SECONDS) == 0
    seconds = time.monotonic() - started
    rotations.forget_old_key()
    killed = 0
    for moment in range(8):
        with rotations.start() as process:
            time.sleep(seconds * moment / 8)
            process.kill()
            ended_by = process.wait(PATIENCE_SECONDS)
        killed += ended_by != 0
        waiting = rotations.check()
        if ended_by == 0 and waiting == 0:
            rotations.forget_old_key()  # so that the next one is killed in a rotation from its beginning
    assert killed
    with rotations.start() as last:
        assert last.wait(PATIENCE_SECONDS) == 0
    assert rotations.check() == 0
    assert rotations.keys().read().next == ""


def test_of_two_rotations_at_once_one_is_refused(rotations: Rotations) -> None:
    before = rotations.keys().read()
    processes = [rotations.start() for _ in range(3)]
    outputs = [process.communicate(timeout=PATIENCE_SECONDS) for process in processes]
    codes = [process.returncode for process in processes]
    assert 0 in codes, outputs
    for code, (_, errors) in zip(codes, outputs, strict=True):
        assert code == 0 or "Another process rotates the key now" in errors
    assert rotations.check() == 0
    keys = rotations.keys().read()
    assert (keys.next, keys.previous) == ("", before.current)

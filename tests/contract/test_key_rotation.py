"""Rotation of the secret key: everything is readable at every moment, and in the end nothing needs the old key."""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.contract.privacy_world import ANN, BOB, CONFIG, dump, order, process, regulate

from punchcard.cli.key_rotation import finish_rotation, rotate_key, show_key_usage
from punchcard.errors import ConfigurationError
from punchcard.operations.key_rotation import count_key_usage, reencrypt
from punchcard.runtime.settings import Settings, read_settings
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace import persistence
from punchcard.workspace.key_file import FileKeys, KeyFile
from punchcard.workspace.keyring import Keyring, open_keyring

TOKEN = re.compile(r"gAAAAA[A-Za-z0-9_=-]+")
OTHER = CONFIG.replace("a-token", "another-token") + (
    '[[alert_channels]]\nname = "ops"\nurl = "https://example.com/hook?secret=1"\n'
)


def settings_of(folder: Path, **more: str) -> Settings:
    """Return the settings of a command on the data folder."""
    variables = {"PUNCHCARD_DATA": str(folder), "PUNCHCARD_CONFIG_POLL_SECONDS": "0.01", **more}
    return read_settings(variables)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    """A running installation with every kind of encrypted value."""
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        server.configure(OTHER)
        regulate(server, "SUPPRESS_ONLY", ANN[0])
        regulate(server, "DELETE_INTERNAL", BOB[0])
        server.deletion_runner().step()
        yield server


def tokens_of(api: PublicApiServer) -> list[tuple[str, str]]:
    """Every encrypted value anywhere in the database, with its table."""
    rows = dump(f"sqlite:///{api.store.sqlite_path}")
    return [(table, token) for table, row in rows for token in TOKEN.findall(row)]


def readable_with(keyring: Keyring, tokens: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the values that a keyring can decrypt."""

    def is_readable(token: str) -> bool:
        try:
            keyring.decrypt(token)
        except ConfigurationError:
            return False
        return True

    return [(table, token) for table, token in tokens if is_readable(token)]


def test_everything_is_encrypted_with_a_new_key_while_the_app_runs(
    api: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, path = settings_of(tmp_path), tmp_path / "secret-key"
    old = Keyring(path.read_text().strip())
    before = tokens_of(api)
    tables = {"configuration_documents", "configuration_version_parts", "subject_keys", "suppressed_subjects"}
    assert tables | {"regulation_subjects"} == {table for table, _ in before}
    assert rotate_key(settings) == 0
    assert re.search(r"current key: +\d+\n.*accepted key: 0\n.*unknown key: +0\n", capsys.readouterr().out)
    assert readable_with(old, tokens_of(api)) == []
    assert len(tokens_of(api)) == len(before)
    # The processes that run encrypt with the new key at once, and find the suppressed person by the same hash.
    api.configure(CONFIG)
    regulate(api, "SUPPRESS_ONLY", "another-person")
    api.clock.advance(1)
    api.send(order(ANN, 7))
    process(api)
    assert api.request("GET", "/api/events/m-7").json()["data"]["results"][0]["reason"] == "suppressed"
    assert readable_with(old, tokens_of(api)) == []
    assert (
        persistence.load(api.store, open_keyring(None, path)).workspace.destinations[0].settings["apiKey"] == "a-token"
    )
    assert finish_rotation(settings) == 0
    assert path.read_text().count("\n") == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(readable_with(open_keyring(None, path), tokens_of(api))) == len(tokens_of(api))
    with pytest.raises(ConfigurationError, match="There is no old key"):
        finish_rotation(settings)


@pytest.mark.parametrize("moment", range(1, 9))
def test_an_interrupted_rotation_is_continued(
    api: PublicApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """At any moment everything can be read with the file as it is, and a second call ends in the same state."""
    settings, path = settings_of(tmp_path), tmp_path / "secret-key"
    old = Keyring(path.read_text().strip())
    left = [moment]
    unit_of_work = type(api.store).unit_of_work

    @contextmanager
    def interrupted(self: object) -> Iterator[Connection]:
        with unit_of_work(self) as work:  # type: ignore[arg-type]
            yield work
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(type(api.store), "unit_of_work", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rotate_key(settings)
    monkeypatch.setattr(type(api.store), "unit_of_work", unit_of_work)
    tokens = tokens_of(api)
    assert readable_with(open_keyring(None, path), tokens) == tokens
    assert rotate_key(settings) == 0
    keys = KeyFile(path).read()
    assert keys.previous
    assert not keys.next
    assert readable_with(old, tokens_of(api)) == []
    assert rotate_key(settings) == 0  # done: nothing changes
    assert KeyFile(path).read() == keys


def test_the_old_key_stays_while_something_needs_it(
    api: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path)
    rotate_key(settings)
    api.send(order(BOB, 1))
    assert finish_rotation(settings) == 1
    assert "not routed" in capsys.readouterr().err
    assert KeyFile(tmp_path / "secret-key").read().previous
    api.route()
    assert finish_rotation(settings) == 0


def test_machines_with_their_own_keys_rotate_in_steps(
    api: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = (tmp_path / "secret-key").read_text().strip()
    alone = settings_of(tmp_path, PUNCHCARD_SECRET_KEY=old)
    with pytest.raises(ConfigurationError, match="PUNCHCARD_SECRET_KEY_ACCEPTED"):
        rotate_key(alone)
    with pytest.raises(ConfigurationError, match="PUNCHCARD_SECRET_KEY_ACCEPTED is not set"):
        finish_rotation(alone)
    both = settings_of(tmp_path, PUNCHCARD_SECRET_KEY="a new key", PUNCHCARD_SECRET_KEY_ACCEPTED=old)
    assert rotate_key(both) == 0
    assert finish_rotation(both) == 0
    assert "Remove PUNCHCARD_SECRET_KEY_ACCEPTED" in capsys.readouterr().out
    assert show_key_usage(settings_of(tmp_path, PUNCHCARD_SECRET_KEY="a new key"), as_json=True) == 0
    assert '"accepted":0,"unreadable":0}' in capsys.readouterr().out
    assert show_key_usage(alone, as_json=False) == 1  # the old key reads nothing any more


STEPS = (Keyring("old"), Keyring("old", ["new"]), Keyring("new", ["old"]), Keyring("new"))


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise(STEPS)))
def test_processes_of_neighboring_steps_understand_each_other(first: Keyring, second: Keyring) -> None:
    for sender, receiver in ((first, second), (second, first)):
        assert receiver.decrypt(sender.encrypt("secret")) == "secret"
        assert sender.fingerprint(b"engage-x") in receiver.fingerprints(b"engage-x")


def test_a_value_that_nobody_can_read_is_left_and_counted(api: PublicApiServer) -> None:
    keyring = Keyring("of another installation")
    before = tokens_of(api)
    usage = count_key_usage(api.store, keyring)
    assert (usage.current, usage.accepted, usage.unreadable) == (0, 0, len(before))
    assert reencrypt(api.store, keyring) == 0
    assert tokens_of(api) == before


def test_a_key_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "secret-key")
    keys = file.read_or_create()
    assert (keys.next, keys.previous, keys.accepted) == ("", "", ())
    keyring = open_keyring(None, tmp_path / "secret-key")
    token = keyring.encrypt("x")
    file.write(FileKeys(current="b", next="c", previous=keys.current))
    assert file.read().accepted == ("c", keys.current)
    assert Keyring("b").decrypt(keyring.encrypt("y")) == "y"  # read again
    assert keyring.decrypt(token) == "x"
    (tmp_path / "secret-key").unlink()
    assert keyring.decrypt(token) == "x"  # what was read stays usable
    assert [path.name for path in tmp_path.iterdir()] == []

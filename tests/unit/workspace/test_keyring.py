import stat
import threading
from pathlib import Path

import pytest

from punchcard.errors import ConfigurationError
from punchcard.workspace.keyring import Keyring, is_masked, mask, open_keyring


def test_same_text_reads_what_it_encrypted_and_another_says_what_to_do() -> None:
    token = Keyring("correct horse").encrypt("secret of Åse")
    assert "secret" not in token
    assert Keyring("correct horse").decrypt(token) == "secret of Åse"
    with pytest.raises(ConfigurationError, match="Set PUNCHCARD_SECRET_KEY to the key used before") as caught:
        Keyring("battery staple").decrypt(token)
    assert caught.value.code == "wrong_secret_key"


def test_fingerprint_depends_on_content_and_key() -> None:
    first, second = Keyring("a"), Keyring("b")
    assert first.fingerprint(b"x") == Keyring("a").fingerprint(b"x")
    assert len({first.fingerprint(b"x"), first.fingerprint(b"y"), second.fingerprint(b"x")}) == 3


def test_key_is_made_once_and_kept_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret-key"
    token = open_keyring(None, path).encrypt("x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_keyring(None, path).decrypt(token) == "x"
    assert [file.name for file in path.parent.iterdir()] == ["secret-key"]


def test_operators_key_comes_first_and_nothing_is_kept(tmp_path: Path) -> None:
    token = open_keyring("mine", tmp_path / "secret-key").encrypt("x")
    assert Keyring("mine").decrypt(token) == "x"
    assert list(tmp_path.iterdir()) == []


def test_processes_that_start_together_end_with_one_key(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    barrier = threading.Barrier(4)
    tokens: list[str] = []

    def start() -> None:
        barrier.wait()
        tokens.append(open_keyring(None, path).encrypt("x"))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {open_keyring(None, path).decrypt(token) for token in tokens} == {"x"}
    assert len(tokens) == 4


def test_empty_kept_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_text("\n")
    with pytest.raises(ConfigurationError, match="The secret key is empty"):
        open_keyring(None, tmp_path / "secret-key")


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        pytest.param("a-token-of-acme-1234", "••••1234", id="long"),
        pytest.param("short-12345", "••••", id="short ones show nothing"),
        pytest.param("", "••••", id="empty"),
    ],
)
def test_mask_shows_at_most_the_end(secret: str, shown: str) -> None:
    assert mask(secret) == shown
    assert is_masked(shown)

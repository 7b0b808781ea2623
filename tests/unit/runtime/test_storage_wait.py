"""Which failures at start are waited for, and which end the process."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from punchcard.errors import ConfigurationError, LakeError, PunchcardError, StorageError, StorageSettingsError
from punchcard.runtime import storage_wait
from punchcard.runtime.settings import Settings, read_settings
from punchcard.runtime.storage_wait import StorageWait

SERVER = {"PUNCHCARD_DATABASE_URL": "postgresql://db/punchcard"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_wait, "_RETRY_SECONDS", 0.0)


def settings_of(folder: Path, environment: dict[str, str]) -> Settings:
    return read_settings({"PUNCHCARD_DATA": str(folder), **environment})


def failing_once(error: PunchcardError) -> Callable[[], str]:
    errors = [error, error]

    def attempt() -> str:
        if errors:
            raise errors.pop()
        return "opened"

    return attempt


def test_a_server_that_is_away_is_waited_for_and_named(tmp_path: Path) -> None:
    shown: list[StorageError] = []
    wait = StorageWait(settings_of(tmp_path, SERVER), process="worker", on_wait=shown.append)
    with structlog.testing.capture_logs() as lines:
        assert wait.open(failing_once(StorageError("the server\nis away"))) == "opened"
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("storage_awaited", "the server is away"),
        ("storage_awaited", "the server is away"),
        ("storage_opened", None),
    ]
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("error", "raised", "environment"),
    [
        (StorageSettingsError("wrong password"), ConfigurationError, SERVER),
        (ConfigurationError("no such topic"), ConfigurationError, SERVER),
        (StorageError("is damaged", code="store_damaged"), StorageError, SERVER),
        (StorageError("was replaced", code="log_replaced"), StorageError, SERVER),
        (LakeError("is damaged"), LakeError, SERVER),
        (StorageError("permission denied"), StorageError, {}),
    ],
)
def test_what_no_waiting_cures_ends_the_start(
    tmp_path: Path, error: PunchcardError, raised: type[PunchcardError], environment: dict[str, str]
) -> None:
    wait = StorageWait(settings_of(tmp_path, environment), process="worker")
    with pytest.raises(raised, match=error.message):
        wait.open(failing_once(error))


def test_a_signal_ends_a_process_that_waits_and_its_handlers_are_as_before(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    wait = StorageWait(settings_of(tmp_path, SERVER), process="worker", on_wait=lambda _: None)

    def attempt() -> str:
        if signal.getsignal(signal.SIGTERM) != handlers[0]:
            signal.raise_signal(signal.SIGTERM)
        raise StorageError

    with pytest.raises(SystemExit) as ended:
        wait.open(attempt)
    assert ended.value.code == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers

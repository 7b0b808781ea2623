from pathlib import Path

import pytest
from structlog.testing import capture_logs

from punchcard.errors import ConfigurationError, StorageError
from punchcard.workspace.file_watch import FileWatch
from punchcard.workspace.model import Workspace
from punchcard.workspace.plan import Change


class Applied:
    """Takes what the watch applies; fails as often as asked."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failures = 0

    def __call__(self, workspace: Workspace) -> list[Change]:
        if self.failures:
            self.failures -= 1
            raise StorageError("the store is away")
        self.names.append(workspace.name)
        return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "punchcard.toml"
    write(path, "first")
    return path


def write(path: Path, name: str) -> None:
    path.write_text(f'[workspace]\nname = "{name}"\n')


def poll(watch: FileWatch, times: int = 3) -> list[str]:
    with capture_logs() as logs:
        for _ in range(times):
            watch.poll()
    return [line["event"] for line in logs]


def test_change_is_applied_once_and_only_when_it_has_settled(path: Path) -> None:
    applied = Applied()
    watch = FileWatch(path, applied, environment={})
    watch.apply_now()
    poll(watch)
    assert applied.names == ["first"]

    write(path, "half-writ")
    watch.poll()
    write(path, "second")
    watch.poll()
    assert applied.names == ["first"]
    poll(watch)
    assert applied.names == ["first", "second"]


def test_broken_file_changes_nothing_and_is_reported_once_per_change(path: Path) -> None:
    applied = Applied()
    watch = FileWatch(path, applied, environment={})
    watch.apply_now()

    path.write_text("[workspace")
    assert poll(watch, 5) == ["config_file_refused"]
    path.write_text('[workspace]\nname = "${MISSING}"\n')
    assert poll(watch, 5) == ["config_file_refused"]
    path.unlink()
    assert poll(watch, 5) == ["config_file_refused"]
    assert applied.names == ["first"]

    write(path, "mended")
    assert poll(watch) == []
    assert applied.names == ["first", "mended"]


def test_file_put_back_after_a_broken_one_is_applied(path: Path) -> None:
    applied = Applied()
    watch = FileWatch(path, applied, environment={})
    watch.apply_now()
    path.write_text("[workspace")
    poll(watch)
    write(path, "first")
    poll(watch)
    assert applied.names[-1] == "first"


def test_store_that_is_away_is_tried_again(path: Path) -> None:
    applied = Applied()
    watch = FileWatch(path, applied, environment={})
    applied.failures = 2
    assert poll(watch, 5) == ["config_file_postponed", "config_file_postponed"]
    assert applied.names == ["first"]


def test_start_fails_on_a_broken_file(path: Path) -> None:
    path.write_text("[workspace")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        FileWatch(path, Applied(), environment={}).apply_now()


def test_why_a_file_was_not_applied_is_reported_until_it_is(path: Path) -> None:
    reports: list[str | None] = []
    unconfirmed = ["second"]

    def confirm(workspace: Workspace, _keys: object) -> None:
        if workspace.name in unconfirmed:
            raise ConfigurationError("who renames it?", code="rename_unconfirmed")

    watch = FileWatch(
        path,
        Applied(),
        environment={},
        confirm=confirm,
        report=lambda error: reports.append(None if error is None else error.code),
    )
    watch.apply_now()
    write(path, "second")
    poll(watch)
    path.write_text("not TOML")
    poll(watch)
    write(path, "third")
    poll(watch)
    assert reports == [None, "rename_unconfirmed", "invalid_configuration", None]

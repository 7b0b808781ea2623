"""What every test of the command line shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.testing.tracking_api import RecordingTrackingApi


@pytest.fixture
def api() -> Iterator[RecordingTrackingApi]:
    """A running Tracking API that remembers."""
    with RecordingTrackingApi() as running:
        yield running


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where progress is kept: never the home of who runs the tests. Nor do their settings reach the tests."""
    home = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    for name in ("PUNCHCARD_DATA", "PUNCHCARD_DATABASE_URL", "PUNCHCARD_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return home

"""`punchcard versions`: list, compare and restore on the command line, in this process."""

import json
from pathlib import Path

import pytest

from punchcard.cli.running import run
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import read_settings
from punchcard.workspace import persistence
from punchcard.workspace.model import Workspace

SOURCE = '[[sources]]\nslug = "website"\nname = "{name}"\nwrite_key = "wk_website_0001"\n'
DESTINATION = """
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "{perk}" }}
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PUNCHCARD_DATA", "PUNCHCARD_DATABASE_URL", "PUNCHCARD_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "data"
    for number, (name, perk) in enumerate((("Website", "123456"), ("Website", "123457"), ("Shop", "123457"))):
        file = tmp_path / f"{number}.toml"
        file.write_text(SOURCE.format(name=name) + DESTINATION.format(perk=perk))
        release = ["--release"] if number == 2 else []
        assert run(["apply", str(file), "--data", str(folder), "--yes", *release]) == 0
    return folder


def configuration(data: Path) -> Workspace:
    settings = read_settings({"PUNCHCARD_DATA": str(data)})
    store = open_store(settings)
    try:
        return persistence.load(store, open_keyring(settings)).workspace
    finally:
        store.close()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    capsys.readouterr()
    assert run(["versions", *arguments]) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def test_versions_are_listed_in_words_and_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "list", "--data", str(data))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["3", "2", "1"]
    assert "command line" in lines[0]
    assert lines[1] == "    Name of source Shop: Website → Shop"
    assert "    Map entry “Checked In” of Perkville: perk 123456 → 123457" in lines
    assert "a-secret" not in text
    rows = [json.loads(line) for line in printed(capsys, "list", "--json", "--data", str(data)).splitlines()]
    assert next((row["number"], row["actor"], row["channel"]) for row in rows) == (3, "command line", "command line")
    part = printed(capsys, "list", "--part", "source/website", "--count", "1", "--data", str(data))
    assert part.splitlines()[0].startswith("3 ")
    assert len(part.splitlines()) == 2


def test_versions_are_compared(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "Map entry “Checked In” of Perkville: perk 123456 → 123457\n"
    assert printed(capsys, "diff", "1", "2", "--data", str(data)) == expected
    assert printed(capsys, "diff", "1", "--data", str(data)) == "Name of source Shop: Website → Shop\n" + expected
    assert printed(capsys, "diff", "3", "--data", str(data)) == "No changes\n"
    assert printed(capsys, "diff", "1", "--part", "source/website", "--data", str(data)).startswith("Name of source")
    assert "no version 9" in printed(capsys, "diff", "9", "--data", str(data), status=2)
    assert "--part perk" in printed(capsys, "diff", "1", "--part", "perk", "--data", str(data), status=2)


def test_a_part_is_restored_after_showing_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["restore", "1", "--part", "destination/perkville", "--data", str(data)]
    dry = printed(capsys, *options, "--dry-run")
    assert "perk 123457 → 123456" in dry
    assert configuration(data).destinations[0].settings["eventToPerkMap"] == {"Checked In": "123457"}
    text = printed(capsys, *options, "--yes")
    assert "Restored as version" in text
    assert "punchcard replay --destination perkville" in text
    workspace = configuration(data)
    assert workspace.destinations[0].settings["eventToPerkMap"] == {"Checked In": "123456"}
    assert workspace.sources[0].name == "Shop"
    assert printed(capsys, *options, "--yes") == "No changes\n"


def test_a_restore_needs_a_confirmation(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Add --yes" in printed(capsys, "restore", "1", "--data", str(data), status=2)
    assert configuration(data).sources[0].name == "Shop"


def test_what_the_config_file_manages_is_refused_or_skipped(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "managed.toml"
    file.write_text(SOURCE.format(name="Store"))
    assert run(["apply", str(file), "--data", str(data), "--yes"]) == 0
    text = printed(capsys, "restore", "1", "--yes", "--data", str(data), status=1)
    assert "manages source Store. Change" in text
    assert "--skip-managed" in text
    text = printed(capsys, "restore", "1", "--yes", "--skip-managed", "--data", str(data))
    assert "The config file manages source Store, which stays as it is." in text
    workspace = configuration(data)
    assert workspace.sources[0].name == "Store"
    assert workspace.destinations[0].settings["eventToPerkMap"] == {"Checked In": "123456"}

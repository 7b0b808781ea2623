"""The user's page names every setting, option, reason and module."""

import re
from pathlib import Path

import pytest

from punchcard.destinations import webhooks
from punchcard.destinations.webhooks.definition import OPTIONS, SETTINGS
from punchcard.destinations.webhooks.reasons import REASONS

FOLDER = Path(webhooks.__path__[0])
README = (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("key", [field.key for field in (*SETTINGS, *OPTIONS)])
def test_every_setting_is_on_the_page(key: str) -> None:
    assert f"| `{key}` |" in README


def test_every_reason_is_on_the_page() -> None:
    sources = "".join(file.read_text() for file in FOLDER.glob("*.py"))
    codes = set(re.findall(r'code="([a-z_]+)"', sources)) | {code for reason in REASONS for code in reason.codes}
    assert {code for code in codes if f"`{code}`" not in README} == set()


def test_every_module_is_on_the_page() -> None:
    assert all(f"`{file.name}`" in README for file in FOLDER.glob("*.py") if file.name != "__init__.py")

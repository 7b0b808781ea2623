"""Every icon that a page uses is in the sprite: the build finds names wherever templates pass them."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from punchcard.app.assets import FOLDER, Assets

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "src/punchcard/app/templates"


@pytest.fixture(scope="module")
def icons() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assets_icons", ROOT / "assets/icons.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


EMPTY = '{% macro empty(title, picture="mood-empty") %}{{ icon(picture) }}{% endmacro %}'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("{{ icon('plus') }}", {"plus"}, id="literal"),
        pytest.param('{{ icon("check", "done") }}', {"check"}, id="with a label"),
        pytest.param("{{ icon(name='check') }}", {"check"}, id="by keyword"),
        pytest.param("{{ icon('check' if ok else 'x') }}", {"check", "x"}, id="one of two"),
        pytest.param(EMPTY, {"mood-empty"}, id="default of a macro"),
        pytest.param(EMPTY + "{{ empty('No', 'flask') }}", {"mood-empty", "flask"}, id="macro by position"),
        pytest.param(EMPTY + "{{ parts.empty('No', picture='history') }}", {"mood-empty", "history"}, id="by keyword"),
        pytest.param(
            EMPTY + "{% macro card(image) %}{{ parts.empty('No', image) }}{% endmacro %}{{ card('receipt') }}",
            {"mood-empty", "receipt"},
            id="through two macros",
        ),
        pytest.param("{{ icon(entry.icon) }}", set(), id="navigation"),
    ],
)
def test_icon_names_are_found(icons: ModuleType, text: str, names: set[str]) -> None:
    assert icons.find_icon_names({"page.html": text}) == names


@pytest.mark.parametrize("text", ["{{ icon('a' ~ kind) }}", "{{ icon(kind) }}", "{{ icon(kinds[0]) }}"])
def test_a_computed_icon_name_stops_the_build(icons: ModuleType, text: str) -> None:
    with pytest.raises(icons.IconError, match=r"page\.html:1"):
        icons.find_icon_names({"page.html": text})


def test_the_sprite_holds_every_icon_that_templates_use(icons: ModuleType) -> None:
    sprite = Assets().read(Assets().url("icons.svg").rpartition("/")[2], gzipped=False)
    if sprite is None:
        pytest.skip(f"{FOLDER} is missing: run `make assets`")
    symbols = set(re.findall(r'<symbol id="([^"]+)"', sprite.content.decode()))
    used = icons.find_icon_names({path.name: path.read_text() for path in TEMPLATES.rglob("*.html")})
    assert len(used) > 20
    assert used <= symbols

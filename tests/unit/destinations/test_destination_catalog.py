"""Packages add destinations: nothing is imported before it is asked for, and a broken one stops no other."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from punchcard.destinations.catalog import ENTRY_POINT_GROUP, DestinationCatalog
from punchcard.destinations.perkville.partner import PerkvillePartner
from punchcard.errors import ConfigurationError
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.persistence import StoredWorkspace
from punchcard.workspace.snapshot import compile_snapshot
from punchcard.workspace.validate import validate

GOOD = """
from dataclasses import replace
from punchcard.destinations.webhooks.partner import WebhooksPartner

class AcmeDestination(WebhooksPartner):
    definition = replace(WebhooksPartner.definition, slug="acme", name="Acme")
"""
BROKEN = {
    "raises": "raise RuntimeError('no licence')",
    "exits": "import sys; sys.exit(3)",
    "missing": "import a_module_that_is_not_there",
    "syntax": "def",
    "nothing": "AcmeDestination = None",
    "other-slug": GOOD.replace('slug="acme"', 'slug="other"'),
    "no-methods": "from punchcard.destinations.webhooks.definition import WEBHOOKS\n"
    "from dataclasses import replace\nclass AcmeDestination:\n    definition = replace(WEBHOOKS, slug='acme')",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "acme_destination.py"
    sys.modules.pop("acme_destination", None)


def catalog(*names: str) -> DestinationCatalog:
    points = [
        EntryPoint(name=name, value="acme_destination:AcmeDestination", group=ENTRY_POINT_GROUP) for name in names
    ]
    return DestinationCatalog([PerkvillePartner()], find=lambda: points)


def test_a_package_is_imported_when_it_is_requested_and_not_before(package: Path) -> None:
    package.write_text(GOOD)
    destinations = catalog("acme")
    assert list(destinations) == ["acme", "perkville"], "in order, whatever the hashes of this process are"
    assert [partner.definition.slug for partner in destinations.loaded()] == ["perkville"]
    assert destinations["perkville"].definition.name == "Perkville"
    assert "acme_destination" not in sys.modules
    assert destinations["acme"].definition.name == "Acme"
    assert destinations["acme"] is destinations["acme"]
    assert [partner.definition.slug for partner in destinations.values()] == ["acme", "perkville"]


def test_compiling_a_configuration_imports_only_what_it_names(package: Path) -> None:
    package.write_text(GOOD)
    source = Source(slug="website", name="Website", write_keys=("wk",))
    workspace = Workspace(sources=(source,))
    snapshot = compile_snapshot(
        StoredWorkspace(revision=1, workspace=workspace), keyring=Keyring("k"), catalog=catalog("acme")
    )
    assert snapshot.known_names == {"Perkville"}
    assert "acme_destination" not in sys.modules


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
def test_a_broken_package_is_reported_once_and_leaves_the_others(package: Path, code: str) -> None:
    package.write_text(code)
    destinations = catalog("acme")
    with capture_logs() as logs:
        assert destinations.get("acme") is None
        assert destinations.get("acme") is None
        assert [partner.definition.slug for partner in destinations.values()] == ["perkville"]
    assert [line["destination_type"] for line in logs if line["event"] == "destination_package_not_loaded"] == ["acme"]
    assert "acme_destination:AcmeDestination" in destinations.problems["acme"]


def test_a_broken_package_holds_its_own_destination_and_no_other(package: Path) -> None:
    package.write_text(BROKEN["raises"])
    destinations = catalog("acme")
    source = Source(slug="website", name="Website", write_keys=("wk",))
    perkville = {"apiKey": "key", "businessId": "41", "locationId": "7"}
    workspace = Workspace(
        sources=(source,),
        destinations=(
            Destination(slug="acme", type="acme", sources=("website",)),
            Destination(slug="points", type="perkville", sources=("website",), settings=perkville),
        ),
    )
    snapshot = compile_snapshot(
        StoredWorkspace(revision=1, workspace=workspace), keyring=Keyring("k"), catalog=destinations
    )
    assert "no licence" in (snapshot.destinations["acme"].invalid or "")
    assert snapshot.destinations["points"].invalid is None
    with pytest.raises(ConfigurationError, match="no licence"):
        validate(workspace, catalog=destinations)


def test_a_slug_that_is_taken_stays_with_the_first(package: Path) -> None:
    package.write_text(GOOD)
    destinations = catalog("perkville", "acme", "acme")
    with capture_logs() as logs:
        assert isinstance(destinations["perkville"], PerkvillePartner)
        assert list(destinations) == ["acme", "perkville"], "in order, whatever the hashes of this process are"
    assert [line["destination_type"] for line in logs] == ["perkville", "acme"]
    assert destinations.get("acme") is not None


def test_what_nobody_adds_is_not_there() -> None:
    destinations = catalog()
    assert destinations.get("acme") is None
    assert "acme" not in destinations
    assert destinations.problems == {}

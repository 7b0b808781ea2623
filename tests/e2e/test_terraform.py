"""Segment's own Terraform provider against a running Punchcard: what is applied stays, and a second plan is empty.

`make terraform` runs it. It builds OpenTofu and the provider with Go; `TERRAFORM` and `SEGMENT_PROVIDER` may name
binaries that are there already.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess

pytestmark = pytest.mark.terraform
TOFU = "github.com/opentofu/opentofu/cmd/tofu@v1.12.6"
PROVIDER = "github.com/segmentio/terraform-provider-segment@v1.6.0"
BUILD_SECONDS = 3_600

RESOURCES = """
terraform {
  required_providers {
    segment = { source = "segmentio/segment" }
  }
}
provider "segment" {}

resource "segment_label" "production" {
  key   = "environment"
  value = "production"
}
resource "segment_label" "described" {
  key         = "team"
  value       = "shops"
  description = "who runs it"
}
resource "segment_source" "shop" {
  slug     = "shop"
  name     = "%(name)s"
  enabled  = true
  metadata = { id = "javascript" }
  settings = jsonencode({})
  labels   = [{ key = segment_label.production.key, value = segment_label.production.value }]
}
resource "segment_destination" "points" {
  name      = "Points"
  enabled   = true
  source_id = segment_source.shop.id
  metadata  = { id = "%(perkville)s" }
  settings = jsonencode({
    apiKey = "sandbox-token", businessId = "41", locationId = "7", sendEmail = false,
    eventToPerkMap = { "Checked In" = "123457" }
  })
}
resource "segment_destination_filter" "plain" {
  source_id      = segment_source.shop.id
  destination_id = segment_destination.points.id
  title          = "no staff"
  if             = "%(condition)s"
  enabled        = true
  actions        = [{ type = "DROP" }]
}
resource "segment_destination_filter" "described" {
  source_id      = segment_source.shop.id
  destination_id = segment_destination.points.id
  title          = "a share"
  description    = "half of it"
  if             = "event = 'Locker Opened'"
  enabled        = true
  actions        = [{ type = "SAMPLE", percent = 0.5, path = "userId" }]
}
resource "segment_destination_filter" "fields" {
  source_id      = segment_source.shop.id
  destination_id = segment_destination.points.id
  title          = "no card data"
  if             = "all"
  enabled        = true
  actions        = [{ type = "DROP_PROPERTIES", fields = jsonencode({ properties = ["card"] }) }]
}
"""


def binary(variable: str, package: str, folder: Path) -> Path:
    """A program that the environment names, or that Go builds; skips where neither is available."""
    if named := os.environ.get(variable):
        return Path(named)
    if shutil.which("go") is None:
        pytest.skip(f"there is no Go to build {package} with, and {variable} names no program")
    built = subprocess.run(
        ["go", "install", package],
        env={**os.environ, "GOBIN": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if built.returncode:
        pytest.skip(f"{package} cannot be built: {built.stderr.strip()[-300:]}; {variable} may name a program")
    return folder / package.rpartition("/")[2].partition("@")[0]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductProcess]:
    folder = tmp_path_factory.mktemp("terraform-product")
    with (
        SandboxProcess(folder / "sandbox") as sandbox,
        ProductProcess(folder, configuration(perkville_url=sandbox.url)) as running,
    ):
        yield running


class Terraform:
    """A folder of resources, and the command that makes them so."""

    def __init__(self, folder: Path, product: ProductProcess) -> None:
        programs = folder / "programs"
        self._command = binary("TERRAFORM", TOFU, programs)
        provider = binary("SEGMENT_PROVIDER", PROVIDER, programs)
        self._folder = folder / "resources"
        self._folder.mkdir()
        settings = folder / "settings.tfrc"
        override = f'dev_overrides {{ "segmentio/segment" = "{provider.parent}" }}\n  direct {{}}'
        settings.write_text(f"provider_installation {{\n  {override}\n}}\n")
        self._environment = {
            **os.environ,
            "TF_CLI_CONFIG_FILE": str(settings),
            "PUBLIC_API_URL": f"{product.url}/api",
            "PUBLIC_API_TOKEN": product.token,
        }
        _, catalog = product.call("GET", "/api/catalog/destinations")
        self._perkville = catalog["data"]["destinationsCatalog"][0]["id"]

    def write(self, *, name: str, condition: str) -> None:
        """State the resources."""
        values = {"name": name, "condition": condition, "perkville": self._perkville}
        (self._folder / "main.tf").write_text(RESOURCES % values)

    def run(self, *arguments: str, statuses: tuple[int, ...] = (0,)) -> str:
        """One command to its end; its output."""
        done = subprocess.run(
            [self._command, *arguments, "-no-color"],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode in statuses, done.stdout + done.stderr
        return done.stdout


def ids(product: ProductProcess) -> dict[str, tuple[str, str]]:
    _, body = product.call("GET", "/api/destinations")
    (slug,) = [destination["id"] for destination in body["data"]["destinations"] if destination["name"] == "Points"]
    _, body = product.call("GET", f"/api/destination/{slug}/filters")
    return {
        destination["title"]: (destination["id"], destination["createdAt"]) for destination in body["data"]["filters"]
    }


def test_what_is_applied_stays_and_changes_in_place(tmp_path: Path, product: ProductProcess) -> None:
    terraform = Terraform(tmp_path, product)
    terraform.write(name="The shop", condition="properties.staff")
    terraform.run("apply", "-auto-approve")
    assert "No changes" in terraform.run("plan", "-detailed-exitcode")
    before = ids(product)
    assert set(before) == {"no staff", "a share", "no card data"}
    _, body = product.call("GET", "/api/sources/shop")
    assert body["data"]["source"]["labels"] == [{"key": "environment", "value": "production"}]

    terraform.write(name="The old shop", condition='properties.a\\\\\\"b = 1')
    changed = json.loads(terraform.run("plan", "-out=changes") and terraform.run("show", "-json", "changes"))
    actions = {
        resource_change["address"]: resource_change["change"]["actions"]
        for resource_change in changed["resource_changes"]
    }
    assert actions["segment_destination_filter.plain"] == actions["segment_source.shop"] == ["update"]
    terraform.run("apply", "-auto-approve")
    assert "No changes" in terraform.run("plan", "-detailed-exitcode")
    assert ids(product) == before

    terraform.run("destroy", "-auto-approve")
    assert product.call("GET", "/api/sources/shop")[0] == 404

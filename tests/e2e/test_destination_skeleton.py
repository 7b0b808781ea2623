"""A destination in a package of its own: the skeleton's tests pass, and an installed one delivers with the product."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from punchcard.cli.running import run
from punchcard.testing.product import WRITE_KEY, ProductProcess, command
from punchcard.testing.webhook_receiver import WebhookReceiver


def install(package: Path, folder: Path, *, name: str, target: str) -> Path:
    """What an installer leaves behind: the code, and the metadata that names its entry point."""
    folder.mkdir()
    for source in (package / "src").iterdir():
        (folder / source.name).symlink_to(source)
    info = folder / f"punchcard_{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: punchcard-{name}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[punchcard.destinations]\n{name} = {target}\n")
    return folder


@pytest.mark.parametrize("name", ["acme-rewards", "x1"])
def test_the_tests_of_a_new_destination_pass(tmp_path: Path, name: str) -> None:
    written = command("destination", "new", name, "--folder", str(tmp_path))
    assert written.returncode == 0, written.stderr
    package = tmp_path / f"punchcard-{name}"
    assert str(package / "pyproject.toml") in written.stdout
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package)],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
        cwd=package,
    )
    assert tests.returncode == 0, tests.stdout[-3000:] + tests.stderr
    assert " passed" in tests.stdout
    again = command("destination", "new", name, "--folder", str(tmp_path))
    assert again.returncode != 0
    assert "exists already" in again.stderr


@pytest.mark.parametrize("name", ["perkville", "webhooks", "Acme", "a b", "../x", "-a", "a--b", "x" * 41])
def test_a_name_that_cannot_be_a_slug_is_refused(tmp_path: Path, name: str) -> None:
    assert run(["destination", "new", "--folder", str(tmp_path), "--", name]) != 0
    assert list(tmp_path.iterdir()) == []


def test_an_installed_destination_delivers_beside_a_broken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("destination", "new", "acme", "--folder", str(tmp_path)).returncode == 0
    good = install(
        tmp_path / "punchcard-acme", tmp_path / "site", name="acme", target="punchcard_acme.destination:AcmeDestination"
    )
    bad = tmp_path / "bad"
    (bad / "src").mkdir(parents=True)
    (bad / "src" / "broken_package.py").write_text("raise RuntimeError('this package is broken')\n")
    broken = install(bad, tmp_path / "site-broken", name="broken", target="broken_package:Nothing")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(good), str(broken)]))
    with WebhookReceiver() as receiver:
        content = {
            "workspace": {"webhookAllowedNetworks": ["127.0.0.0/8"]},
            "sources": [{"slug": "website", "write_key": WRITE_KEY}],
            "destinations": [
                {
                    "slug": "mine",
                    "type": "acme",
                    "source": "website",
                    "settings": {"url": receiver.url, "apiKey": "key-of-acme"},
                }
            ],
        }
        with ProductProcess(tmp_path / "product", content) as product:
            product.send("track", {"event": "Signed Up", "userId": "u1", "messageId": "m1"})
            delivered = product.wait_for_status("m1", "delivered")
            assert delivered["transaction"]["summary"] == "Signed Up for u1"
            product.send("track", {"event": "Signed Up", "anonymousId": "a1", "messageId": "m2"})
            assert product.wait_for_status("m2", "refused")["reason"] == "acme_missing_user"
            status, catalog = product.call("GET", "/api/catalog/destinations?pagination.count=100")
            assert status == 200
            assert {"acme", "perkville", "webhooks"} <= {
                item["slug"] for item in catalog["data"]["destinationsCatalog"]
            }
        (request,) = receiver.requests
        assert request.headers["authorization"] == "Bearer key-of-acme"
        assert request.headers["idempotency-key"] == "SEG:website:EVENT:m1"
        refused = command(
            "check",
            "--config",
            str(_broken_config(tmp_path)),
            environment={"PYTHONPATH": os.environ["PYTHONPATH"]},
        )
        assert refused.returncode != 0
        assert "this package is broken" in refused.stdout + refused.stderr


def _broken_config(folder: Path) -> Path:
    file = folder / "broken.toml"
    file.write_text(
        '[[sources]]\nslug = "website"\nwrite_key = "wk"\n'
        '[[destinations]]\nslug = "x"\ntype = "broken"\nsource = "website"\n'
    )
    return file

"""The image of deploy/Containerfile, built without a container engine, gives the tutorial's first award.

It runs as a container would: on a root file system that is read-only, as a user without rights, with a volume.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from punchcard.testing.ports import reserved_port
from punchcard.testing.processes import children_of
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.image

REPOSITORY = Path(__file__).parents[2]
TUTORIAL = REPOSITORY / "docs" / "tutorial" / "first-points.md"
BUILD_SECONDS = 1_500
# What a container engine does, with the programs of Debian: a read-only root, /data and /tmp of its own, no rights.
START = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount --bind "$2" "$1/data"
mount -t tmpfs tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -o remount,bind,ro "$1"
root=$1; shift 2
exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --inh-caps=-all \
    --bounding-set=-all "$@"
"""


def why_not() -> str:
    if os.geteuid() != 0:
        return "only root can make a chroot"
    missing = [name for name in ("debootstrap", "unshare", "chroot", "setpriv") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "this machine permits no namespaces"


class Image:
    """An unpacked image of an OCI layout."""

    def __init__(self, layout: Path, root: Path) -> None:
        (described,) = json.loads((layout / "index.json").read_text())["manifests"]
        manifest = json.loads(self._blob(layout, described))
        self.config: dict[str, Any] = json.loads(self._blob(layout, manifest["config"]))["config"]
        self.root = root
        (layer,) = manifest["layers"]
        with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/")) as archive:
            archive.extractall(root, filter="fully_trusted")  # its owners and modes are part of what is tested

    @staticmethod
    def _blob(layout: Path, described: dict[str, Any]) -> bytes:
        return Path(layout, "blobs", str(described["digest"]).replace(":", "/")).read_bytes()

    def command(self, data: Path, words: list[str], settings: dict[str, str]) -> list[str]:
        """Return the command that runs words in a container of the image."""
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        inside = ["env", "-i", *variables, *words]
        return ["unshare", "--mount", "--pid", "--fork", "sh", "-c", START, "sh", str(self.root), str(data), *inside]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("image")
    for part in (folder, *folder.parents):
        with suppress(PermissionError):
            part.chmod(part.stat().st_mode | 0o011)  # the image's user must reach it
    context = folder / "context"
    (context / "requirements").mkdir(parents=True)
    shutil.copy(REPOSITORY / "requirements" / "runtime.txt", context / "requirements")
    shutil.copytree(REPOSITORY / "deploy", context / "deploy")
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([*wheel, str(context / "dist"), str(REPOSITORY)], check=True, timeout=BUILD_SECONDS)
    program = REPOSITORY / "tests" / "image" / "build.py"
    subprocess.run([sys.executable, str(program), str(context), str(folder / "layout")], check=True)
    yield Image(folder / "layout", folder / "root")
    shutil.rmtree(folder)


@pytest.mark.timeout(BUILD_SECONDS + 4 * PATIENCE_SECONDS)
def test_the_image_gives_the_first_award_of_the_tutorial(image: Image, tmp_path: Path) -> None:
    data = image.root.parent / "data"
    data.mkdir(mode=0o700)
    os.chown(data, 10001, 10001)
    blocks = re.findall(r"^```(?:toml|sh)\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    config = next(block for block in blocks if block.startswith("[workspace]"))
    send = next(block for block in blocks if "Order Completed" in block and "punchcard send" in block)
    with reserved_port() as port, SandboxProcess(tmp_path / "sandbox") as sandbox:
        (data / "punchcard.toml").write_text(config.replace("http://127.0.0.1:9100", sandbox.url))
        settings = {"PUNCHCARD_PORT": str(port), "PUNCHCARD_HOST": "127.0.0.1"}
        words = [*image.config["Entrypoint"], *image.config["Cmd"], "--config", "/data/punchcard.toml"]
        with (tmp_path / "container.log").open("wb") as log:
            container = subprocess.Popen(
                image.command(data, words, settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:

            def is_ready() -> bool:
                assert container.poll() is None, (tmp_path / "container.log").read_text()
                with suppress(OSError):
                    return bool(urlopen(f"http://127.0.0.1:{port}/health/ready").status == 200)
                return False

            wait_until(is_ready)

            def inside(*arguments: str) -> "subprocess.CompletedProcess[str]":
                command = image.command(data, list(arguments), settings)
                return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)

            sent = inside("sh", "-c", send.replace("punchcard send", f"punchcard send --url http://127.0.0.1:{port}"))
            assert sent.returncode == 0, sent.stderr
            wait_until(lambda: len(sandbox.transactions()) == 1)
            health = [word.replace(":8080", f":{port}") for word in image.config["Healthcheck"]["Test"][1:]]
            assert inside(*health).returncode == 0
            assert inside("id", "-u").stdout.strip() == "10001" == _id_of(image)
            assert "Read-only file system" in inside("touch", "/opt/punchcard/x").stderr
            assert image.config["Volumes"] == {"/data": {}}
            (unit,) = {path.stat().st_uid for path in data.glob("punchcard.db")}
            assert unit == 10001
        finally:
            if container.poll() is None:
                os.kill(_first_process(container), getattr(signal, image.config["StopSignal"]))
            status = container.wait(PATIENCE_SECONDS)
        assert status == 0


def _id_of(image: Image) -> str:
    """Return the id of the image's user."""
    users = (image.root / "etc" / "passwd").read_text()
    return next(line.split(":")[2] for line in users.splitlines() if line.startswith(image.config["User"] + ":"))


def _first_process(container: "subprocess.Popen[bytes]") -> int:
    """Return the id of the first process in the container, by which an engine stops it."""
    (child,) = children_of(container.pid)
    return child

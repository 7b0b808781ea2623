"""An environment as a user gets it: the wheel and its pinned requirements, without the repository.

The requirements are linked from the environment of the tests, so that nothing is fetched: a package that
`requirements/runtime.txt` does not name cannot be imported.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\]+))?", re.M)


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment with the wheel.

    Attributes:
        command: Its command `punchcard`.
        wheel: The wheel that is installed in it.
    """

    command: Path
    wheel: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its processes: nothing leads to the repository or its environment."""
        inherited = ("HOME", "LANG", "PATH", "TMPDIR")
        return {name: os.environ[name] for name in inherited if name in os.environ} | {"PYTHONUNBUFFERED": "1"}


def build_wheel(folder: Path) -> Path:
    """Build the wheel from the working tree."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(folder: Path) -> CleanEnvironment:
    """Make an environment with the wheel and exactly the pinned requirements."""
    wheel = build_wheel(folder / "dist")
    venv.create(folder / "venv", symlinks=True, with_pip=False)
    python = folder / "venv" / "bin" / "python"
    packages = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    for name in pinned_names():
        _link(importlib.metadata.distribution(name), packages)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return CleanEnvironment(_write_command(python, packages), wheel)


def pinned_names() -> list[str]:
    """Return the distributions of `requirements/runtime.txt` that this machine needs, at the pinned versions."""
    names = []
    for name, version, marker in _REQUIREMENT.findall((ROOT / "requirements" / "runtime.txt").read_text()):
        from packaging.markers import Marker

        if not marker or Marker(marker.strip()).evaluate():
            assert importlib.metadata.version(name) == version, name
            names.append(name)
    return names


def _write_command(python: Path, packages: Path) -> Path:
    """Write the command that the wheel declares, as pip does."""
    (entry,) = importlib.metadata.distributions(name="punchcard", path=[str(packages)])
    (script,) = entry.entry_points.select(group="console_scripts")
    module, _, function = script.value.partition(":")
    command = python.with_name(script.name)
    command.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    command.chmod(0o755)
    return command


def _link(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        source = Path(str(distribution.locate_file(top)))
        target = packages / top
        if not target.exists() and source.exists():
            target.symlink_to(source, target_is_directory=source.is_dir())

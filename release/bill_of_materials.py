"""Write the software bill of materials of a wheel, as CycloneDX 1.6 JSON.

The Python components are those of an environment with the wheel and the pinned requirements installed and nothing else,
so that the wheel is also known to install and start. The libraries that the App's pages load come from
`assets/package-lock.json`.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from release.commands import run

_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(problem and f"not a valid CycloneDX document: {problem}")
"""


def write(tree: Path, wheel: Path, output: Path) -> None:
    """Write the bill of materials of `wheel`, which was built from `tree`.

    Raises:
        ReleaseError: the wheel does not install or start, or the document is not valid.
    """
    requirements = tree / "requirements"
    with tempfile.TemporaryDirectory(prefix="punchcard-release-") as folder:
        product = _make_environment(Path(folder) / "product", requirements / "runtime.txt")
        _pip(product, "--no-deps", str(wheel))
        run([str(product.with_name("punchcard")), "--version"], folder=Path(folder))
        tools = _make_environment(Path(folder) / "tools", requirements / "release.txt")
        project = ["--pyproject", str(tree / "pyproject.toml"), "--mc-type", "application"]
        form = ["--sv", "1.6", "--of", "JSON", "--output-reproducible", "-o", str(output)]
        run([str(tools), "-m", "cyclonedx_py", "environment", *project, *form, str(product)], folder=tree)
        document = json.loads(output.read_text())
        version = wheel.name.split("-")[1]
        # cyclonedx-py reads the version from pyproject.toml, where hatchling computes it.
        document["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/punchcard@{version}"}
        document["components"] += read_page_libraries(json.loads((tree / "assets" / "package-lock.json").read_text()))
        output.write_text(json.dumps(document, indent=2) + "\n")
        run([str(tools), "-c", _VALIDATE, str(output)], folder=tree)


def read_page_libraries(lock: dict[str, Any]) -> list[dict[str, Any]]:
    """Return npm's lock file as CycloneDX components, in the order of their names."""
    components = []
    for path, package in sorted(lock["packages"].items()):
        if not path:
            continue  # the folder `assets` itself
        name = path.rpartition("node_modules/")[2]
        reference = f"pkg:npm/{quote(name, safe='/')}@{package['version']}"
        algorithm, _, digest = package["integrity"].partition("-")
        component = {
            "type": "library",
            "bom-ref": f"{reference}#{path}",
            "name": name,
            "version": package["version"],
            "purl": reference,
            "hashes": [{"alg": algorithm.upper().replace("SHA", "SHA-"), "content": base64.b64decode(digest).hex()}],
        }
        if license_name := package.get("license"):
            component["licenses"] = [{"license": {"name": license_name}}]
        components.append(component)
    return components


def _make_environment(folder: Path, requirements: Path) -> Path:
    """Return the Python of a new environment that holds the pinned requirements."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder=folder.parent)
    python = folder / "bin" / "python"
    _pip(python, "--require-hashes", "-r", str(requirements))
    return python


def _pip(python: Path, *arguments: str) -> None:
    run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *arguments], folder=python.parent)

"""Writes the package of a new destination: a skeleton with tests that pass."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from punchcard.destinations.catalog import CATALOG
from punchcard.errors import ConfigurationError

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME_CHARACTERS_MAX: Final = 40
# Path of each template's file in the folder of the package.
_FILES: Final[Mapping[str, str]] = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "__init__.py": "src/%(package)s/__init__.py",
    "definition.py": "src/%(package)s/definition.py",
    "settings.py": "src/%(package)s/settings.py",
    "mapping.py": "src/%(package)s/mapping.py",
    "client.py": "src/%(package)s/client.py",
    "destination.py": "src/%(package)s/destination.py",
    "test_conformance.py": "tests/test_conformance.py",
}


def write_skeleton(name: str, folder: Path) -> list[Path]:
    """Write the package of a destination; return its files.

    Args:
        name: Slug of the destination, such as `acme-rewards`.
        folder: Parent of the new folder `punchcard-<name>`.

    Raises:
        ConfigurationError: The name is not a valid slug or is in use, or the folder exists.
    """
    if not _NAME.fullmatch(name) or len(name) > _NAME_CHARACTERS_MAX:
        raise ConfigurationError(
            f'"{name}" is not a valid slug. Use at most {_NAME_CHARACTERS_MAX} lower-case letters, '
            "digits and single hyphens, such as acme-rewards."
        )
    if name in set(CATALOG):
        raise ConfigurationError(f'A destination "{name}" exists already. Choose another name.')
    target = folder / f"punchcard-{name}"
    if target.exists():
        raise ConfigurationError(f"{target} exists already. Nothing was written.")
    words = name.split("-")
    values = {
        "slug": name,
        "package": f"punchcard_{'_'.join(words)}",
        "class": "".join(word.capitalize() for word in words),
        "title": " ".join(word.capitalize() for word in words),
        # Reason codes must not contain digits.
        "code": "_".join(filter(None, (re.sub(r"[0-9]", "", word) for word in words))),
        "kind": f"{'_'.join(words)}_event"[:32],
    }
    templates = files("punchcard.cli") / "destination_skeleton"
    written = []
    for template, target_path in _FILES.items():
        file = target / (target_path % values)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((templates / f"{template}.template").read_text(encoding="utf-8") % values, encoding="utf-8")
        written.append(file)
    return written

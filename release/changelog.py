"""Move the changelog fragments into CHANGELOG.md under the heading of a release.

Towncrier writes the section. What CHANGELOG.md already holds under `## <version> (unreleased)`, written before there
were fragments, is merged into it.
"""

import re
import sys
from pathlib import Path

from release.commands import run

KINDS = ("Added", "Changed", "Fixed", "Removed")

_SECTION = re.compile(r"^(?=## )", re.MULTILINE)
_KIND = re.compile(r"^\*\*([^*\n]+)\*\*$", re.MULTILINE)


def write_release(tree: Path, *, version: str, date: str) -> None:
    """Write the section of `version` from the tree's fragments, and delete the fragments.

    Raises:
        ReleaseError: towncrier refuses a fragment.
    """
    towncrier = [sys.executable, "-m", "towncrier", "build", "--yes", "--version", version, "--date", date]
    run(towncrier, folder=tree)
    changelog = tree / "CHANGELOG.md"
    changelog.write_text(merge_unreleased(changelog.read_text(), version=version))


def merge_unreleased(changelog: str, *, version: str) -> str:
    """Return the changelog with the section `<version> (unreleased)` merged into the newest one, kind by kind."""
    head, newest, *others = _SECTION.split(changelog)
    if others and others[0].startswith(f"## {version} (unreleased)\n"):
        heading, entries = _read_section(newest)
        for kind, text in _read_section(others.pop(0))[1].items():
            entries[kind] = "\n".join(part for part in (text, entries.get(kind)) if part)
        order = {kind: position for position, kind in enumerate(KINDS)}
        kinds = sorted(entries, key=lambda kind: order.get(kind, len(order)))
        newest = heading + "".join(f"\n\n**{kind}**\n\n{entries[kind]}" for kind in kinds)
    sections = [part.strip() for part in (head, newest, *others)]
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(sections)) + "\n"


def _read_section(section: str) -> tuple[str, dict[str, str]]:
    """Return a section's heading, and its text by kind."""
    heading, *parts = _KIND.split(section)
    return heading.strip(), {kind: text.strip() for kind, text in zip(parts[::2], parts[1::2], strict=True)}

"""Check that the changelog fragments in `changelog.d/` are well-formed.

    python -m release.fragments

`changelog.d/README.md` states the form. Prints a line for each problem and returns 1 if there is one.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "changelog.d"
KINDS = ("added", "changed", "fixed", "removed")
LINE_LENGTH_MAX = 120
# Files of the folder that are not fragments.
OTHER_FILES = frozenset({"README.md", "template.md.jinja"})

_NAME = re.compile(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(KINDS)})\.md")


def main() -> int:
    """Check every file of the folder."""
    problems = [problem for path in find_fragments(FOLDER) for problem in find_problems(path)]
    for problem in problems:
        sys.stderr.write(f"changelog: {problem}\n")
    return 1 if problems else 0


def find_fragments(folder: Path) -> list[Path]:
    """Return everything in the folder that is, or may be meant to be, a fragment."""
    return sorted(path for path in folder.iterdir() if path.name not in OTHER_FILES)


def find_problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with a fragment's name and text."""
    if not _NAME.fullmatch(path.name):
        yield f"{path.name}: the name is not <topic>.<{'|'.join(KINDS)}>.md, with a topic of small letters and hyphens"
    text = path.read_text()
    if not text.strip():
        yield f"{path.name}: the file is empty"
        return
    if not text.strip().endswith((".", ")")):
        yield f"{path.name}: the text does not end with a full stop"
    if re.search(r"\n\s*\n", text.strip()):
        yield f"{path.name}: there is more than one paragraph; write one file per change"
    if re.search(r"^(#|[-*] |\d+\. )", text, re.MULTILINE):
        yield f"{path.name}: a heading or a list; the fragment becomes one list item itself"
    if any(len(line) > LINE_LENGTH_MAX for line in text.splitlines()):
        yield f"{path.name}: a line has more than {LINE_LENGTH_MAX} characters"


if __name__ == "__main__":
    sys.exit(main())

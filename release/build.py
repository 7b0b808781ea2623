"""Build a release: version, changelog, wheel, source archive, software bill of materials, hashes and tag.

    python -m release.build [--version X.Y.Z]

Everything is made in a temporary checkout of the current commit, with nothing in it but what is committed. Only when
all of it has succeeded does the branch move to the release commit, which is tagged. The files are in `dist/<version>/`.
Nothing is pushed or uploaded. `docs/how-to/release.md` describes the procedure.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

from release import bill_of_materials, changelog, fragments
from release.commands import ReleaseError, run

ROOT = Path(__file__).parents[1]
VERSION_FILE = "src/punchcard/__init__.py"
_VERSION_LINE = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def main() -> int:
    """Build the release of the version that is given, by default the version that the code states."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=read_version(ROOT), help="the version to release (default: %(default)s)")
    version = parser.parse_args().version
    try:
        output = release(ROOT, version)
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    sys.stdout.write(f"release: tagged v{version}; its files are in {output.relative_to(ROOT)}:\n")
    sys.stdout.writelines(f"  {path.name}\n" for path in sorted(output.iterdir()))
    sys.stdout.write("release: nothing was pushed or uploaded; docs/how-to/release.md says how to publish\n")
    return 0


def release(root: Path, version: str) -> Path:
    """Build the release and return the folder of its files.

    Raises:
        ReleaseError: see `refuse_release`; or a step failed, and its output is the message.
    """
    refuse_release(root, version)
    output = root / "dist" / version
    with _checkout(root) as tree:
        prepare(tree, version)
        commit = _git(tree, "rev-parse", "HEAD")
        files = tree / "dist" / version
        wheel = _build_packages(tree, files)
        bill_of_materials.write(tree, wheel, files / f"punchcard-{version}.cdx.json")
        write_hashes(files)
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(files, output)
    _git(root, "merge", "--quiet", "--ff-only", commit)
    _git(root, "tag", "--annotate", f"v{version}", "--message", f"Punchcard {version}", commit)
    return output


def read_version(root: Path) -> str:
    """Return the version that the code states."""
    match = _VERSION_LINE.search((root / VERSION_FILE).read_text())
    assert match is not None
    return match[1]


def refuse_release(root: Path, version: str) -> None:
    """Raise if the repository is not in the state that a release is built from.

    Raises:
        ReleaseError: the version is not one of a release, or not later than all tags; the tree has changes or unknown
            files; no branch is checked out; there is no fragment, or one is malformed.
    """
    try:
        new = Version(version)
    except InvalidVersion:
        raise ReleaseError(f"{version!r} is not a version, such as 0.2.0 or 0.2.0rc1") from None
    if str(new) != version or new.local or new.is_devrelease:
        raise ReleaseError(f"{version!r} is not the version of a release, such as 0.2.0 or 0.2.0rc1")
    if changes := _git(root, "status", "--porcelain"):
        raise ReleaseError(f"the tree has uncommitted changes or unknown files:\n{changes}")
    if not _git(root, "branch", "--show-current"):
        raise ReleaseError("no branch is checked out; the release commit needs one")
    tags = [tag.removeprefix("v") for tag in _git(root, "tag", "--list", "v*").split()]
    released = [Version(tag) for tag in tags if re.fullmatch(r"\d[\w.]*", tag)]
    if released and new <= max(released):
        raise ReleaseError(f"{version} does not come after {max(released)}, which is tagged")
    folder = root / "changelog.d"
    if not fragments.find_fragments(folder):
        raise ReleaseError("changelog.d/ has no fragment, so there is nothing to release")
    if problems := [problem for path in fragments.find_fragments(folder) for problem in fragments.find_problems(path)]:
        raise ReleaseError("\n".join(problems))


def prepare(tree: Path, version: str) -> None:
    """Write version and changelog into the tree, and commit them."""
    file = tree / VERSION_FILE
    file.write_text(_VERSION_LINE.sub(f'__version__ = "{version}"', file.read_text()))
    changelog.write_release(tree, version=version, date=datetime.now(UTC).date().isoformat())
    _git(tree, "add", "--all")
    _git(tree, "commit", "--quiet", "--message", f"Release {version}")


def write_hashes(folder: Path) -> None:
    """Write `SHA256SUMS` over the folder's files, in the form that `sha256sum --check` reads."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _build_packages(tree: Path, files: Path) -> Path:
    """Build the source archive, and the wheel from nothing but that archive; return the wheel."""
    # The same commit gives the same bytes: hatchling takes its times from here.
    environment = os.environ | {"SOURCE_DATE_EPOCH": _git(tree, "log", "-1", "--format=%ct")}
    files.mkdir(parents=True)
    run([sys.executable, "assets/build.py"], folder=tree, environment=environment)
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(files)],
        folder=tree,
        environment=environment,
    )
    (archive,) = files.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        source = Path(folder) / archive.name.removesuffix(".tar.gz")
        run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(files)],
            folder=source,
            environment=environment,
        )
    (wheel,) = files.glob("*.whl")
    return wheel


@contextmanager
def _checkout(root: Path) -> Iterator[Path]:
    """Yield a temporary checkout of the current commit; it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="punchcard-release-") as folder:
        tree = Path(folder) / "punchcard"
        _git(root, "worktree", "add", "--quiet", "--detach", str(tree))
        try:
            yield tree
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))


def _git(folder: Path, *arguments: str) -> str:
    return run(["git", *arguments], folder=folder).strip()


if __name__ == "__main__":
    sys.exit(main())

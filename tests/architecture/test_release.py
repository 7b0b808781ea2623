"""Changelog fragments, releases and the documentation site: what is refused, and what a release leaves behind."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from docs.site.build import find_broken_links
from punchcard import __version__
from punchcard.app.documentation import read_navigation
from release import build
from release.bill_of_materials import read_page_libraries
from release.changelog import merge_unreleased
from release.commands import ReleaseError
from release.fragments import FOLDER, find_fragments, find_problems

ROOT = Path(__file__).parents[2]


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Releaser", "-c", "user.email=releaser@example.com", *arguments]
    return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with version, changelog and one fragment: what a release needs before it builds anything."""
    for variable in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{variable}_NAME", "Releaser")
        monkeypatch.setenv(f"{variable}_EMAIL", "releaser@example.com")
    root = tmp_path / "repository"
    for name in ("pyproject.toml", "CHANGELOG.md", "changelog.d/README.md", "changelog.d/template.md.jinja"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    (root / build.VERSION_FILE).parent.mkdir(parents=True)
    (root / build.VERSION_FILE).write_text('"""Punchcard."""\n\n__version__ = "0.1.0"\n')
    (root / "CHANGELOG.md").write_text(
        "# Changelog\n\n<!-- towncrier release notes start -->\n\n## 0.1.0 (unreleased)\n\n**Added**\n\n- Old.\n"
    )
    (root / "changelog.d" / "order-minimum.added.md").write_text("Orders may need\na minimum.\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return root


def test_the_changelog_begins_with_the_version_of_the_code() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert re.fullmatch(re.escape(__version__) + r" \((unreleased|\d{4}-\d\d-\d\d)\)", headings[0])


@pytest.mark.parametrize("path", find_fragments(FOLDER), ids=lambda path: path.name)
def test_every_changelog_fragment_is_well_formed(path: Path) -> None:
    assert list(find_problems(path)) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("orders.added.md", "Orders may need a minimum.\n", None),
        ("order-minimum-2.fixed.md", "Two lines\nof one paragraph.\n", None),
        ("orders.md", "Orders may need a minimum.\n", "the name is not"),
        ("orders.new.md", "Orders may need a minimum.\n", "the name is not"),
        ("Orders Minimum.added.md", "Orders may need a minimum.\n", "the name is not"),
        ("orders.added.txt", "Orders may need a minimum.\n", "the name is not"),
        ("orders.added.md", " \n", "the file is empty"),
        ("orders.added.md", "A minimum of orders\n", "does not end with a full stop"),
        ("orders.added.md", "One thing.\n\nAnother thing.\n", "more than one paragraph"),
        ("orders.added.md", "- Orders may need a minimum.\n", "a heading or a list"),
        ("orders.added.md", "# Added\nOrders may need a minimum.\n", "a heading or a list"),
        ("orders.added.md", "Orders " * 20 + "may need a minimum.\n", "more than 120 characters"),
    ],
)
def test_a_malformed_changelog_fragment_is_named(tmp_path: Path, name: str, text: str, problem: str | None) -> None:
    path = tmp_path / name
    path.write_text(text)
    problems = list(find_problems(path))
    assert [problem in message for message in problems] == [True] if problem else problems == []


def test_entries_written_before_there_were_fragments_join_the_release() -> None:
    changelog = (
        "# Changelog\n\n## 0.1.0 (2026-12-01)\n\n\n**Added**\n\n- New.\n\n**Removed**\n\n- Gone.\n"
        "## 0.1.0 (unreleased)\n\n**Fixed**\n\n- Mended.\n\n**Added**\n\n- Old.\n\n**From the start**\n\n- All.\n"
    )
    assert merge_unreleased(changelog, version="0.1.0") == (
        "# Changelog\n\n## 0.1.0 (2026-12-01)\n\n**Added**\n\n- Old.\n- New.\n\n**Fixed**\n\n- Mended.\n\n"
        "**Removed**\n\n- Gone.\n\n**From the start**\n\n- All.\n"
    )


def test_older_releases_in_the_changelog_stay_as_they_are() -> None:
    changelog = "# Changelog\n\n## 0.2.0 (2027-01-01)\n\n**Added**\n\n- New.\n## 0.1.0 (2026-12-01)\n\n- Old.\n"
    assert merge_unreleased(changelog, version="0.2.0") == changelog.replace("New.\n##", "New.\n\n##")


def change(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text("changed")


def add_a_file(repository: Path) -> None:
    (repository / "unknown.txt").write_text("")


def tag_a_later_version(repository: Path) -> None:
    git(repository, "tag", "v0.10.0")


def tag_the_version(repository: Path) -> None:
    git(repository, "tag", "v0.2.0")


def leave_the_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")


def remove_the_fragment(repository: Path) -> None:
    git(repository, "rm", "--quiet", "changelog.d/order-minimum.added.md")
    git(repository, "commit", "--quiet", "--message", "Remove")


def break_the_fragment(repository: Path) -> None:
    git(repository, "mv", "changelog.d/order-minimum.added.md", "changelog.d/order-minimum.new.md")
    git(repository, "commit", "--quiet", "--message", "Rename")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (change, "uncommitted changes"),
        (add_a_file, "uncommitted changes or unknown files"),
        (tag_the_version, "0.2.0 does not come after 0.2.0"),
        (tag_a_later_version, "0.2.0 does not come after 0.10.0"),
        (leave_the_branch, "no branch is checked out"),
        (remove_the_fragment, "no fragment"),
        (break_the_fragment, "the name is not"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_release_is_refused(repository: Path, prepare: Callable[[Path], None], message: str) -> None:
    build.refuse_release(repository, "0.2.0")
    prepare(repository)
    with pytest.raises(ReleaseError, match=message):
        build.release(repository, "0.2.0")


@pytest.mark.parametrize("version", ["", "next", "v0.2.0", "0.2.0.dev1", "0.2.0+local", "0.02.0", "0.2.0-rc1"])
def test_a_text_that_is_no_version_of_a_release_is_refused(repository: Path, version: str) -> None:
    with pytest.raises(ReleaseError, match="is not"):
        build.refuse_release(repository, version)


def test_a_release_commit_holds_version_and_changelog_and_no_fragment(repository: Path) -> None:
    build.prepare(repository, "0.2.0")
    assert build.read_version(repository) == "0.2.0"
    assert re.search(
        r"\n## 0\.2\.0 \(\d{4}-\d\d-\d\d\)\n\n\*\*Added\*\*\n\n- Orders may need\n  a minimum\.\n\n## 0\.1\.0",
        (repository / "CHANGELOG.md").read_text(),
    )
    assert find_fragments(repository / "changelog.d") == []
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "-1", "--format=%s") == "Release 0.2.0"


def test_the_first_release_takes_the_heading_that_says_unreleased(repository: Path) -> None:
    build.prepare(repository, "0.1.0")
    changelog = (repository / "CHANGELOG.md").read_text()
    assert "unreleased" not in changelog
    assert "- Old.\n- Orders may need\n" in changelog


def test_a_release_that_fails_leaves_branch_tags_and_checkouts_as_they_were(repository: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    with pytest.raises(ReleaseError, match=r"assets/build\.py"):  # which this repository does not have
        build.release(repository, "0.2.0")
    assert git(repository, "rev-parse", "main") == before
    assert git(repository, "tag") == ""
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert git(repository, "status", "--porcelain") == ""


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"wheel")
    (tmp_path / "a.tar.gz").write_bytes(b"archive")
    build.write_hashes(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == (
        f"{hashlib.sha256(b'archive').hexdigest()}  a.tar.gz\n{hashlib.sha256(b'wheel').hexdigest()}  b.whl\n"
    )


def test_the_bill_of_materials_lists_what_pages_load() -> None:
    lock = json.loads((ROOT / "assets" / "package-lock.json").read_text())
    components = {component["name"]: component for component in read_page_libraries(lock)}
    assert {"@tabler/core", "htmx.org", "uplot", "@segment/analytics-next"} <= set(components)
    tabler = components["@tabler/core"]
    assert tabler["purl"] == f"pkg:npm/%40tabler/core@{tabler['version']}"
    assert tabler["hashes"][0]["alg"] == "SHA-512"
    assert re.fullmatch("[0-9a-f]{128}", tabler["hashes"][0]["content"])


def test_the_site_lists_the_pages_of_the_index() -> None:
    navigation = read_navigation((ROOT / "docs" / "README.md").read_text())
    assert {"Operate Punchcard": "docs/how-to/operate.md"} in navigation["How to"]
    listed = [page for pages in navigation.values() for entry in pages for page in entry.values()]
    assert {"ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md"} <= set(listed)
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - set(listed) == {
        "docs/README.md"
    }


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ('<a href="other/">', None),
        ('<a href="other/#heading">', None),
        ('<a href="#here">', None),
        ('<img src="picture.png">', None),
        ('<a href="https://example.com/nowhere">', None),
        ('<a href="nowhere/">', "no such page or file"),
        ('<a href="other/#nowhere">', "no such heading"),
        ('<a href="#nowhere">', "no such heading"),
        ('<img src="nowhere.png">', "no such page or file"),
        ('<a href="../outside.txt">', "no such page or file"),
    ],
)
def test_a_broken_link_of_the_site_is_named(tmp_path: Path, link: str, problem: str | None) -> None:
    site = tmp_path / "site"
    (site / "other").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("")
    (site / "picture.png").write_text("")
    (site / "other" / "index.html").write_text('<h2 id="heading">')
    (site / "index.html").write_text(f'<h1 id="here">{link}')
    problems = list(find_broken_links(site))
    assert [problem in message for message in problems] == [True] if problem else problems == []


def test_every_action_of_the_workflows_is_pinned_to_a_commit() -> None:
    paths = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    jobs = [job for path in paths for job in yaml.safe_load(path.read_text())["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"]]
    assert any(step.get("run") == "bash .ci/run" for step in steps)
    actions = [step["uses"] for step in steps if "uses" in step]
    assert [action for action in actions if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []

"""The files that pages load, also while another version of Punchcard is being installed."""

from pathlib import Path

import pytest

from punchcard.app.assets import Assets


def build(folder: Path, digest: str) -> None:
    """Write the files as `assets/build.py` does, which removes the previous ones."""
    for file in folder.iterdir():
        file.unlink()
    (folder / f"app.{digest}.js").write_text(digest)
    (folder / f"app.{digest}.js.gz").write_text(f"{digest} packed")
    (folder / "manifest.json").write_text(f'{{"files": {{"app.js": "app.{digest}.js"}}}}')


def test_a_file_may_be_cached_under_the_hash_of_its_content(tmp_path: Path) -> None:
    build(tmp_path, "1111")
    assets = Assets(tmp_path)
    assert assets.url("app.js") == "/assets/app.1111.js"
    asset = assets.read("app.1111.js", gzipped=True)
    assert asset is not None
    assert (asset.content, asset.content_type, asset.is_requested) == (
        b"1111 packed",
        "text/javascript; charset=utf-8",
        True,
    )


def test_a_page_of_another_version_gets_the_files_that_are_here(tmp_path: Path) -> None:
    build(tmp_path, "1111")
    assets = Assets(tmp_path)
    for digest in ("1111", "2222"):  # the second time the files were replaced under a running process
        build(tmp_path, digest)
        asset = assets.read("app.0000.js", gzipped=False)
        assert asset is not None
        assert (asset.content.decode(), asset.is_requested) == (digest, False)


@pytest.mark.parametrize("file", ["other.1111.js", "app.1111.css", "app", "", "manifest.json", "../app.1111.js"])
def test_nothing_else_is_read(tmp_path: Path, file: str) -> None:
    build(tmp_path, "1111")
    assert Assets(tmp_path).read(file, gzipped=False) is None

"""A file that a command writes is whole or as it was before."""

import os
import stat
from pathlib import Path

import pytest

from punchcard.cli.written_files import whole_file


def _begin_and_interrupt(target: Path) -> None:
    with whole_file(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_file_appears_once_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        _begin_and_interrupt(target)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert target.read_text() == "before"
    with whole_file(target) as file:
        file.write(b"whole")
    assert target.read_text() == "whole"


def test_a_private_file_takes_the_place_of_one_that_anybody_can_read(tmp_path: Path) -> None:
    target = tmp_path / "person.json"
    for path in (target, tmp_path / "person.json.part"):
        path.write_text("before")
        path.chmod(0o644)
    with whole_file(target, mode=0o600) as file:
        file.write(b"{}")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link, target = tmp_path / "newest.csv", tmp_path / "rows.csv"
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"rows")
    assert link.is_symlink()
    assert target.read_text() == "rows"


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with whole_file(pipe) as file:
            file.write(b"rows")
        assert os.read(reader, 100) == b"rows"
        assert stat.S_ISFIFO(pipe.stat().st_mode)
    finally:
        os.close(reader)

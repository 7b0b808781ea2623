"""Run the commands that a release is made with."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ReleaseError(Exception):
    """A release is refused or failed; the message says why, and the branch is where it was."""


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Return what the command prints.

    Raises:
        ReleaseError: the command failed; its output is in the message.
    """
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout

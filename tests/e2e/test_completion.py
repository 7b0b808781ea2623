"""Completion in a shell, with the script that the command installs."""

import subprocess
import sys
from pathlib import Path

PUNCHCARD = Path(sys.executable).with_name("punchcard")
_COMPLETE = """
PATH="$1:$PATH"
source <(punchcard --show-completion)
for line in "punchcard vers" "punchcard versions re" "punchcard events list --for"; do
  COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _punchcard_completion punchcard
  echo "${COMPREPLY[@]}"
done
"""


def test_bash_completes_commands_and_options() -> None:
    done = subprocess.run(
        ["bash", "-c", _COMPLETE, "bash", str(PUNCHCARD.parent)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["versions", "restore", "--format"], done

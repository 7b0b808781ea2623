"""The implementation of `doctor`."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from punchcard.cli.interruption import NOTHING_CHANGED, explained_interruption
from punchcard.cli.listing import print_json_lines
from punchcard.cli.output import printable
from punchcard.runtime.diagnosis import Diagnosis, Health
from punchcard.runtime.doctor import diagnose
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.settings import LogFormat

_STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.PROBLEM: "bold red"}


@explained_interruption(NOTHING_CHANGED)
def print_diagnoses(*, data: Path | None, config: Path | None, asks_partners: bool, as_json: bool) -> int:
    """Print what is found line by line; return 1 if there is a problem, else 0."""
    configure_logs(level="error", format=LogFormat.AUTO)
    console = Console(highlight=False, soft_wrap=True)
    counts = dict.fromkeys(Health, 0)
    for diagnosis in diagnose(os.environ, data=data, config=config, asks_partners=asks_partners):
        counts[diagnosis.health] += 1
        if as_json:
            print_json_lines([_body(diagnosis)])
        else:
            _print(diagnosis, console)
    if not as_json:
        problems, warnings = counts[Health.PROBLEM], counts[Health.WARNING]
        if problems or warnings:
            counted = f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}."
            print(counted, file=sys.stderr if problems else sys.stdout)
        else:
            console.print("Punchcard can run here.")
    return 1 if counts[Health.PROBLEM] else 0


def _print(diagnosis: Diagnosis, console: Console) -> None:
    line = Text(f"{diagnosis.health:<8}", style=_STYLES[diagnosis.health])
    console.print(line + Text(printable(f" {diagnosis.subject}: {diagnosis.message}"), style="default"))
    if diagnosis.remedy:
        console.print(Text(printable(f"          → {diagnosis.remedy}")))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _body(diagnosis: Diagnosis) -> dict[str, str]:
    return {
        "subject": diagnosis.subject,
        "status": diagnosis.health,
        "message": diagnosis.message,
        "remedy": diagnosis.remedy,
    }

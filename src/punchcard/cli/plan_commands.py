"""The commands under `punchcard plan`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.options import example

plan = typer.Typer(
    name="plan",
    short_help="Work with tracking plans.",
    epilog=example("punchcard plan codegen plan.json --language python --output tracking.py"),
    rich_markup_mode=None,
)


@plan.callback()
def _group() -> None:
    """Work with tracking plans."""


@plan.command(
    short_help="Generate typed calls from a tracking plan.",
    epilog=example(
        "punchcard plan codegen plan.json --language python --output tracking.py",
        "punchcard plan codegen plan.json --language typescript --output tracking.ts",
    ),
)
def codegen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tracking plan as JSON, in Segment's format.")],
    language: Annotated[str, typer.Option(metavar="python|typescript", help="Language of the generated calls.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write; otherwise the terminal.")] = None,
) -> None:
    """Generate a function with typed arguments for each event of a tracking plan, as Segment's Typewriter does.

    The functions call Segment's library for Python, or analytics.js and Segment's library for Node.js.
    """
    from punchcard.cli.code_generation import generate_file

    generate_file(file, language, output)

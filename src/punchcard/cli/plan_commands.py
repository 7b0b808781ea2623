"""The commands under `punchcard plan`: their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli.options import Data, Json, example, load_existing_settings

plan = typer.Typer(
    name="plan",
    short_help="Manage tracking plans: what events must look like.",
    epilog=example(
        "punchcard plan infer website --name Shop",
        "punchcard plan check shop --source website",
        "punchcard plan attach shop website",
    ),
    rich_markup_mode=None,
)

_Slug = Annotated[str, typer.Argument(metavar="PLAN", help="As `punchcard plan list` shows it.")]
_Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Slug of the source.")]
_Days = Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Events of so many days.")]
_Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the plan.")]


@plan.command(
    name="list",
    short_help="List tracking plans.",
    epilog=example("punchcard plan list", "punchcard plan list --json"),
)
def list_(json: Json = False, data: Data = None) -> None:
    """List tracking plans with the number of their rules, their sources, and violations of the last 7 days."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import print_plans

    print_plans(settings, as_json=json)


@plan.command(
    short_help="Show the rules of a tracking plan.",
    epilog=example("punchcard plan show shop", "punchcard plan show shop --json"),
)
def show(plan: _Slug, json: Json = False, data: Data = None) -> None:
    """Show the rules of a tracking plan as a table: event, property, type, required, allowed values, description."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import print_rules

    print_rules(settings, plan, as_json=json)


@plan.command(
    name="import",
    short_help="Read a tracking plan from a file.",
    epilog=example(
        "punchcard plan import plan.json --name Shop",
        "punchcard plan import plan.csv --to shop",
        "punchcard plan import order-completed.schema.json --to shop",
    ),
)
def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, help="JSON or CSV files.")
    ],
    name: _Name = None,
    to: Annotated[str | None, typer.Option(metavar="PLAN", help="Add the rules to this plan.")] = None,
    data: Data = None,
) -> None:
    """Read a tracking plan: Segment's export, rules of its Public API, JSON Schemas of events, or a table as CSV.

    Rules are added, or replace those with the same type, key and version. Other rules stay.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import import_files

    import_files(settings, files, name=name, to=to)


@plan.command(
    short_help="Print a tracking plan as JSON.",
    epilog=example("punchcard plan export shop > shop.json"),
)
def export(plan: _Slug, data: Data = None) -> None:
    """Print a tracking plan with its rules as one JSON document, in the form of Segment's Public API."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import export_plan

    export_plan(settings, plan)


@plan.command(
    short_help="Make a tracking plan of the events that a source sends.",
    epilog=example("punchcard plan infer website --name Shop", "punchcard plan infer website --dry-run"),
)
def infer(
    source: _Source,
    name: _Name = None,
    days: _Days = 7,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan as JSON and save nothing.")] = False,
    data: Data = None,
) -> None:
    """Create a tracking plan from the events of the last days. It is not attached to the source.

    A property is required if all sampled events have it, and at least 20 events were sampled.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import infer_plan

    infer_plan(settings, source, name=name, days=days, dry_run=dry_run)


@plan.command(
    short_help="Compare past events of a source with a tracking plan.",
    epilog=example(
        "punchcard plan check shop --source website",
        "punchcard plan check shop --source website --block --days 30",
    ),
)
def check(
    plan: _Slug,
    source: Annotated[str, typer.Option(metavar="SOURCE", help="Slug of the source.")],
    days: _Days = 7,
    block: Annotated[
        bool, typer.Option("--block", help="Show what would be blocked if unplanned and violating events were.")
    ] = False,
    json: Json = False,
    data: Data = None,
) -> int:
    """Compare the events of the last days with a tracking plan, with the awards at stake. Nothing is changed.

    The exit status is 1 if any event violates the plan, else 0.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import check_plan

    return check_plan(settings, plan, source, days=days, blocks=block, as_json=json)


@plan.command(
    short_help="Attach a tracking plan to a source.",
    epilog=example("punchcard plan attach shop website", "punchcard plan attach shop website --detach"),
)
def attach(
    plan: _Slug,
    source: _Source,
    detach: Annotated[bool, typer.Option("--detach", help="Detach it.")] = False,
    data: Data = None,
) -> None:
    """Attach a tracking plan to a source: its next events are compared with the plan. By default nothing is blocked."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.planning import attach_plan

    attach_plan(settings, plan, source, detach=detach)


@plan.command(
    short_help="Generate typed calls from a tracking plan.",
    epilog=example(
        "punchcard plan codegen shop.json --language python --output tracking.py",
        "punchcard plan codegen shop.json --language typescript --output tracking.ts",
    ),
)
def codegen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tracking plan as JSON in Segment's form, or as CSV.")],
    language: Annotated[str, typer.Option(metavar="python|typescript", help="Language of the generated calls.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write; otherwise the terminal.")] = None,
) -> None:
    """Generate a function with typed arguments for each event of a tracking plan, as Segment's Typewriter does.

    The functions call Segment's library for Python, or analytics.js and Segment's library for Node.js.
    """
    from punchcard.cli.code_generation import generate_file

    generate_file(file, language, output)

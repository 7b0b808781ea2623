"""`plan`: tracking plans on the command line."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from punchcard.cli.listing import print_json_lines, print_list
from punchcard.cli.output import printable
from punchcard.clock import SystemClock, to_iso
from punchcard.errors import ConfigurationError
from punchcard.lake.reader import LakeReader
from punchcard.operations.plan_inference import infer_rules
from punchcard.operations.plan_preview import PlanPreview, preview_plan
from punchcard.operations.plan_views import export_body, plan_body, preview_body, rule_body
from punchcard.operations.sentences import count_noun
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.store.tracking_plans.violations import count_violations
from punchcard.store.workspace import configuration
from punchcard.tracking_plans.model import Action, CallEnforcement, Enforcement, TrackingPlan, TrackingPlanRule
from punchcard.tracking_plans.plan_documents import PlanFormatError, read_file
from punchcard.tracking_plans.table import TableRow, to_rows
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace.apply import edit
from punchcard.workspace.editing import find_source
from punchcard.workspace.model import Workspace
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import SnapshotWatch
from punchcard.workspace.tracking_plans import (
    add_plan,
    change_plan,
    connect_source,
    disconnect_source,
    find_plan,
    new_plan_slug,
    set_rules,
    sort_rules,
)

_ACTOR: Final = "command line"
_BLOCK: Final = Enforcement(
    unplanned_events=Action.BLOCK.value,
    track=CallEnforcement(violations=Action.BLOCK.value, common=Action.BLOCK.value),
    identify=CallEnforcement(violations=Action.BLOCK.value, common=Action.BLOCK.value),
    group=CallEnforcement(violations=Action.BLOCK.value, common=Action.BLOCK.value),
)
_VIOLATIONS_DAYS: Final = 7


def print_plans(settings: Settings, *, as_json: bool) -> None:
    """Print the tracking plans.

    Raises:
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (store, workspace):
        since = SystemClock().now() - timedelta(days=_VIOLATIONS_DAYS)
        with store.reading() as work:
            counts = count_violations(work, since=since)
            changed = {
                plan.slug: configuration.changed_at(work, "tracking_plan", plan.slug)
                for plan in workspace.tracking_plans
            }

    def body(plan: TrackingPlan) -> object:
        instant = changed[plan.slug]
        return plan_body(plan, updated_at="" if instant is None else to_iso(instant))

    print_list(
        workspace.tracking_plans,
        columns={
            "PLAN": lambda plan: plan.slug,
            "NAME": lambda plan: plan.name,
            "RULES": lambda plan: f"{len(plan.rules):,}",
            "SOURCES": lambda plan: ", ".join(plan.sources) or "none",
            "VIOLATIONS": lambda plan: f"{sum(counts.get(source, 0) for source in plan.sources):,}",
        },
        body=body,
        as_json=as_json,
        empty="There are no tracking plans. Make one with `punchcard plan infer SOURCE`.",
    )


def print_rules(settings: Settings, slug: str, *, as_json: bool) -> None:
    """Print the rules of a plan: a table with a row for each property, or JSON with a line for each rule.

    Raises:
        ConfigurationError: There is no such plan.
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (_, workspace):
        plan = find_plan(workspace, slug)
    if as_json:
        print_json_lines(map(rule_body, plan.rules))
        return
    print_list(
        [row for rule in plan.rules for row in to_rows(rule)],
        columns={
            "EVENT": lambda row: "" if row.path else _event_text(row),
            "PROPERTY": lambda row: row.path,
            "TYPE": lambda row: ", ".join(row.types),
            "REQUIRED": lambda row: "yes" if row.required else "",
            "ALLOWED": lambda row: ", ".join(row.allowed) or row.pattern,
            "DESCRIPTION": lambda row: row.description,
        },
        body=lambda row: row,
        as_json=False,
        empty="The plan has no rules. Add some with `punchcard plan import`.",
    )


def import_files(settings: Settings, files: Sequence[Path], *, name: str | None, to: str | None) -> None:
    """Add the rules in files to a plan, or make a plan of them.

    Raises:
        ConfigurationError: A file cannot be read, a rule is not valid, or there is no such plan.
        StorageError: The store cannot be written.
    """
    rules = [rule for file in files for rule in _read(file)]
    if not rules:
        raise ConfigurationError("The files have no rules.")
    with _opened(settings) as (store, workspace):
        if to is not None:
            slug = find_plan(workspace, to).slug
            change = change_plan(slug, lambda plan: set_rules(plan, rules))
        else:
            plan = _new_plan(workspace, name or files[0].stem, rules)
            slug, change = plan.slug, add_plan(plan)
        edit(store, change, clock=SystemClock(), keyring=open_keyring(settings), actor=_ACTOR)
    print(f"{len(rules):,} {'rule' if len(rules) == 1 else 'rules'} saved in the tracking plan {slug}.")


def export_plan(settings: Settings, slug: str) -> None:
    """Print a plan as one JSON document.

    Raises:
        ConfigurationError: There is no such plan.
        StorageError: The store is unavailable.
    """
    with _opened(settings) as (_, workspace):
        plan = find_plan(workspace, slug)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(export_body(plan)), indent=2) + b"\n")


def infer_plan(settings: Settings, source: str, *, name: str | None, days: int, dry_run: bool) -> None:
    """Make a plan of what a source has sent in the last days.

    Raises:
        ConfigurationError: There is no such source, or it has sent nothing.
        StorageError: The store cannot be written.
    """
    with _opened(settings) as (store, workspace):
        find_source(workspace, source)
        with store.reading() as work:
            rules = infer_rules(work, source, since=SystemClock().now() - timedelta(days=days))
        if not rules:
            raise ConfigurationError(f"The source {source} has sent no events in the last {count_noun(days, 'day')}.")
        plan = _new_plan(workspace, name or f"Plan of {source}", rules)
        if dry_run:
            sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(export_body(plan)), indent=2) + b"\n")
            return
        edit(store, add_plan(plan), clock=SystemClock(), keyring=open_keyring(settings), actor=_ACTOR)
    print(f"Tracking plan {plan.slug} made with {len(rules):,} {'rule' if len(rules) == 1 else 'rules'}.")
    print(f"Compare it: punchcard plan check {plan.slug} --source {source}")


def check_plan(settings: Settings, slug: str, source: str, *, days: int, blocks: bool, as_json: bool) -> int:
    """Compare past events with a plan and print the violations; return 1 if there are any, else 0.

    Raises:
        ConfigurationError: There is no such plan or source.
        StorageError: The store or the lake is unavailable.
    """
    clock = SystemClock()
    with _opened(settings) as (store, workspace):
        plan = find_plan(workspace, slug)
        configured = find_source(workspace, source)
        snapshot = SnapshotWatch(store, open_keyring(settings), clock=clock).current()
        preview = preview_plan(
            snapshot,
            source,
            CompiledPlan(plan),
            _BLOCK if blocks else configured.enforcement,
            store=store,
            lake=LakeReader(settings.lake_location()),
            begin=clock.now() - timedelta(days=days),
        )
    body = preview_body(preview)
    if as_json:
        print_json_lines(body.violations)
    else:
        _print_preview(preview, days=days, names=destination_names(snapshot))
    return 1 if preview.violating else 0


def attach_plan(settings: Settings, slug: str, source: str, *, detach: bool) -> None:
    """Connect a plan to a source, or disconnect it.

    Raises:
        ConfigurationError: There is no such plan or source, or the source has another plan.
        StorageError: The store cannot be written.
    """
    with _opened(settings) as (store, _):
        change = disconnect_source(slug, source) if detach else connect_source(slug, source)
        edit(store, change, clock=SystemClock(), keyring=open_keyring(settings), actor=_ACTOR)
    done = "detached from" if detach else "attached to"
    print(f"Tracking plan {slug} {done} {source}. Running processes use it immediately.")


def _print_preview(preview: PlanPreview, *, days: int, names: Mapping[str, str]) -> None:
    print_list(
        preview.violations,
        columns={
            "EVENT": lambda known: known.event_name or f"({known.event_type})",
            "FIELD": lambda known: known.field,
            "VIOLATION": lambda known: known.kind,
            "EVENTS": lambda known: f"{known.count:,}",
            "DESCRIPTION": lambda known: known.description,
            "EXAMPLE": lambda known: known.examples[0],
        },
        body=lambda known: known,
        as_json=False,
        empty=f"All {preview.events:,} events of the last {count_noun(days, 'day')} are as planned.",
    )
    if preview.violations:
        print(f"{preview.violating:,} of {preview.events:,} events violate the plan.")
    if preview.blocked or preview.changed:
        print(f"{preview.blocked_total:,} would be blocked, {preview.changed:,} would lose properties.")
    for stake in preview.at_stake:
        for item, awards, quantity in stake.items():
            name = printable(names[stake.destination])
            print(f"At stake at {name}: {count_noun(awards, 'award')} of {item}, quantity {quantity}.")
    if preview.is_partial:
        print("There are more events; only the oldest of the period were compared.")


def _read(file: Path) -> list[TrackingPlanRule]:
    try:
        return read_file(file.read_bytes(), file_name=file.name)
    except OSError as error:
        raise ConfigurationError(f"{file}: The file cannot be read: {error.strerror or error}.") from error
    except PlanFormatError as error:
        raise ConfigurationError(f"{file}: {error.message}") from error


def _new_plan(workspace: Workspace, name: str, rules: Sequence[TrackingPlanRule]) -> TrackingPlan:
    slug = new_plan_slug(workspace, name)
    plan = TrackingPlan(slug=slug, name=name, rules=tuple(rules), created_at=to_iso(SystemClock().now()))
    return replace(plan, rules=sort_rules(plan.rules))


def _event_text(row: TableRow) -> str:
    version = f" version {row.version}" if row.version != 1 else ""
    return (row.event or f"({row.event_type})") + version


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Store, Workspace]]:
    store = open_store(settings)
    try:
        yield store, load(store, open_keyring(settings)).workspace
    finally:
        store.close()

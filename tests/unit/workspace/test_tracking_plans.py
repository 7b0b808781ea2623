"""Tracking plans in the configuration: files, folders, validation and the words of changes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from punchcard.errors import ConfigurationError
from punchcard.tracking_plans.model import Action, CallEnforcement, Enforcement, TrackingPlan, TrackingPlanRule
from punchcard.workspace.change_texts import describe_changes
from punchcard.workspace.editing import NotFoundError, remove_source
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.file_watch import FileWatch
from punchcard.workspace.model import Source, Workspace
from punchcard.workspace.tracking_plans import (
    add_plan,
    change_plan,
    connect_source,
    disconnect_source,
    remove_plan,
    set_rules,
)
from punchcard.workspace.validate import find_problems

RULE = TrackingPlanRule(type="TRACK", key="Order Completed", json_schema={"properties": {"properties": {}}})
PLAN = TrackingPlan(slug="shop", name="Shop", sources=("website",), rules=(RULE,))
WEBSITE = Source(slug="website", name="Website", write_keys=("wk",))
OTHER = Source(slug="violations", name="Violations", write_keys=("wk2",))
WORKSPACE = Workspace(name="Acme", sources=(OTHER, WEBSITE), tracking_plans=(PLAN,))
FILE = """
[[sources]]
slug = "website"
write_key = "wk"
[sources.enforcement]
unplanned_events = "BLOCK"
forward_violations_to = "violations"
[sources.enforcement.track]
unplanned = "OMIT_PROPERTIES"

[[sources]]
slug = "violations"
write_key = "wk2"

[tracking_plans.shop]
name = "Shop"
sources = ["website"]
folder = "plans"

[[tracking_plans.shop.rules]]
type = "IDENTIFY"
jsonSchema = '{"properties": {"traits": {"type": "object"}}}'
"""


def read(text: str, folder: Path) -> Workspace:
    return read_content(text.encode(), str(folder / "punchcard.toml"), environment={})


def test_file_describes_plans_with_a_folder_of_schemas(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "Order Completed.json").write_text(json.dumps(RULE.json_schema))
    (tmp_path / "plans" / "readme.txt").write_text("not a schema")
    workspace = read(FILE, tmp_path)
    (plan,) = workspace.tracking_plans
    assert [(rule.type, rule.key) for rule in plan.rules] == [("IDENTIFY", ""), ("TRACK", "Order Completed")]
    website = next(source for source in workspace.sources if source.slug == "website")
    assert website.enforcement == Enforcement(
        unplanned_events="BLOCK",
        forward_violations_to="violations",
        track=CallEnforcement(unplanned="OMIT_PROPERTIES"),
    )


def test_exported_plan_is_read_again_as_it_was(tmp_path: Path) -> None:
    enforcement = Enforcement(unplanned_events="BLOCK", identify=CallEnforcement(violations="OMIT_PROPERTIES"))
    strange = replace(RULE, key='a "${X}"', version=2, json_schema={"description": "it's ${Y}", "pattern": "^\\d+$"})
    plan = replace(PLAN, description="What we send", rules=(RULE, strange))
    workspace = replace(WORKSPACE, sources=(OTHER, replace(WEBSITE, enforcement=enforcement)), tracking_plans=(plan,))
    assert read(export(workspace, includes_write_keys=True), tmp_path) == workspace


@pytest.mark.parametrize(
    ("before", "after", "place", "part"),
    [
        ('sources = ["website"]', 'sources = ["shop"]', "tracking_plans.shop.sources", 'There is no source "shop"'),
        ('"BLOCK"', '"DROP"', "sources.website.enforcement.unplanned_events", "Use one of ALLOW, BLOCK"),
        (
            '"OMIT_PROPERTIES"',
            '"BLOCK"',
            "sources.website.enforcement.track.unplanned",
            "Use one of ALLOW, OMIT_PROPERTIES",
        ),
        (
            'to = "violations"',
            'to = "website"',
            "sources.website.enforcement.forward_violations_to",
            "cannot receive its own",
        ),
        ('folder = "plans"', 'folder = "nowhere"', "tracking_plans.shop.folder", "cannot be read"),
        ('type = "IDENTIFY"', 'type = "CLICK"', "tracking_plans.shop.rules", '"CLICK" is not a type of rule'),
        ('type = "IDENTIFY"', 'key = ""', "tracking_plans.shop.rules", "Must be the name of the event"),
        ('{"properties"', "nothing", "tracking_plans.shop.rules", "JSON text of a schema"),
        (
            '{"type": "object"}',
            '{"type": "objekt"}',
            "jsonSchema.properties.traits.type",
            '"objekt" is not a type',
        ),
        ('{"type": "object"}', '{"$ref": "#"}', "jsonSchema.properties.traits.$ref", "Circular"),
    ],
)
def test_problem_has_its_place(before: str, after: str, place: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    assert before in FILE
    with pytest.raises(ConfigurationError) as caught:
        read(FILE.replace(before, after), tmp_path)
    assert place.replace("$ref", '"$ref"') in caught.value.message
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            '{ properties = { properties = { required = ["order_id"] } } }',
            "Must be the JSON text of a schema, not a table.",
        ),
        ("[1]", "Must be the JSON text of a schema, not a list."),
        ('"${NO_SUCH_SCHEMA}"', "NO_SUCH_SCHEMA"),
        ('""', "Must be the JSON text of a schema: "),
        ('"[1]"', "Must be the JSON text of a schema: "),
        (None, "Is missing."),
    ],
)
def test_each_schema_that_is_no_json_text_brings_one_message(schema: str | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    lines = [line for line in FILE.splitlines() if not line.startswith("jsonSchema")]
    assert len(lines) == len(FILE.splitlines()) - 1, "the file has one rule with a schema"
    place = lines.index('type = "IDENTIFY"')
    if schema is not None:
        lines.insert(place, f"jsonSchema = {schema}")
    with pytest.raises(ConfigurationError) as caught:
        read("\n".join(lines), tmp_path)
    assert message in caught.value.message
    assert caught.value.message.count("jsonSchema") == 1


def test_source_has_one_plan() -> None:
    second = replace(PLAN, slug="second")
    problems = list(find_problems(replace(WORKSPACE, tracking_plans=(PLAN, second))))
    assert len(problems) == 2
    assert "A source has at most one" in problems[0].message
    with pytest.raises(ConfigurationError, match="Disconnect it there first"):
        connect_source("second", "website")(replace(WORKSPACE, tracking_plans=(PLAN, replace(second, sources=()))))


def test_change_of_a_file_in_the_folder_is_applied(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    rule_file = tmp_path / "plans" / "Order Completed.json"
    rule_file.write_text(json.dumps(RULE.json_schema))
    config = tmp_path / "punchcard.toml"
    config.write_text(FILE)
    applied: list[Workspace] = []

    def apply(workspace: Workspace) -> list[object]:
        applied.append(workspace)
        return []

    watch = FileWatch(config, apply, environment={})  # type: ignore[arg-type]  # no changes are reported
    watch.apply_now()
    watch.poll()
    assert len(applied) == 1
    rule_file.write_text(json.dumps({"description": "new", "properties": {}}))
    watch.poll()
    watch.poll()
    watch.poll()
    assert len(applied) == 2
    assert applied[-1].tracking_plans != applied[0].tracking_plans


def test_edits_change_what_they_name() -> None:
    empty = replace(WORKSPACE, tracking_plans=())
    workspace = add_plan(replace(PLAN, sources=()))(empty)
    workspace = connect_source("shop", "website")(workspace)
    assert workspace == WORKSPACE
    other = replace(RULE, key="A")
    workspace = change_plan("shop", lambda plan: set_rules(plan, [other, RULE]))(workspace)
    assert [rule.key for rule in workspace.tracking_plans[0].rules] == ["A", "Order Completed"]
    assert disconnect_source("shop", "website")(workspace).tracking_plans[0].sources == ()
    assert remove_plan("shop")(workspace) == empty
    for edit in (remove_plan("no"), connect_source("shop", "no"), disconnect_source("shop", "violations")):
        with pytest.raises(NotFoundError):
            edit(workspace)
    with pytest.raises(ConfigurationError, match="exists already"):
        add_plan(PLAN)(workspace)


def test_removed_source_leaves_its_plan_and_no_forwarding() -> None:
    forwarding = replace(WEBSITE, enforcement=Enforcement(forward_violations_to="violations"))
    workspace = replace(WORKSPACE, sources=(OTHER, forwarding))
    assert remove_source("violations")(workspace).sources == (WEBSITE,)
    assert remove_source("website")(workspace).tracking_plans[0].sources == ()


def test_changes_are_described_by_rule() -> None:
    changed = replace(RULE, json_schema={"type": "object"})
    after = replace(
        WORKSPACE,
        sources=(OTHER, replace(WEBSITE, enforcement=Enforcement(unplanned_events=Action.BLOCK.value))),
        tracking_plans=(replace(PLAN, rules=(changed, replace(RULE, key="New"))),),
    )
    sentences = [sentence for change in describe_changes(WORKSPACE, after) for sentence in change.sentences]
    assert sentences == [
        "Enforcement of the tracking plan, unplanned events of source Website: block added",
        "Rule “TRACK Order Completed” of tracking plan Shop: changed",
        "Rule “TRACK New” of tracking plan Shop: added",
    ]
    assert [change.sentences for change in describe_changes(Workspace(name="Acme"), WORKSPACE)][-1] == (
        "Tracking plan Shop added (1 rule; sources: Website)",
    )

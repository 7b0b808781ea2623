"""A text that Punchcard writes to events, keys, headers or pages has no control characters."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from punchcard.workspace.file import read_content
from punchcard.workspace.model import Label
from punchcard.workspace.validate import find_problems

WORKSPACE = read_content(
    b"""
[[sources]]
slug = "shop"
name = "Shop"
write_key = "wk_shop"
[sources.enforcement]
unplanned_events = "BLOCK"

[[destinations]]
slug = "hook"
type = "webhooks"
name = "Hook"
sources = ["shop"]
consent = ["marketing"]
settings = { url = "https://example.com/hook", headers = { "X-Shop" = "a" } }
[[destinations.filters]]
title = "Without tests"
description = "A filter"
if = 'event = "Test"'
actions = [{ type = "DROP" }]

[[transformations]]
slug = "change"
name = "Change"
source = "shop"
if = 'event = "Sale"'
newEventName = "Order Completed"
propertyRenames = [{ oldName = "sum", newName = "total" }]
propertyValueTransformations = [{ propertyPaths = ["properties.currency"], propertyValue = "USD" }]
fqlDefinedProperties = [{ propertyName = "kind", fql = "event" }]
propertyDrops = ["note"]

[[audiences]]
key = "regulars"
name = "Regulars"
description = "Who comes often"
definition = 'event("Checked In").count() >= 10'

[[computed_traits]]
key = "visits"
name = "Visits"
definition = 'event("Checked In").count()'

[tracking_plans.plan]
name = "Plan"
description = "A plan"
sources = ["shop"]

[[alert_channels]]
name = "ops"
url = "https://example.com/alerts"
""",
    "punchcard.toml",
    environment={},
)
COMPARED = {"actions", "blocked", "old_name", "property_drops"}
"""These are compared with events, in which senders may use any character."""


def with_each_text(value: Any, text: str, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path of each text that is not empty, and the value with another one in its place."""
    if isinstance(value, str):
        if value:
            yield path, value + text
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if field.name == "kind":  # of a computation: no sender chooses it
                continue
            for inner, changed in with_each_text(getattr(value, field.name), text, (*path, field.name)):
                yield inner, replace(value, **{field.name: changed})
    elif isinstance(value, Mapping):
        for key, item in value.items():
            for inner, changed in with_each_text(item, text, (*path, str(key))):
                yield inner, {**value, key: changed}
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            for inner, changed in with_each_text(item, text, (*path, str(index))):
                yield inner, type(value)([*value[:index], changed, *value[index + 1 :]])


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x9f"])
def test_no_text_may_have_one_that_is_not_only_compared_with_events(character: str) -> None:
    assert not list(find_problems(WORKSPACE))
    accepted = {path for path, workspace in with_each_text(WORKSPACE, character) if not list(find_problems(workspace))}
    assert {path for path in accepted if not COMPARED & set(path)} == set()


def test_the_problem_names_place_and_character() -> None:
    (transformation,) = WORKSPACE.transformations
    broken = replace(WORKSPACE, transformations=(replace(transformation, new_event_name="Order\x00Completed"),))
    assert list(map(str, find_problems(broken))) == [
        "transformations.change.newEventName: Must not contain control characters. It has U+0000 at character 6."
    ]


def test_texts_with_lines_may_have_them_and_names_may_have_joined_emoji() -> None:
    (transformation,) = WORKSPACE.transformations
    changed = replace(transformation, name="Famille 👨‍👩‍👧", condition='event = "Sale"\n\tand properties.total > 1')
    assert not list(find_problems(replace(WORKSPACE, transformations=(changed,))))


def test_a_problem_is_reported_once() -> None:
    label = Label(key="team\x00", value="shop", description="A\x00")
    messages = list(map(str, find_problems(replace(WORKSPACE, labels=(label,)))))
    assert messages == [
        "workspace.labels[0].key: Must have 1 to 100 printable characters and no slash.",
        "workspace.labels[0].description: Must not contain control characters. It has U+0000 at character 2.",
    ]


def test_a_setting_is_refused_when_saved_and_stays_usable_where_it_is_stored() -> None:
    (destination,) = WORKSPACE.destinations
    options = {"triggers": ["track\x00"]}
    changed = replace(WORKSPACE, destinations=(replace(destination, options=options),))
    assert any("destinations.hook.options" in str(problem) for problem in find_problems(changed))
    settings = {**destination.settings, "eventMap": {"Sale": "1\x1b"}}
    changed = replace(WORKSPACE, destinations=(replace(destination, settings=settings),))
    assert (
        "destinations.hook.settings.eventMap.Sale: Must not contain control characters. It has U+001B at character 2."
        in list(map(str, find_problems(changed)))
    )

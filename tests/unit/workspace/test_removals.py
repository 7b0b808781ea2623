"""A source or destination that others use is not removed; the refusal says what to do first."""

import pytest

from punchcard.errors import ConfigurationError
from punchcard.workspace.editing import Edit, remove_destination, remove_source
from punchcard.workspace.file import read_content
from punchcard.workspace.validate import validate

WORKSPACE = read_content(
    b"""
[[sources]]
slug = "shop"
write_key = "wk_shop"

[[sources]]
slug = "till"
write_key = "wk_till"

[[sources]]
slug = "unused"
write_key = "wk_unused"

[[destinations]]
slug = "hook"
type = "webhooks"
sources = ["shop"]
[destinations.settings]
url = "https://example.com/hook"

[[destinations]]
slug = "unused-hook"
type = "webhooks"
sources = []
[destinations.settings]
url = "https://example.com/unused"

[[transformations]]
slug = "rename"
name = "Rename"
source = "till"
if = 'event = "Sale"'
newEventName = "Order Completed"

[[transformations]]
slug = "shorten"
name = "Shorten"
source = "shop"
destination = "hook"
if = 'event = "Sale"'
propertyDrops = ["note"]

[[audiences]]
key = "regulars"
name = "Regulars"
definition = 'event("Checked In").count() >= 10'
destinations = ["hook"]

[[computed_traits]]
key = "visits"
name = "Visits"
definition = 'event("Checked In").count()'
destinations = ["hook"]
""",
    "punchcard.toml",
    environment={},
)


def not_queued() -> int:
    return 0


@pytest.mark.parametrize(
    ("removal", "message"),
    [
        (
            remove_source("till"),
            'till is in use. Before you delete it, delete the transformation "Rename".',
        ),
        (
            remove_source("shop"),
            'shop is in use. Before you delete it, disconnect or delete the destination "Webhooks (hook)", '
            'delete the transformation "Shorten".',
        ),
        (
            remove_destination("hook", queued=not_queued),
            "Webhooks (hook) is in use. Before you delete it, remove it from the destinations of the audience "
            '"Regulars", remove it from the destinations of the computed trait "Visits", '
            'delete the transformation "Shorten".',
        ),
    ],
    ids=["a transformation of a source", "a destination of a source", "audience, trait and transformation"],
)
def test_what_is_used_is_not_removed(removal: Edit, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        removal(WORKSPACE)
    assert (caught.value.message, caught.value.code) == (message, "in_use")


@pytest.mark.parametrize("removal", [remove_source("unused"), remove_destination("unused-hook", queued=not_queued)])
def test_what_nothing_uses_is_removed(removal: Edit) -> None:
    changed = removal(WORKSPACE)
    validate(changed)
    assert len(changed.sources) + len(changed.destinations) == len(WORKSPACE.sources) + len(WORKSPACE.destinations) - 1

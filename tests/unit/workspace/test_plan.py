from dataclasses import replace

from punchcard.profiles.rules import IdentityRules
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.plan import ChangeKind, plan, render

SOURCE = Source(slug="website", name="Website", write_keys=("wk",))
DESTINATION = Destination(
    slug="perkville",
    type="perkville",
    sources=("website",),
    settings={"apiKey": "a-token-of-acme-1234", "eventToPerkMap": {"Checked In": "1"}},
)
WORKSPACE = Workspace(name="Acme", sources=(SOURCE,), destinations=(DESTINATION,))


def with_settings(**settings: object) -> Workspace:
    return replace(WORKSPACE, destinations=(replace(DESTINATION, settings={**DESTINATION.settings, **settings}),))


def test_same_workspace_needs_no_change() -> None:
    assert plan(WORKSPACE, replace(WORKSPACE)) == []
    assert render([]) == "No changes"


def test_order_of_parts_means_nothing() -> None:
    other = Source(slug="pos", name="POS", write_keys=("wk2",))
    assert plan(replace(WORKSPACE, sources=(SOURCE, other)), replace(WORKSPACE, sources=(other, SOURCE))) == []


def test_changes_are_reported_by_key_path_with_before_and_after() -> None:
    changes = plan(WORKSPACE, with_settings(eventToPerkMap={"Checked In": "2", "Order Completed": "3"}))
    assert render(changes) == (
        "~ destination perkville\n"
        '    settings.eventToPerkMap."Checked In": "1" → "2"\n'
        '    settings.eventToPerkMap."Order Completed": (none) → "3"\n'
        "0 to add, 1 to change, 0 to remove"
    )


def test_rules_of_identity_are_reported_by_key_path() -> None:
    rules = IdentityRules(priority=("member_id",), limits={"user_id": 1, "email": 2})
    assert render(plan(WORKSPACE, replace(WORKSPACE, identity=rules))) == (
        "~ workspace\n"
        '    identity.priority: ["user_id", "email"] → ["member_id"]\n'
        "    identity.limits.email: (none) → 2\n"
        "0 to add, 1 to change, 0 to remove"
    )


def test_secrets_are_masked_and_another_secret_of_the_same_ending_is_distinguished() -> None:
    assert '"••••1234" → "••••9999"' in render(plan(WORKSPACE, with_settings(apiKey="a-token-of-acme-9999")))
    text = render(plan(WORKSPACE, with_settings(apiKey="b-token-of-acme-1234")))
    assert '"••••1234" → "••••1234" (changed secret)' in text
    assert "token-of" not in text


def test_added_and_removed_parts_are_reported_with_their_values() -> None:
    changes = plan(WORKSPACE, Workspace(name="Acme", sources=(replace(SOURCE, slug="app"), SOURCE)))
    assert [(change.kind, change.part, change.slug) for change in changes] == [
        (ChangeKind.ADD, "source", "app"),
        (ChangeKind.REMOVE, "destination", "perkville"),
    ]
    text = render(changes)
    added = '+ source app\n    name: "Website"\n    write_keys: ["••••"]\n    type: "http-api"\n    enabled: true\n'
    assert added + "- destination perkville\n" in text
    assert "a-token" not in text
    assert text.endswith("1 to add, 0 to change, 1 to remove")


def test_workspace_fields_are_a_part_of_their_own() -> None:
    changes = plan(WORKSPACE, replace(WORKSPACE, timezone="Europe/Oslo"))
    assert render(changes).startswith('~ workspace\n    timezone: "UTC" → "Europe/Oslo"\n')

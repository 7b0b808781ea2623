from dataclasses import replace
from string import ascii_lowercase, digits, punctuation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.profiles.rules import IdentityRules
from punchcard.tracking_plans.model import CallEnforcement, Enforcement
from punchcard.workspace.blank import is_blank
from punchcard.workspace.document import mask_secrets
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.model import (
    Destination,
    DestinationFilter,
    PropertyControls,
    SchemaSwitches,
    Source,
    Workspace,
)

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
names = texts.filter(lambda text: not is_blank(text))
printable = names.filter(str.isprintable)  # what settings take
slugs = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
write_keys = st.text(ascii_lowercase + digits + punctuation.replace(":", ""), min_size=1, max_size=20)
fields = st.dictionaries(texts, st.lists(texts, max_size=3), min_size=1, max_size=2)
actions = (
    st.just({"type": "DROP"})
    | st.fixed_dictionaries({"type": st.just("SAMPLE"), "percent": st.floats(0, 1)}, optional={"path": texts})
    | st.fixed_dictionaries({"type": st.sampled_from(["DROP_PROPERTIES", "ALLOW_PROPERTIES"]), "fields": fields})
)
filters = st.builds(
    DestinationFilter,
    title=names,
    condition=st.sampled_from(["all", "event = 'x'", 'contains( properties.email, "@x" )']),
    enabled=st.booleans(),
    actions=st.lists(actions, min_size=1, max_size=3).map(tuple),
)
types = st.from_regex(r"[a-z0-9_]{1,20}(\.[a-z0-9_]{1,20})?", fullmatch=True)
limits = st.integers(1, 1_000)
identities = st.builds(
    lambda user_ids, **rules: IdentityRules(**{**rules, "limits": {**rules["limits"], "user_id": user_ids}}),
    user_ids=limits,
    priority=st.lists(types, max_size=3, unique=True).map(tuple),
    limits=st.dictionaries(types, limits, max_size=2),
    limit=limits,
    periods=st.dictionaries(types, st.sampled_from(["ever", "annually", "monthly", "weekly"]), max_size=2),
    blocked=st.lists(names | st.sampled_from(["/^x+$/", "/"]), max_size=3).map(tuple),
    properties=st.dictionaries(
        types.filter(lambda trait_name: trait_name not in ("user_id", "anonymous_id")),
        st.sampled_from(["traits.phone", "properties.member.id", "context.card"]),
        max_size=2,
    ),
)

enforcements = st.builds(
    Enforcement,
    unplanned_events=st.sampled_from(["ALLOW", "BLOCK"]),
    track=st.builds(CallEnforcement, violations=st.sampled_from(["ALLOW", "BLOCK"])),
)
switches = st.builds(SchemaSwitches, events=st.lists(names, max_size=2, unique=True).map(lambda e: tuple(sorted(e))))
controls = st.builds(
    PropertyControls, drop=st.sampled_from([(), ("properties.card",)]), hash=st.sampled_from([(), ("traits.ssn",)])
)


@st.composite
def workspaces(draw: st.DrawFn) -> Workspace:
    source_slugs = draw(st.lists(slugs, unique=True, max_size=3))
    keys = draw(st.lists(write_keys, unique=True, min_size=6, max_size=6))
    sources = tuple(
        Source(
            slug=slug,
            name=draw(names),
            write_keys=tuple(keys[2 * index : 2 * index + draw(st.integers(1, 2))]),
            enabled=draw(st.booleans()),
            enforcement=draw(enforcements),
            switched_off=draw(switches),
            controls=draw(controls),
        )
        for index, slug in enumerate(source_slugs)
    )
    connected = st.lists(st.sampled_from(source_slugs), unique=True).map(tuple) if source_slugs else st.just(())
    destinations = tuple(
        Destination(
            slug=slug,
            type="perkville",
            sources=draw(connected),
            enabled=draw(st.booleans()),
            consent=tuple(draw(st.lists(names, max_size=2, unique=True))),
            settings={
                "apiKey": draw(write_keys),
                "businessId": "41",
                "locationId": "7",
                "sendEmail": draw(st.booleans()),
                "eventToPerkMap": draw(
                    st.dictionaries(printable, st.from_regex(r"[1-9][0-9]{0,8}", fullmatch=True), max_size=3)
                ),
            },
            options=draw(st.sampled_from([{}, {"requestsPerSecond": 2}, {"apiBaseUrl": "https://a.example/${b}"}])),
            filters=tuple(draw(st.lists(filters, max_size=3))),
        )
        for slug in draw(st.lists(slugs, unique=True, max_size=2))
    )
    zone = draw(st.sampled_from(["UTC", "America/Los_Angeles"]))
    return Workspace(
        name=draw(names), timezone=zone, identity=draw(identities), sources=sources, destinations=destinations
    )


@given(workspaces())
def test_reading_an_exported_workspace_gives_the_same_workspace_with_secrets_masked(workspace: Workspace) -> None:
    expected = replace(
        workspace, destinations=tuple(mask_secrets(destination) for destination in workspace.destinations)
    )
    assert read_content(export(workspace, includes_write_keys=True).encode(), "export", environment={}) == expected


@pytest.mark.parametrize("secret", ["shorter", "a-token-of-acme-1234"])
def test_secrets_are_masked(secret: str) -> None:
    destination = Destination(slug="p", type="perkville", sources=(), settings={"apiKey": secret})
    text = export(Workspace(destinations=(destination,)))
    assert secret not in text
    assert "••••" in text


def test_secrets_of_a_type_that_is_no_longer_known_are_masked_too() -> None:
    destination = Destination(slug="p", type="gone", sources=(), settings={"password": "a-token-of-acme-1234", "n": 1})
    text = export(Workspace(destinations=(destination,)), catalog={})
    assert "a-token" not in text
    assert "n = 1" in text

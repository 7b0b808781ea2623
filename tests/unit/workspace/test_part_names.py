"""What people call the parts of a configuration."""

from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.part_names import describe_part, name_destinations, name_sources
from punchcard.workspace.persistence import parts_by_key


def destination(slug: str, name: str = "", type_: str = "perkville") -> Destination:
    return Destination(slug=slug, name=name, type=type_, sources=("website",))


def test_a_destination_is_called_by_its_name_then_by_its_type_then_by_its_slug() -> None:
    named = [destination("gym", "Gym points"), destination("shop"), destination("crm", type_="of_another_version")]
    assert name_destinations(named) == {"gym": "Gym points", "shop": "Perkville", "crm": "crm"}


def test_equal_names_are_followed_by_the_slug() -> None:
    named = [destination("east"), destination("west"), destination("hook", type_="webhooks")]
    assert name_destinations(named) == {"east": "Perkville (east)", "west": "Perkville (west)", "hook": "Webhooks"}


def test_a_source_is_called_by_its_name() -> None:
    sources = [Source(slug="web", name="Website", write_keys=()), Source(slug="pos", name="", write_keys=())]
    assert name_sources(sources) == {"web": "Website", "pos": "pos"}


def test_a_part_is_named_as_the_first_configuration_that_has_it_names_it() -> None:
    now = parts_by_key(Workspace(destinations=(destination("gym", "Gym points"),)))
    before = parts_by_key(Workspace(destinations=(destination("gym", "Loyalty"), destination("shop", "Shop points"))))
    assert describe_part(("destination", "gym"), now, before) == "destination Gym points"
    assert describe_part(("destination", "shop"), now, before) == "destination Shop points"
    assert describe_part(("destination", "crm"), now, before) == "destination crm"
    assert describe_part(("workspace", ""), now) == "the workspace's settings"

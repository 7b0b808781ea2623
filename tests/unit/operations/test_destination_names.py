"""What people call destinations."""

from punchcard.operations.destination_names import name_destinations
from punchcard.workspace.model import Destination


def destination(slug: str, name: str = "", type_: str = "perkville") -> Destination:
    return Destination(slug=slug, name=name, type=type_, sources=("website",))


def test_a_destination_is_called_by_its_name_then_by_its_type_then_by_its_slug() -> None:
    named = [destination("gym", "Gym points"), destination("shop"), destination("crm", type_="of_another_version")]
    assert name_destinations(named) == {"gym": "Gym points", "shop": "Perkville", "crm": "crm"}


def test_equal_names_are_followed_by_the_slug() -> None:
    named = [destination("east"), destination("west"), destination("hook", type_="webhooks")]
    assert name_destinations(named) == {"east": "Perkville (east)", "west": "Perkville (west)", "hook": "Webhooks"}

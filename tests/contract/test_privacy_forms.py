"""The forms of Privacy and Protocols get fields that no page sends: the response is an explanation, not a failure."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.contract.privacy_world import ANN, CONFIG, order, process

from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

PLAN = """
[tracking_plans.shop]
name = "Shop"
sources = ["website"]
[[transformations]]
slug = "rename"
name = "Rename"
source = "website"
if = "all"
propertyDrops = ["coupon"]
"""
SCHEMA = '{"type": "object", "properties": {"properties": {"type": "object"}}}'
FORMS: Mapping[str, Mapping[str, str | Sequence[str]]] = {
    "/privacy": {"type": "SUPPRESS_ONLY", "by": "USER_ID", "source": "", "subjects": "u-77"},
    "/privacy/1/remove": {"type": "UNSUPPRESS"},
    "/privacy/export": {"by": "USER_ID", "subject": "u-77", "format": "json"},
    "/privacy/retention": {"action": "preview", "lake": "30", "profiles": "", "audit_log": "0"},
    "/privacy/inventory": {"name": "properties.email", "as": "YELLOW", "return": "/privacy/inventory"},
    "/privacy/controls/source/website": {"action": "mask", "path": "properties.email"},
    "/privacy/controls/source/website/preview": {"action": "hash", "path": "properties.email"},
    "/privacy/controls/destination/perkville": {"action": "drop", "path": "properties.email"},
    "/protocols": {"name": "Second", "types": "empty", "source": "website", "document": "", "action": "create"},
    "/protocols/shop": {"name": "Shop", "description": "", "source": ["website"], "action": "save"},
    "/protocols/shop/rule": {
        "event_type": "TRACK",
        "key": "Order Completed",
        "version": "1",
        "schema": SCHEMA,
        "path": ["total"],
        "types": ["number"],
        "allowed": [""],
        "required": ["0"],
        "row_description": [""],
        "event_description": "",
        "action": "add_row",
    },
    "/sources/website/protocols": {
        "plan": "shop",
        "unplanned_events": "allow",
        "forward_violations_to": "",
        "action": "preview",
    },
    "/transformations/new": {
        "name": "Third",
        "source": "website",
        "destination": "",
        "condition": "all",
        "order": "3",
        "renames": "a = b",
        "values": "properties.c = 1",
        "computed": "d = properties.e",
        "drops": "f",
        "allowed": "",
    },
    "/transformations/rename/preview": {"name": "R", "source": "website", "condition": "all", "renames": "a = b"},
    "/sources/website/schema/event": {"type": "track", "name": "Order Completed", "path": "total", "switch": "off"},
}
FIELDS = [(path, field) for path, form in FORMS.items() for field in form]
NONSENSE: Mapping[str, str | Sequence[str]] = {
    "empty": "",
    "control-characters": "a\x00\x01\x1b[31m\x7f\u2028",
    "markup": "<script>alert(1)</script>'\"&",
    "number": "-99999999999999999999",
    "json": '{"type": ["object", null], "properties": {"": {"minimum": 1e400}}}',
    "long": "x" * 200_000,
    "repeated": ["1", "0", "save", "<b>"],
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder: Path = tmp_path_factory.mktemp("forms")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG + PLAN) as server:
        add_operators(server)
        server.send(order(ANN, 1))
        process(server)
        yield server


@pytest.fixture(scope="module")
def owner(api: PublicApiServer) -> FormBrowser:
    browser = FormBrowser(api)
    browser.sign_in("owner@acme.example")
    return browser


@pytest.mark.parametrize("path", FORMS)
def test_form_without_its_fields_is_explained(owner: FormBrowser, path: str) -> None:
    assert owner.post(path).status < 500


@pytest.mark.sample(15)
@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_form_with_nonsense_in_a_field_is_explained(owner: FormBrowser, path: str, field: str) -> None:
    for nonsense, value in NONSENSE.items():
        page = owner.post(path, **{**FORMS[path], field: value})
        assert page.status < 500, (nonsense, page.text[:2_000])
        is_html = page.headers["content-type"].startswith("text/html")
        assert not (is_html and "<script>alert(1)" in page.text)

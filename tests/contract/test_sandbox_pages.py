"""The sandbox's pages: a person finds tokens, perks, customers and transactions, and nothing sent in can harm them."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest

from punchcard.sandbox.pages import site
from punchcard.testing.sandbox import SandboxProcess, SandboxReply

SCRIPT = "<script>alert(1)</script>"

SHOWN_TOKEN = r">([0-9a-f]{40})<"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


def get(sandbox: SandboxProcess, path: str) -> str:
    response = sandbox.request("GET", path, headers={"Authorization": ""})
    assert response.status == 200
    return response.body.decode()


def send(sandbox: SandboxProcess, path: str, **fields: object) -> SandboxReply:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    return sandbox.request("POST", path, body=urlencode(fields).encode(), headers=headers)


def award(sandbox: SandboxProcess, email: str, source_id: str | None = None, perk: int = 123456) -> SandboxReply:
    body = {"business": 41, "location": 7, "perk": perk, "email": email, "quantity": "1234.50"}
    return sandbox.request("POST", "/v2/transactions/", body=body | {"trans_source_id": source_id})


@pytest.mark.parametrize("path", ["/customers/", "/transactions/"])
def test_an_empty_page_says_what_to_do_next(tmp_path: Path, path: str) -> None:
    with SandboxProcess(tmp_path) as created:
        page = get(created, path)
    assert "yet" in page
    assert "send a transaction" in page.lower()


def test_generate_accept_and_show_make_a_token_that_works(sandbox: SandboxProcess) -> None:
    assert "Generate Token" in get(sandbox, "/settings/usr/apps/")
    assert "Accept" in get(sandbox, "/settings/usr/apps/segment/")
    before = re.findall(SHOWN_TOKEN, get(sandbox, "/settings/usr/apps/"))
    response = send(sandbox, "/settings/usr/apps/segment/")
    assert response.status == 303
    page = get(sandbox, response.headers["location"])
    assert "Show token" in page
    (token,) = set(re.findall(SHOWN_TOKEN, page)).difference(before)
    bearer = {"Authorization": f"Bearer {token}"}
    assert sandbox.request("GET", "/v2/businesses/41/", headers=bearer).status == 200
    assert send(sandbox, "/settings/usr/apps/revoke/", token=token).status == 303
    assert sandbox.request("GET", "/v2/businesses/41/", headers=bearer).status == 401
    assert "REVOKED" in get(sandbox, "/settings/usr/apps/")


def test_the_development_token_is_named_and_can_be_revoked_and_restored(sandbox: SandboxProcess) -> None:
    assert "sandbox-token" in get(sandbox, "/settings/usr/apps/")
    send(sandbox, "/settings/usr/apps/revoke/", token="sandbox-token")
    assert sandbox.request("GET", "/v2/businesses/41/").status == 401
    send(sandbox, "/settings/usr/apps/restore/")
    assert sandbox.request("GET", "/v2/businesses/41/").status == 200


def test_a_perk_is_added_changed_and_switched_off(sandbox: SandboxProcess) -> None:
    fields = {"title": "Guest Brought", "description": "", "points": 25, "classification": "EARN", "status": "ACTIVE"}
    assert send(sandbox, "/perks/", **fields).status == 303
    perks = sandbox.request("GET", "/v2/perks/?business=41").json()["objects"]
    (perk,) = [each for each in perks if each["title"] == "Guest Brought"]
    assert award(sandbox, "guest@example.com", perk=perk["perk_id"]).json()["points"] == 25
    path = f"/perks/{perk['perk_id']}/"
    assert "Guest Brought" in get(sandbox, path)
    assert send(sandbox, path, **fields | {"points": 30, "status": "INACTIVE"}).status == 303
    assert award(sandbox, "guest@example.com", perk=perk["perk_id"]).json()["errors"]["perk"][0]["code"] == "not_active"
    (stored,) = [each for each in sandbox.transactions() if each["email"] == "guest@example.com"]
    assert stored["points"] == 25


@pytest.mark.parametrize(
    "changes",
    [{"title": ""}, {"points": "-1"}, {"points": "1.5"}, {"points": "many"}, {"classification": "?"}, {"status": ""}],
)
def test_a_form_that_is_wrong_comes_back_with_what_was_typed(
    sandbox: SandboxProcess, changes: dict[str, object]
) -> None:
    fields = {"title": "Kept Title", "points": 1, "classification": "EARN", "status": "ACTIVE"} | changes
    for path in ("/perks/", "/perks/123457/"):
        response = send(sandbox, path, **fields)
        assert response.status == 400
        assert b'role="alert"' in response.body
        assert changes == {"title": ""} or b"Kept Title" in response.body
    assert sandbox.request("GET", "/v2/perks/123457/").json()["title"] == "Checked In"


def test_customers_are_found_by_email_with_balance_and_attributes(sandbox: SandboxProcess) -> None:
    user = award(sandbox, "Finn.Found@example.com").json()["user"]
    award(sandbox, "other@example.com")
    (connection,) = sandbox.request("GET", f"/v2/connections/?user={user}").json()["objects"]
    attributes = {"order_completed_last_30days": True, "tier": "gold"}
    sandbox.request("PATCH", connection["resource_uri"], body={"custom_attributes": attributes})
    page = get(sandbox, "/customers/?q=finn.found")
    assert "other@example.com" not in page
    for text in ("Finn.Found@example.com", "1,234.50", "PENDING", "order_completed_last_30days: true", "tier: gold"):
        assert text in page
    detail = get(sandbox, f"/customers/{connection['connection_id']}/")
    assert "Finn.Found@example.com" in detail
    assert "+1,234.50" in detail


@pytest.mark.parametrize("text", ["%", "_", "nobody"])
def test_a_search_means_its_text_and_nothing_else(sandbox: SandboxProcess, text: str) -> None:
    award(sandbox, "plain@example.com")
    assert "plain@example.com" not in get(sandbox, f"/customers/?{urlencode({'q': text})}")


def test_transactions_are_paged_newest_first(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as created:
        for number in range(60):
            award(created, "many@example.com", f"SEG:paged:{number}")
        first, second = get(created, "/transactions/"), get(created, "/transactions/?page=2")
        matches = re.findall(r"SEG:paged:(\d+)", first + second)
        assert [int(each) for each in matches] == list(range(59, -1, -1))
        assert "Page 2 of 2" in get(created, "/transactions/?page=999")
        assert re.findall(r"SEG:paged:(\d+)", get(created, "/transactions/?q=paged:17")) == ["17"]


def test_a_transaction_is_voided_by_its_button(sandbox: SandboxProcess) -> None:
    transaction_id = award(sandbox, "void@example.com", "SEG:void").json()["transaction_id"]
    assert send(sandbox, f"/transactions/{transaction_id}/void/").status == 303
    original, offset = [each for each in sandbox.transactions() if each["email"] == "void@example.com"]
    assert (original["transaction_status"], offset["transaction_status"]) == ("VOID", "VOID_REF")
    assert (original["quantity"], offset["quantity"], offset["trans_source_id"]) == ("1234.50", "-1234.50", None)
    assert award(sandbox, "void@example.com", "SEG:void").status == 400
    assert "not_voided" in send(sandbox, f"/transactions/{transaction_id}/void/").headers["location"]


def test_the_faults_form_switches_what_the_control_api_sets(sandbox: SandboxProcess) -> None:
    fields = {"status": "503", "rate": "0.5", "retryAfter": "", "afterCommit": "on", "duplicateAnswer": "409"}
    assert send(sandbox, "/faults/", **fields).status == 303
    shown = sandbox.request("GET", "/sandbox/faults").json()
    assert shown == {"status": 503, "rate": 0.5, "afterCommit": True, "duplicateAnswer": "409"}
    page = get(sandbox, "/faults/")
    assert 'name="afterCommit" checked' in page
    assert "Faults are enabled" in get(sandbox, "/perks/")
    for problem in ({"status": "abc"}, {"rate": "7"}, {"status": "5.5"}, {"rate": "nan"}):
        assert send(sandbox, "/faults/", **problem).status == 400
    assert sandbox.request("GET", "/sandbox/faults").json() == shown
    send(sandbox, "/faults/", clear="1", status="503")
    assert sandbox.request("GET", "/sandbox/faults").json() == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="another-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, 403, id="another-port"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="another-origin"),
        pytest.param({"Origin": "null"}, 403, id="no-origin"),
        pytest.param({"Origin": "http://["}, 403, id="broken-origin"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, 303, id="these-pages"),
        pytest.param({}, 303, id="a-tool"),
    ],
)
def test_a_form_of_another_site_changes_nothing(sandbox: SandboxProcess, headers: dict[str, str], status: int) -> None:
    before = get(sandbox, "/settings/usr/apps/").count("Show token")
    assert sandbox.request("POST", "/settings/usr/apps/segment/", headers=headers).status == status
    after = get(sandbox, "/settings/usr/apps/").count("Show token")
    assert after - before == (1 if status == 303 else 0)


def test_text_that_came_in_is_shown_and_never_run(sandbox: SandboxProcess) -> None:
    """Every text that an event, a form or an address can bring in appears escaped on every page that shows it."""
    fields = {"title": SCRIPT, "description": SCRIPT, "points": 1, "classification": "EARN", "status": "ACTIVE"}
    send(sandbox, "/perks/", **fields)
    perk = max(each["perk_id"] for each in sandbox.request("GET", "/v2/perks/?business=41").json()["objects"])
    source_id = "SEG:<img/src=x/onerror=alert(1)>"
    user = award(sandbox, "x'&\"@example.com".replace('"', ""), source_id, perk).json()["user"]
    (connection,) = sandbox.request("GET", f"/v2/connections/?user={user}").json()["objects"]
    attributes = {SCRIPT: SCRIPT, '"><b>': 1}
    sandbox.request("PATCH", connection["resource_uri"], body={"custom_attributes": attributes})
    paths = [
        "/perks/",
        f"/perks/{perk}/",
        "/customers/",
        f"/customers/{connection['connection_id']}/",
        "/transactions/",
        f"/customers/?{urlencode({'q': SCRIPT})}",
        f"/transactions/?{urlencode({'q': SCRIPT, 'done': SCRIPT})}",
    ]
    for path in paths:
        page = get(sandbox, path)
        assert "<script" not in page, path
        assert "<img" not in page, path
        assert "<b>" not in page, path
    assert "&lt;script&gt;" in get(sandbox, paths[3])


def test_pages_forbid_scripts_and_frames(sandbox: SandboxProcess) -> None:
    headers = sandbox.request("GET", "/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_page_that_is_not_there_says_so(sandbox: SandboxProcess) -> None:
    for path in ("/nothing/", "/perks/1/", "/customers/999/", "/perks/" + "9" * 30 + "/"):
        response = sandbox.request("GET", path)
        assert (response.status, b"<h1>" in response.body) == (404, True)


class _Outline(HTMLParser):
    """Collects what a keyboard or a screen reader needs of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.in_label = False
        self.headings = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.headings += tag == "h1"
        if tag == "label":
            self.in_label = True
            self.labelled.add(attributes.get("for") or "")
        if tag in {"input", "select"} and attributes.get("type") != "hidden" and not self.in_label:
            self.fields.append(attributes)
        if tag in {"a", "link"}:
            self.links.append(attributes.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self.in_label &= tag != "label"


@pytest.mark.parametrize(
    "path", [pattern for method, pattern, _ in site.ROUTES if method == "GET" and "(" not in pattern]
)
def test_every_page_is_labelled_and_stands_alone(sandbox: SandboxProcess, path: str) -> None:
    outline = _Outline()
    outline.feed(get(sandbox, path))
    assert outline.headings == 1
    assert [field for field in outline.fields if field.get("id") not in outline.labelled] == []
    assert [link for link in outline.links if link.startswith(("http:", "https:", "//"))] == []
    for link in outline.links:
        if link.startswith("/"):
            assert sandbox.request("GET", link).status == 200, link

"""Sign-in at an identity provider: people with a verified email get in, others do not."""

import html
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import jwt
import pytest

from punchcard.errors import ConfigurationError
from punchcard.operations.oidc import read_oidc_settings
from punchcard.runtime.settings import read_settings
from punchcard.store.access.access_settings import OIDC, read_setting
from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.access.operators import operator_by_email
from punchcard.store.access.token_store import Role
from punchcard.testing.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from punchcard.testing.operators import PASSWORD, FormBrowser, PageResponse, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OidcProvider]:
    with OidcProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("oidc")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", '[workspace]\nname = "Acme"\n') as server:
        add_operators(server)
        yield server


@pytest.fixture
def provider(shared_provider: OidcProvider) -> OidcProvider:
    shared_provider.reset()
    return shared_provider


@pytest.fixture
def world(shared_world: PublicApiServer, provider: OidcProvider) -> PublicApiServer:
    """The shared server, with the provider set up: only people of acme.example, and no new ones."""
    assert set_up(shared_world, provider).status == 303
    return shared_world


def owner_of(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


def set_up(world: PublicApiServer, provider: OidcProvider, **changes: str) -> PageResponse:
    form = {
        "name": "Acme login",
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "allowed_domains": "acme.example",
        "new_users": "",
    }
    return owner_of(world).post("/settings/sign-in/oidc", **{**form, **changes})


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        return


def visit_provider(url: str) -> str:
    """Sign in at the provider, as a browser; return the path and query that it leads back to."""
    response = build_opener(_NoRedirect).open
    try:
        response(url, timeout=30)
    except OSError as error:  # urllib's way to return a redirect that it does not follow
        location = urlsplit(error.headers["Location"])  # type: ignore[attr-defined]
        return f"{location.path}?{location.query}"
    raise AssertionError("the provider does not redirect")


def begin(browser: FormBrowser, path: str = "/sign-in/oidc") -> str:
    """Begin in a browser; return the way back."""
    response = browser.get(path)
    assert response.status == 303
    return visit_provider(response.headers["location"])


def sign_in(world: PublicApiServer) -> tuple[FormBrowser, PageResponse]:
    browser = FormBrowser(world)
    return browser, browser.get(begin(browser))


def test_a_person_with_an_account_signs_in_by_verified_email(world: PublicApiServer, provider: OidcProvider) -> None:
    provider.person["email"] = "Editor@Acme.example"
    browser = FormBrowser(world)
    assert "Sign in with Acme login" in html.unescape(browser.get("/sign-in").text)
    back = begin(browser, "/sign-in/oidc?next=/sources")
    signed_in = browser.get(back)
    assert (signed_in.status, signed_in.headers["location"]) == (303, "/sources")
    assert "editor@acme.example" in browser.get("/settings/account").text
    assert "by single sign-on" in browser.get("/settings/account").text
    assert browser.get(back).status == 401  # the way back works once


def test_the_secret_is_not_stored_in_plain_text_and_the_audit_log_masks_it(world: PublicApiServer) -> None:
    with world.store.reading() as work:
        stored = read_setting(work, OIDC)
        events = list_events(work, AuditQuery(resource_type="sign_in"), count=10)
    assert CLIENT_SECRET not in stored
    assert json.loads(stored)["client_id"] == CLIENT_ID
    assert any("oidc.issuer" in event.changes for event in events)
    assert all(CLIENT_SECRET not in event.changes for event in events)
    page = owner_of(world).get("/settings/sign-in").text
    assert CLIENT_SECRET not in html.unescape(page)
    assert f"http://127.0.0.1:{world.port}/sign-in/oidc/callback" in page


def test_a_masked_secret_keeps_the_stored_one(world: PublicApiServer, provider: OidcProvider) -> None:
    assert set_up(world, provider, name="Renamed", client_secret="••••ient").status == 303
    provider.person["email"] = "editor@acme.example"
    assert sign_in(world)[1].status == 303


@pytest.mark.parametrize("methods", [None, ["client_secret_post"]], ids=["basic", "post"])
def test_the_client_proves_its_secret_as_the_provider_wants(
    world: PublicApiServer, provider: OidcProvider, methods: list[str] | None
) -> None:
    if methods:
        provider.document["token_endpoint_auth_methods_supported"] = methods
    assert set_up(world, provider).status == 303
    provider.person["email"] = "editor@acme.example"
    assert sign_in(world)[1].status == 303


def test_an_email_that_the_token_lacks_is_read_from_the_userinfo(
    world: PublicApiServer, provider: OidcProvider
) -> None:
    provider.change_claims = lambda claims: claims.pop("email")
    browser, response = sign_in(world)
    assert response.status == 303
    assert "editor@acme.example" in browser.get("/settings/account").text
    provider.person["sub"] = "2"
    assert "details of another person" in sign_in(world)[1].text


def test_a_new_key_is_read_at_once(world: PublicApiServer, provider: OidcProvider) -> None:
    provider.person["email"] = "editor@acme.example"
    assert sign_in(world)[1].status == 303
    provider.rotate_key()
    provider.requests.clear()
    assert sign_in(world)[1].status == 303
    assert provider.requests.count("/keys") == 1
    assert sign_in(world)[1].status == 303
    assert provider.requests.count("/keys") == 1


# Claims or token of a good sign-in of the editor, changed; and what the page says.
BAD_TOKENS: dict[str, tuple[Callable[[OidcProvider], None], str]] = {
    "unsigned": (lambda provider: setattr(provider, "sign", provider.sign_unsigned), "not valid"),
    "tampered": (lambda provider: setattr(provider, "sign", provider.sign_tampered), "not valid"),
    "symmetric": (
        lambda provider: setattr(
            provider,
            "sign",
            lambda header, claims: jwt.encode(
                dict(claims), CLIENT_SECRET.ljust(32), algorithm="HS256", headers={"kid": header["kid"]}
            ),
        ),
        "not valid",
    ),
    "of an unknown key": (
        lambda provider: setattr(
            provider, "sign", lambda header, claims: provider.sign_rs256({**header, "kid": "other"}, claims)
        ),
        "unknown key",
    ),
    "expired": (lambda provider: changing(provider, exp=int(time.time()) - 120), "not valid"),
    "without an end": (lambda provider: changing(provider, exp=None), "not valid"),
    "of another issuer": (lambda provider: changing(provider, iss="https://evil.example"), "not valid"),
    "for another client": (lambda provider: changing(provider, aud="another"), "not valid"),
    "for several clients": (lambda provider: changing(provider, aud=[CLIENT_ID, "b"], azp="b"), "another client"),
    "of another sign-in": (lambda provider: changing(provider, nonce="another"), "another sign-in"),
    "without a nonce": (lambda provider: changing(provider, nonce=None), "another sign-in"),
    "of an unverified email": (lambda provider: changing(provider, email_verified=False), "has not verified"),
    "without a verification": (lambda provider: changing(provider, email_verified=None), "has not verified"),
    "of another domain": (lambda provider: changing(provider, email="x@evil.example"), "Only people of acme.example"),
    "of a similar domain": (lambda provider: changing(provider, email="x@evil-acme.example"), "Only people of"),
    "of a stranger": (lambda provider: changing(provider, email="new@acme.example"), "has no account here"),
}


def changing(provider: OidcProvider, **changes: Any) -> None:
    """Change the claims of ID tokens; None removes one."""

    def change(claims: dict[str, Any]) -> None:
        claims.update(changes)
        for name in [name for name, value in claims.items() if value is None]:
            del claims[name]

    provider.change_claims = change


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_a_bad_token_signs_nobody_in(world: PublicApiServer, provider: OidcProvider, kind: str) -> None:
    provider.person["email"] = "editor@acme.example"
    spoil, message = BAD_TOKENS[kind]
    spoil(provider)
    browser, response = sign_in(world)
    assert (response.status, message in html.unescape(response.text)) == (401, True), response.text
    assert browser.get("/").headers["location"] == "/sign-in"
    with world.store.reading() as work:
        assert operator_by_email(work, "new@acme.example") is None


@pytest.mark.parametrize("kind", ["another browser", "another state", "no state", "late", "refused", "used code"])
def test_a_way_back_that_does_not_belong_to_the_browser_signs_nobody_in(
    world: PublicApiServer, provider: OidcProvider, kind: str
) -> None:
    provider.person["email"] = "editor@acme.example"
    browser = FormBrowser(world)
    back = begin(browser)
    state = parse_qs(urlsplit(back).query)["state"][0]
    if kind == "another browser":
        browser = FormBrowser(world)
    elif kind == "another state":
        back = back.replace(state, "forged")
    elif kind == "no state":
        back = back.partition("&state=")[0]
    elif kind == "late":
        world.clock.advance(600)
    elif kind == "refused":
        back = f"/sign-in/oidc/callback?error=access_denied&state={state}"
    else:
        cookies = dict(browser.cookies)
        assert browser.get(back).status == 303
        browser = FormBrowser(world)
        browser.cookies.update(cookies)  # somebody has copied everything before the first use
    response = browser.get(back)
    assert response.status == 401
    assert browser.get("/").headers["location"] == "/sign-in"


def test_new_people_get_the_role_of_the_setting_or_of_their_invitation(
    world: PublicApiServer, provider: OidcProvider
) -> None:
    assert set_up(world, provider, new_users="read_only").status == 303
    invited = owner_of(world).post("/settings/team/invitations", email="ivy@acme.example", role="owner")
    assert invited.status == 200
    for email, role in (("uma@acme.example", Role.READ_ONLY), ("ivy@acme.example", Role.OWNER)):
        provider.person |= {"email": email, "name": email[:3]}
        browser, response = sign_in(world)
        assert response.status == 303
        with world.store.reading() as work:
            operator = operator_by_email(work, email)
        assert operator is not None
        assert (operator.role, operator.name) == (role, email[:3])
        assert "You have no password" in browser.get("/settings/password").text
        assert FormBrowser(world).sign_in(email, "").status == 401
        assert FormBrowser(world).sign_in(email, PASSWORD).status == 401
    assert "ivy@acme.example</strong>" not in owner_of(world).get("/settings/team").text


def test_the_provider_asks_for_the_second_factor_itself(world: PublicApiServer, provider: OidcProvider) -> None:
    owner = owner_of(world)
    assert owner.post("/settings/sign-in/two-factor", required="on").status == 303
    try:
        assert owner.get("/").headers["location"] == "/settings/two-factor"
        provider.person["email"] = "owner@acme.example"
        browser, response = sign_in(world)
        assert response.headers["location"] == "/"
        assert browser.get("/").status == 200
    finally:
        assert browser.post("/settings/sign-in/two-factor").status == 303


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issuer": "http://login.example"}, "begins with https://"),
        ({"issuer": "no url"}, "begins with https://"),
        ({"issuer": "https://[::1"}, "begins with https://"),
        ({"issuer": "https://login.example:port"}, "begins with https://"),
        ({"client_id": " "}, "Enter the client id"),
        ({"allowed_domains": "someone@acme.example"}, "Enter domains such as"),
        ({"new_users": "owner", "allowed_domains": ""}, "Name the domains"),
        ({"new_users": "king"}, "Choose one of"),
        ({"issuer": "http://127.0.0.1:9"}, "cannot be used"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    world: PublicApiServer, provider: OidcProvider, changes: dict[str, str], message: str
) -> None:
    page = set_up(world, provider, **changes)
    assert (page.status, message in html.unescape(page.text)) == (422, True), page.text


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"issuer": "https://evil.example"}, "belongs to the issuer"),
        ({"token_endpoint": "http://evil.example/token"}, "no usable token_endpoint"),
        ({"jwks_uri": None}, "no usable jwks_uri"),
    ],
)
def test_a_discovery_document_that_cannot_be_trusted_is_refused(
    world: PublicApiServer, provider: OidcProvider, document: dict[str, Any], message: str
) -> None:
    provider.document = document
    page = set_up(world, provider)
    assert (page.status, message in html.unescape(page.text)) == (422, True)


def test_only_owners_see_and_change_the_provider(world: PublicApiServer) -> None:
    editor = FormBrowser(world)
    editor.sign_in("editor@acme.example")
    assert editor.get("/settings/sign-in").status == 403
    for path in ("/settings/sign-in/oidc", "/settings/sign-in/oidc/remove"):
        assert editor.post(path).status == 403


def test_without_a_provider_there_is_no_way_in(world: PublicApiServer, provider: OidcProvider) -> None:
    browser = FormBrowser(world)
    back = begin(browser)
    assert owner_of(world).post("/settings/sign-in/oidc/remove").status == 303
    assert browser.get(back).status == 401
    assert FormBrowser(world).get("/sign-in/oidc").headers["location"] == "/sign-in"
    assert "Acme login" not in browser.get("/sign-in").text


def test_the_environment_sets_a_provider() -> None:
    environment = {
        "PUNCHCARD_OIDC_ISSUER": "https://login.example",
        "PUNCHCARD_OIDC_CLIENT_ID": "punchcard",
        "PUNCHCARD_OIDC_CLIENT_SECRET": "hidden",
        "PUNCHCARD_OIDC_ALLOWED_DOMAINS": "acme.example, Other.example",
        "PUNCHCARD_OIDC_NEW_USERS": "editor",
    }
    settings = read_settings(environment)
    assert "hidden" not in repr(settings)
    assert settings.identity_provider() == read_oidc_settings(
        name="",
        issuer="https://login.example",
        client_id="punchcard",
        client_secret="hidden",
        allowed_domains="acme.example other.example",
        new_users="editor",
    )
    with pytest.raises(ConfigurationError, match="PUNCHCARD_OIDC_CLIENT_ID: Enter the client id"):
        read_settings({"PUNCHCARD_OIDC_ISSUER": "https://login.example"})
    assert read_settings({}).identity_provider() is None

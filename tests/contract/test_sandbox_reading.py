"""The sandbox's lists and details have the shapes of Perkville's, and promise no more than those do."""

import re
from collections.abc import Iterator

import pytest

from punchcard.testing.sandbox import SandboxProcess

SOME = 25


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        for number in range(SOME):
            body = {
                "business": "/v2/businesses/41/",
                "location": "/v2/locations/7/",
                "perk": f"/v2/perks/{123456 + number % 2}/",
                "email": f"customer+{number % 5}@example.com",
                "quantity": "1.50",
                "trans_source_id": f"SEG:reading:{number}",
            }
            assert process.request("POST", "/v2/transactions/", body=body).status == 201
        yield process


def objects(sandbox: SandboxProcess, path: str) -> list[dict[str, object]]:
    response = sandbox.request("GET", path)
    assert response.status == 200, response.body
    result: list[dict[str, object]] = response.json()["objects"]
    return result


@pytest.mark.parametrize(
    ("query", "meta", "length"),
    [
        pytest.param("", {"limit": 20, "offset": 0}, 20, id="default"),
        pytest.param("?limit=5&offset=10", {"limit": 5, "offset": 10}, 5, id="page"),
        pytest.param("?limit=20&offset=20", {"limit": 20, "offset": 20}, 5, id="last-page"),
        pytest.param("?offset=100", {"limit": 20, "offset": 100}, 0, id="past-the-end"),
        pytest.param("?limit=5000", {"limit": 1000, "offset": 0}, SOME, id="cap"),
        pytest.param("?format=json&limit=1", {"limit": 1, "offset": 0}, 1, id="format"),
    ],
)
def test_a_list_is_paged_and_says_no_total(
    sandbox: SandboxProcess, query: str, meta: dict[str, int], length: int
) -> None:
    response = sandbox.request("GET", f"/v2/transactions/{query}").json()
    assert set(response) == {"meta", "objects"}
    assert (response["meta"], len(response["objects"])) == (meta, length)


@pytest.mark.parametrize(
    ("query", "length"),
    [
        pytest.param("business=41", SOME, id="business"),
        pytest.param("business=42", 0, id="other-business"),
        pytest.param("user__emails__email=customer%2B1%40example.com", 5, id="email"),
        pytest.param("user__emails__email=CUSTOMER%2B1@Example.com", 5, id="email-in-any-case"),
        pytest.param("user__emails__email=nobody%40example.com", 0, id="unknown-email"),
        pytest.param("user=2", 5, id="user"),
        pytest.param("user=/v2/users/2/", 5, id="user-uri"),
        pytest.param("perk=123457", 12, id="perk"),
        pytest.param("trans_source_id=SEG:reading:7", 1, id="source-id"),
        pytest.param("trans_source_id=seg:reading:7", 0, id="source-id-in-another-case"),
        pytest.param("business=41&user=2&perk=123456", 3, id="all-must-hold"),
    ],
)
def test_transactions_are_filtered(sandbox: SandboxProcess, query: str, length: int) -> None:
    assert len(objects(sandbox, f"/v2/transactions/?limit=100&{query}")) == length


@pytest.mark.parametrize(
    "path",
    [
        "/v2/transactions/?email=a@example.com",
        "/v2/transactions/?order_by=-transaction_id",
        "/v2/transactions/?business=acme",
        "/v2/transactions/?limit=many",
        "/v2/transactions/?offset=-1",
        "/v2/perks/?points=1",
        "/v2/users/?email=a@example.com",
        "/v2/transactions/?" + "&".join(f"a{number}=1" for number in range(200)),
    ],
)
def test_a_filter_that_is_not_understood_is_refused(sandbox: SandboxProcess, path: str) -> None:
    response = sandbox.request("GET", path)
    assert (response.status, response.json()["errors"]["__all__"][0]["code"]) == (400, "invalid_filter")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v2/businesses/41/", {"business_id", "name", "slug", "status"}),
        ("/v2/locations/7/", {"location_id", "business", "name", "status", "timezone"}),
        ("/v2/perks/123456/", {"perk_id", "business", "classification", "status", "title", "points"}),
        ("/v2/users/2/", {"user_id", "emails", "connections", "last_mod_dt"}),
        ("/v2/connections/1/", {"connection_id", "business", "user", "status", "point_balance", "custom_attributes"}),
        ("/v2/connection-balances/1/", {"connection", "balance", "last_mod_dt"}),
        ("/v2/transactions/1/", {"transaction_id", "quantity", "points", "trans_source_id", "transaction_status"}),
    ],
)
def test_a_detail_is_what_its_list_shows(sandbox: SandboxProcess, path: str, keys: set[str]) -> None:
    detail = sandbox.request("GET", path).json()
    assert keys | {"resource_uri"} <= set(detail)
    assert detail["resource_uri"] == path
    collection = path.rsplit("/", 2)[0]
    assert detail in objects(sandbox, f"{collection}/?limit=1000")


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("/v2/perks/?business=41&classification=REDEEM", [123458, 123463]),
        ("/v2/perks/?business=42", [223456]),
    ],
)
def test_perks_are_filtered(sandbox: SandboxProcess, path: str, ids: list[int]) -> None:
    assert [each["perk_id"] for each in objects(sandbox, path)] == ids


def test_the_seed_has_something_to_refuse(sandbox: SandboxProcess) -> None:
    locations = {each["location_id"]: each["status"] for each in objects(sandbox, "/v2/locations/?business=41")}
    assert locations == {7: "ACTIVE", 9: "INACTIVE"}
    assert sandbox.request("GET", "/v2/perks/123459/").json()["status"] == "INACTIVE"
    assert sandbox.request("GET", "/v2/perks/123458/").json()["classification"] == "REDEEM"


def test_users_write_time_with_a_space_and_the_rest_with_a_t(sandbox: SandboxProcess) -> None:
    (user,) = objects(sandbox, "/v2/users/?emails__email=customer%2B0@example.com")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", str(user["last_mod_dt"]))
    connection = sandbox.request("GET", "/v2/connections/1/").json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", connection["last_mod_dt"])


def test_me_is_the_owner_of_the_token(sandbox: SandboxProcess) -> None:
    assert sandbox.request("GET", "/v2/users/me/").json()["user_id"] == 1


def test_balances_are_found_by_business(sandbox: SandboxProcess) -> None:
    balances = objects(sandbox, "/v2/connection-balances/?business=41")
    assert len(balances) == 5
    connection = sandbox.request("GET", str(balances[0]["connection"])).json()
    assert connection["point_balance"] == balances[0]["balance"]


def test_custom_attributes_are_merged(sandbox: SandboxProcess) -> None:
    def patch(attributes: object) -> object:
        response = sandbox.request("PATCH", "/v2/connections/1/", body={"custom_attributes": attributes})
        assert response.status == 200
        return response.json()["custom_attributes"]

    assert patch({"vip": True, "tier": "gold"}) == {"vip": True, "tier": "gold"}
    assert patch({"vip": False, "spend": 9.99}) == {"vip": False, "tier": "gold", "spend": 9.99}
    assert patch({"tier": None}) == {"vip": False, "spend": 9.99}
    assert sandbox.request("GET", "/v2/connections/1/").json()["custom_attributes"] == {"vip": False, "spend": 9.99}
    assert sandbox.request("GET", "/v2/connections/2/").json()["custom_attributes"] == {}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"status": "ACTIVE"}, id="another-field"),
        pytest.param({}, id="nothing"),
        pytest.param({"custom_attributes": [1]}, id="list"),
        pytest.param({"custom_attributes": {"a": {"b": 1}}}, id="nested"),
        pytest.param({"custom_attributes": {"": 1}}, id="nameless"),
        pytest.param(b"{", id="broken"),
    ],
)
def test_a_patch_that_is_not_understood_is_refused(sandbox: SandboxProcess, body: object) -> None:
    assert sandbox.request("PATCH", "/v2/connections/3/", body=body).status == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/perks/5/", 404),
        ("GET", "/v2/perks/abc/", 404),
        ("GET", "/v2/perks/" + "9" * 30 + "/", 404),
        ("GET", "/v2/vouchers/", 404),
        ("PATCH", "/v2/connections/999/", 404),
        ("POST", "/v2/perks/", 405),
        ("DELETE", "/v2/transactions/", 405),
        ("PUT", "/v2/transactions/1/", 405),
        ("DELETE", "/v2/connections/1/", 405),
        ("POST", "/v2/transactions", 404),
    ],
)
def test_what_is_not_there_is_shown_in_the_v2_body(
    sandbox: SandboxProcess, method: str, path: str, status: int
) -> None:
    response = sandbox.request(method, path)
    assert response.status == status
    assert set(response.json()) == {"error_type", "errors"}


def test_a_read_without_the_trailing_slash_is_sent_on(sandbox: SandboxProcess) -> None:
    response = sandbox.request("GET", "/v2/perks?business=41")
    assert (response.status, response.headers["location"]) == (301, "/v2/perks/?business=41")


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong", "Basic c2FuZGJveC10b2tlbjo=", "sandbox-token"]
)
def test_only_a_bearer_token_opens_the_api(sandbox: SandboxProcess, authorization: str) -> None:
    response = sandbox.request("GET", "/v2/businesses/41/", headers={"Authorization": authorization})
    assert response.status == 401
    assert response.json()["error_type"] == "oauth_error"
    assert response.json()["errors"]["__all__"][0]["code"] == "invalid_token"


def test_a_caller_that_does_not_say_who_it_is_meets_the_edge(sandbox: SandboxProcess) -> None:
    response = sandbox.request("GET", "/v2/businesses/41/", headers={"User-Agent": ""})
    assert (response.status, response.headers["content-type"]) == (403, "text/html; charset=utf-8")

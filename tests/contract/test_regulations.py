"""Regulations: what they suppress and delete, and what stays."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.contract.privacy_world import (
    ANN,
    BOB,
    CONFIG,
    HOOK,
    get,
    order,
    post,
    process,
    regulate,
    traces_of,
    transactions,
)

from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import EffectState
from punchcard.testing.examples import examples
from punchcard.testing.public_api import PublicApiServer

# --- suppression


@pytest.mark.parametrize(("by", "subject"), [("USER_ID", ANN[0]), ("EMAIL", ANN[1].upper()), ("ANONYMOUS_ID", ANN[2])])
def test_events_of_a_suppressed_person_earn_nothing_and_leave_nothing(
    api: PublicApiServer, tmp_path: Path, store_url: str, by: str, subject: str
) -> None:
    regulate(api, "SUPPRESS_ONLY", subject, by=by)
    api.clock.advance(1)
    ann, bob = order(ANN, 1), order(BOB, 2)
    api.send({"batch": [ann, bob]}, call="batch")
    api.send(order(ANN, 3), write_key="wk_till")
    process(api)
    api.run_regulations(rounds=3)
    event = api.request("GET", "/api/events/m-1").json()["data"]["event"]
    result = api.request("GET", "/api/events/m-1").json()["data"]["results"]
    assert [(row["status"], row["reason"]) for row in result] == [("filtered_at_source", "suppressed")]
    assert "userId" not in event
    assert api.request("GET", "/api/events/m-2").json()["data"]["results"][0]["status"] == "delivered"
    assert [effect["email"] for effect in transactions(api)] == [BOB[1]]
    api.store.discard_deleted()
    assert traces_of(tmp_path, store_url, *ANN) == []


@pytest.mark.parametrize(("by", "subject"), [("USER_ID", ANN[0]), ("EMAIL", ANN[1]), ("ANONYMOUS_ID", ANN[2])])
def test_nothing_is_left_of_a_suppressed_person_in_what_a_batch_shares_and_in_items_that_are_no_events(
    api: PublicApiServer, tmp_path: Path, store_url: str, by: str, subject: str
) -> None:
    regulate(api, "SUPPRESS_ONLY", subject, by=by)
    api.clock.advance(1)
    context = {"traits": {"email": ANN[1]}, "ip": "9.9.9.9"}
    named = {"userId": ANN[0], "anonymousId": ANN[2]}
    visit = {"type": "track", "event": "Visit", "messageId": "m-1", **named}
    other = order(BOB, 2, context={"traits": {"email": BOB[1]}})
    api.send({"batch": [visit, other], "context": context, "junk": ANN[0]}, call="batch")
    without_name = {"type": "track", "messageId": f"m-3-{ANN[1]}", **named, "properties": {"email": ANN[1]}}
    strange = {
        "type": "nothing",
        "messageId": "m-4",
        "userId": ANN[0],
        "anonymousId": ANN[2],
        "traits": context["traits"],
    }
    api.send({"batch": [without_name, strange, order(BOB, 5)]}, call="batch")
    process(api)
    api.run_regulations(rounds=3)
    for number in (1, 4):
        results = api.request("GET", f"/api/events/m-{number}").json()["data"]["results"]
        assert [(row["status"], row["reason"]) for row in results] == [("filtered_at_source", "suppressed")]
    assert [row["messageId"] for row in transactions(api)] == ["m-5", "m-2"]
    api.store.discard_deleted()
    assert traces_of(tmp_path, store_url, *ANN) == []


def test_suppression_ends_with_unsuppress_and_can_be_of_one_source(api: PublicApiServer) -> None:
    body = {"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": [ANN[0]]}
    post(api, body, "/api/regulations/sources/till")
    api.clock.advance(1)
    api.send(order(ANN, 1))
    api.send(order(ANN, 2), write_key="wk_till")
    process(api)
    assert [row["messageId"] for row in transactions(api)] == ["m-1"]
    suppressed = api.request("GET", "/api/suppressions").json()["data"]["suppressed"]
    assert suppressed == [{"subjectType": "USER_ID", "subjectIds": [ANN[0]], "source": "till"}]
    post(api, {**body, "regulationType": "UNSUPPRESS"}, "/api/regulations/sources/till")
    api.clock.advance(1)
    api.send(order(ANN, 3), write_key="wk_till")
    process(api)
    assert [row["messageId"] for row in transactions(api)] == ["m-3", "m-1"]
    assert api.request("GET", "/api/suppressions").json()["data"]["suppressed"] == []


def test_a_person_seen_at_another_source_is_suppressed_at_its_own(api: PublicApiServer) -> None:
    regulate(api, "SUPPRESS_ONLY", BOB[0], by="USER_ID")
    body = {"regulationType": "SUPPRESS_ONLY", "subjectType": "USER_ID", "subjectIds": [ANN[0]]}
    post(api, body, "/api/regulations/sources/till")
    api.clock.advance(1)
    api.send(order(ANN, 1))
    process(api)
    api.send({"batch": [order(BOB, 2), order(ANN, 3)]}, call="batch", write_key="wk_till")
    process(api)
    assert [row["messageId"] for row in transactions(api)] == ["m-1"]


def test_a_source_cannot_end_what_the_workspace_suppresses(api: PublicApiServer) -> None:
    regulate(api, "SUPPRESS_ONLY", ANN[0])
    body = {"regulationType": "UNSUPPRESS", "subjectType": "USER_ID", "subjectIds": [ANN[0]]}
    regulation = get(api, post(api, body, "/api/regulations/sources/till"))
    assert (regulation["overallStatus"], "all sources" in regulation["detail"]) == ("FAILED", True)
    api.clock.advance(1)
    api.send(order(ANN, 1))
    process(api)
    assert transactions(api) == []


def test_queued_awards_and_replays_of_a_suppressed_person_are_not_sent(api: PublicApiServer) -> None:
    api.send(order(ANN, 1), order(BOB, 2))
    api.route()
    api.feed_lake()
    api.engage()
    regulation = regulate(api, "SUPPRESS_ONLY", ANN[0])
    api.run_regulations(rounds=4)
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    api.deliver(rounds=3)
    rows = {row["messageId"]: (row["state"], row["reason"]) for row in transactions(api)}
    assert rows["m-1"] == ("rejected", "subject_suppressed")
    assert rows["m-2"][0] == "delivered"


# --- deletion


@pytest.mark.sample(4)
@pytest.mark.parametrize(("by", "subject"), [("USER_ID", ANN[0]), ("EMAIL", ANN[1]), ("ANONYMOUS_ID", ANN[2])])
@pytest.mark.parametrize("type_", ["SUPPRESS_WITH_DELETE", "DELETE_INTERNAL"])
def test_nothing_is_left_of_a_deleted_person_and_the_neighbor_is_whole(
    api: PublicApiServer, tmp_path: Path, store_url: str, by: str, subject: str, type_: str
) -> None:
    identify = {"userId": ANN[0], "anonymousId": ANN[2], "traits": {"email": ANN[1], "city": "Graz"}}
    api.send(identify, call="identify")
    api.send({**identify, "type": "identify"}, call="track")  # fails on ingest: a track call without a name
    api.send({"batch": [order(ANN, 1), order(BOB, 2)], "sentAt": "2026-01-02T03:04:05Z"}, call="batch")
    api.send(order(ANN, 3), b'{"messageId": "m-4", "userId": "' + ANN[0].encode() + b'", "properties": 1}')
    # A conflict: another person claims the same order.
    api.send(order(BOB, 5, properties={"email": BOB[1], "order_id": "o-1", "revenue": "9.99"}))
    process(api)
    before = [row for row in transactions(api) if row["email"] == BOB[1]]
    bobs = api.request("GET", "/api/events/m-2").json()
    assert traces_of(tmp_path, store_url, ANN[1]) != []
    regulation = regulate(api, type_, subject, by=by)
    api.run_regulations()
    view = get(api, regulation)
    assert view["overallStatus"] == ("FINISHED" if type_ == "DELETE_INTERNAL" else "PARTIAL_SUCCESS"), view
    assert view["lastTraceAt"] is not None
    assert {step["status"] for step in view["storeStatus"]} == {"FINISHED"}
    assert traces_of(tmp_path, store_url, *ANN) == []
    after = [row for row in transactions(api) if row["email"] == BOB[1]]
    assert after == before
    assert api.request("GET", "/api/events/m-2").json() == bobs
    deleted = [row for row in transactions(api) if row["email"] != BOB[1]]
    assert len({row["email"] for row in deleted}) == 1
    assert deleted[0]["email"].startswith("deleted:")
    assert [(row["state"], row["quantity"]) for row in deleted] == [("delivered", "9.99"), ("delivered", "9.99")]


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("type_", "deletes", "suppresses", "forwards"),
    [
        ("SUPPRESS_ONLY", False, True, False),
        ("UNSUPPRESS", False, False, False),
        ("DELETE_ONLY", True, False, True),
        ("DELETE_INTERNAL", True, False, False),
        ("DELETE_ARCHIVE_ONLY", True, False, False),
        ("SUPPRESS_WITH_DELETE", True, True, True),
        ("SUPPRESS_WITH_DELETE_INTERNAL", True, True, False),
    ],
)
def test_a_regulation_of_a_source_is_about_its_events_only(
    tmp_path: Path, store_url: str, type_: str, deletes: bool, suppresses: bool, forwards: bool
) -> None:
    """Promise: events of the source go from log, lake and ledger; profile, awards and other sources stay."""
    with PublicApiServer(tmp_path, store_url, CONFIG + HOOK.format(url="http://127.0.0.1:1/")) as api:
        api.send(order(ANN, 1, context={"app": {"name": "only-website"}}), order(BOB, 2))
        api.send(order(ANN, 3), write_key="wk_till")
        process(api)
        awards = transactions(api)
        body = {"regulationType": type_, "subjectType": "USER_ID", "subjectIds": [ANN[0]]}
        regulation = post(api, body, "/api/regulations/sources/website")
        api.run_regulations()
        view = get(api, regulation)
        unsent = forwards and view["overallStatus"] == "RUNNING"  # nobody answers at the address of the hook
        assert unsent or view["overallStatus"] == "FINISHED", view
        assert view["streamStatus"][0]["id"] == "website"
        requested = [step["id"] for step in view["streamStatus"][0]["destinationStatus"]]
        assert ("hook" in requested) == forwards
        is_stored = {n: api.request("GET", f"/api/events/m-{n}").status == 200 for n in (1, 2, 3)}
        assert is_stored == {1: not deletes, 2: True, 3: True}
        log = b"".join(record.body for record in api.log.read(0, records_max=99, bytes_max=10**7))
        assert (b"only-website" in log) == (not deletes)
        if not unsent:
            assert bool(traces_of(tmp_path, store_url, "only-website")) == (not deletes)
        assert [(row["email"], row["state"]) for row in transactions(api)[-len(awards) :]] == [
            (
                row["email"],
                "rejected" if suppresses and not deletes and row["effectKey"].endswith("o-1") else row["state"],
            )
            for row in awards
        ]
        assert api.request("GET", f"/api/profiles/user_id:{ANN[0]}/traits").status in (200, 404)
        api.send(order(ANN, 4))
        api.send(order(ANN, 5), write_key="wk_till")
        process(api)
        results = {n: api.request("GET", f"/api/events/m-{n}").json()["data"]["results"][0] for n in (4, 5)}
        assert (results[4]["reason"] == "suppressed") == suppresses
        assert results[5]["reason"] != "suppressed"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 404, "There is no cloud source website. website is a source of events: use /regulations/sources/website."),
        ({"subjectType": "USER_ID"}, 400, "The subject type of a cloud source is OBJECT_ID."),
        ({"regulationType": "DELETE_ARCHIVE_ONLY"}, 400, "DELETE_ARCHIVE_ONLY is not for cloud sources."),
    ],
)
def test_there_are_no_cloud_sources(api: PublicApiServer, body: dict[str, str], status: int, message: str) -> None:
    usual = {"regulationType": "DELETE_ONLY", "subjectType": "OBJECT_ID", "subjectIds": ["o-1"], "collection": "people"}
    response = api.request("POST", "/api/regulations/cloudsources/website", json.dumps({**usual, **body}).encode())
    assert response.status == status
    assert response.json()["errors"][0]["message"] == message


FORWARDED_DELETION = {"batch": [{"type": "delete", "userId": "u-9", "messageId": "d-9", "integrations": None}]}


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "received",
    [
        [],
        [("track", order(BOB, 1))],
        [("track", order(BOB, 1)), ("webhook", FORWARDED_DELETION)],  # no event, so nothing to write to the lake
        [("webhook", FORWARDED_DELETION)],
        [("batch", b"not JSON")],
    ],
    ids=["nothing", "events of others", "a forwarded deletion at last", "a forwarded deletion", "nothing readable"],
)
@pytest.mark.parametrize("type_", ["DELETE_ONLY", "SUPPRESS_WITH_DELETE", "SUPPRESS_ONLY"])
def test_a_regulation_of_an_unknown_person_waits_for_nothing(
    api: PublicApiServer, received: list[tuple[str, Any]], type_: str
) -> None:
    """Promise: whatever was received, the worker finishes it in its next steps; only replaced files have a time."""
    for call, body in received:
        api.send(body, call=call)
    regulation = regulate(api, type_, "nobody-at-all")
    runner = api.deletion_runner()
    for _ in range(8):
        api.route()
        api.feed_lake()
        api.engage()
        runner.step()
        api.clock.advance(1)
    view = get(api, regulation)
    assert view["overallStatus"] in ("FINISHED", "PARTIAL_SUCCESS"), view


def test_replaced_files_that_name_nobody_are_not_waited_for(api: PublicApiServer) -> None:
    """Promise: only a deletion with events in replaced files waits for their readers."""
    api.send(order(ANN, 1), order(BOB, 2))
    process(api)
    of_ann = regulate(api, "DELETE_INTERNAL", ANN[0])
    of_nobody = regulate(api, "DELETE_INTERNAL", "nobody-at-all")
    runner = api.deletion_runner()
    for _ in range(8):
        api.route()
        api.feed_lake()
        api.engage()
        runner.step()
        api.clock.advance(1)
    assert get(api, of_nobody)["overallStatus"] == "FINISHED"
    assert get(api, of_ann)["overallStatus"] == "RUNNING"
    api.clock.advance(60)
    runner.step()
    assert get(api, of_ann)["overallStatus"] == "FINISHED"


def test_the_same_order_earns_nothing_twice_after_a_deletion(api: PublicApiServer) -> None:
    api.send(order(ANN, 1))
    process(api)
    regulate(api, "DELETE_ONLY", ANN[0])
    api.run_regulations()
    performed = list(api.partner.keys())
    api.restart_routing()
    api.send(order(ANN, 1), {**order(ANN, 9), "properties": order(ANN, 1)["properties"]})
    process(api)
    assert list(api.partner.keys()) == performed
    results = api.request("GET", "/api/events/m-9").json()["data"]["results"]
    assert [(row["status"], row["reason"]) for row in results] == [("duplicate", "same_effect")]


def test_awards_in_flight_are_read_back_before_their_customer_is_deleted(api: PublicApiServer) -> None:
    api.send(order(ANN, 1))
    api.route()
    api.feed_lake()
    api.engage()
    api.claim()
    regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "RUNNING"
    assert "in delivery" in get(api, regulation)["detail"]
    api.clock.advance(3_600)
    api.deliver(rounds=5)
    api.clock.advance(60)
    api.deliver(rounds=5)
    api.run_regulations(rounds=3)
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    with api.store.reading() as work:
        rows = ledger.page(work, ledger.LedgerQuery(destination="perkville"), count=10)
    assert [(row.state, row.customer[:8]) for row in rows] == [(EffectState.DELIVERED, "deleted:")]


def test_unsent_awards_of_a_deleted_person_are_not_retried(api: PublicApiServer) -> None:
    api.send(order(ANN, 1))
    api.route()
    api.feed_lake()
    api.engage()
    regulate(api, "DELETE_INTERNAL", ANN[0])
    api.run_regulations()
    (row,) = transactions(api)
    assert (row["state"], row["reason"]) == ("rejected", "subject_deleted")
    api.request(
        "POST",
        "/api/destinations/perkville/transactions/retry",
        json.dumps({"reason": "subject_deleted"}).encode(),
    )
    api.deliver(rounds=3)
    assert api.partner.keys() == []


# --- Segment's shapes


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"regulationType": "FORGET", "subjectType": "USER_ID", "subjectIds": ["a"]}, "regulationType"),
        ({"regulationType": "DELETE_ONLY", "subjectType": "OBJECT_ID", "subjectIds": ["a"]}, "subjectType"),
        ({"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": []}, "subjectIds"),
        ({"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": [" "]}, "subjectIds"),
        ({"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": ["x" * 501]}, "subjectIds"),
        ({"regulationType": "DELETE_ONLY", "subjectType": "EMAIL", "subjectIds": ["ann"]}, "subjectIds"),
        (
            {"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": [f"u{n}" for n in range(5_001)]},
            "subjectIds",
        ),
    ],
)
def test_what_is_not_a_regulation_is_refused(api: PublicApiServer, body: dict[str, Any], field: str) -> None:
    response = api.request("POST", "/api/regulations", json.dumps(body).encode())
    assert (response.status, response.error["field"]) == (400, field)
    assert api.request("GET", "/api/regulations").json()["data"]["regulations"] == []


def test_a_subject_that_is_none_is_named_by_its_number(api: PublicApiServer) -> None:
    body = {"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": ["a", "a", "b", "x" * 501]}
    response = api.request("POST", "/api/regulations", json.dumps(body).encode())
    assert response.error["message"] == "Subject 4 must have 1 to 500 characters."


def test_a_regulation_can_be_listed_read_and_removed_until_it_begins(api: PublicApiServer) -> None:
    regulation = regulate(api, "SUPPRESS_WITH_DELETE", *(f"user-{number}" for number in range(5_000)))
    (entry,) = api.request("GET", "/api/regulations?status=INITIALIZED").json()["data"]["regulations"]
    assert (entry["id"], entry["subjectType"], len(entry["subjects"])) == (regulation, "USER_ID", 5_000)
    assert api.request("GET", "/api/regulations?regulationTypes=UNSUPPRESS").json()["data"]["regulations"] == []
    view = get(api, regulation)
    assert view["overallStatus"] == "INITIALIZED"
    assert view["streamStatus"] == [{"id": "workspace", "destinationStatus": []}]
    assert api.request("GET", "/api/suppressions").json()["data"]["pagination"]["totalEntries"] == 5_000
    assert api.request("DELETE", f"/api/regulations/{regulation}").json() == {"data": {"status": "SUCCESS"}}
    assert api.request("GET", "/api/suppressions").json()["data"]["suppressed"] == []
    assert api.request("GET", f"/api/regulations/{regulation}").status == 404
    begun = regulate(api, "DELETE_ONLY", "somebody")
    api.run_regulations(rounds=1)
    assert api.request("DELETE", f"/api/regulations/{begun}").status == 422


# --- forwarding

WEBHOOK = """
[[destinations]]
slug = "hook"
type = "webhooks"
sources = ["website"]
[destinations.settings]
url = "https://example.com/hook"
"""


def test_a_webhook_gets_a_delete_message_and_perkville_says_what_to_do(
    api: PublicApiServer, tmp_path: Path, store_url: str
) -> None:
    api.configure(CONFIG + WEBHOOK)
    api.send(order(ANN, 1))
    process(api)
    api.deliver(slug="hook", rounds=3)
    regulation = regulate(api, "DELETE_ONLY", ANN[0])
    api.run_regulations(rounds=12)
    assert get(api, regulation)["overallStatus"] == "RUNNING"
    with api.store.reading() as work:
        (call,) = [
            row
            for row in ledger.page(work, ledger.LedgerQuery(destination="hook"), count=10)
            if row.event_name == "delete"
        ]
    message = json.loads(call.payload or "")["body"]
    assert {key: message[key] for key in ("type", "userId", "messageId")} == {
        "type": "delete",
        "userId": ANN[0],
        "messageId": f"regulation-{regulation}-0",
    }
    api.deliver(slug="hook", rounds=3)
    api.run_regulations(rounds=3)
    view = get(api, regulation)
    assert view["overallStatus"] == "PARTIAL_SUCCESS"
    statuses = {row["id"]: (row["status"], row["errString"]) for row in view["streamStatus"][0]["destinationStatus"]}
    assert statuses["hook"] == ("FINISHED", "")
    assert statuses["perkville"][0] == "NOT_SUPPORTED"
    assert "in Perkville" in statuses["perkville"][1]
    assert traces_of(tmp_path, store_url, *ANN) == []


# --- crashes

# Units of work. The first third are spread over the whole deletion, as are all.
INTERRUPTED_AFTER = (1, 10, 19, 4, 7, 13, 16, 22, 25)


@pytest.mark.parametrize("points", INTERRUPTED_AFTER[: examples(9, part=3)])
def test_a_deletion_ends_in_the_same_state_wherever_it_is_interrupted(
    api: PublicApiServer, tmp_path: Path, store_url: str, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.send({"batch": [order(ANN, 1), order(BOB, 2)]}, call="batch")
    api.send(order(ANN, 3))
    process(api)
    bobs = api.request("GET", "/api/events/m-2").json()
    regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
    left, intervals = [points], [points]
    unit_of_work = api.store.unit_of_work

    @contextmanager
    def interrupted() -> Iterator[Connection]:
        """End the process before the commit of a unit of work, again and again, with more and more between."""
        with unit_of_work() as work:
            yield work
            left[0] -= 1
            if left[0] == 0:
                intervals.append(2 * intervals[-1])
                left[0] = intervals[-1]
                raise KeyboardInterrupt

    rounds_after_end = 0
    for _ in range(60):
        api.route()
        api.feed_lake()
        monkeypatch.setattr(api.store, "unit_of_work", interrupted)
        for act in (api.engage, lambda: api.deletion_runner().step()):
            with suppress(KeyboardInterrupt):
                act()
        monkeypatch.setattr(api.store, "unit_of_work", unit_of_work)
        api.clock.advance(10)
        rounds_after_end += get(api, regulation)["overallStatus"] == "FINISHED"
        if rounds_after_end == 10:
            break
    assert get(api, regulation)["overallStatus"] == "FINISHED", get(api, regulation)
    assert traces_of(tmp_path, store_url, *ANN) == []
    assert api.request("GET", "/api/events/m-2").json() == bobs
    assert sorted(row["status"] for row in transactions(api)) == ["delivered"] * 3

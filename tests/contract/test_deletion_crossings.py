"""Deletions beside all else that happens to the awards of a person: each is given once, and nothing names them."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from tests.contract.privacy_world import ANN, BOB, CONFIG, get, order, process, regulate, traces_of, transactions

from punchcard.lake.writer import LakeWriter
from punchcard.store.delivery.recoveries import RecoveryReason, start_recovery
from punchcard.store.delivery.schema import effect_subjects
from punchcard.store.engage.profiles import owners_of, traits_of
from punchcard.testing.damage import damage, restore, with_condition
from punchcard.testing.partner.scripted import Step
from punchcard.testing.public_api import PublicApiServer

KEY = "SEG:perkville:ORDER:o-1:order-completed"
CAROL = ("user-of-carol-0817", ANN[1], "device-of-carol-4713")
PLACES = "/api/destinations/perkville"


def alias(previous: str, user: str, number: int) -> dict[str, Any]:
    """A call that says that a person has another user id now."""
    return {"type": "alias", "messageId": f"m-{number}", "userId": user, "previousId": previous}


def refund(person: tuple[str, str, str], number: int, order_number: int) -> dict[str, Any]:
    """The refund of an order."""
    event = order(person, number, event="Order Refunded")
    event["properties"]["order_id"] = f"o-{order_number}"
    return event


def results_of(api: PublicApiServer, number: int) -> list[tuple[str, str | None]]:
    """The results of an event."""
    results = api.request("GET", f"/api/events/m-{number}").json()["data"]["results"]
    return [(row["status"], row["reason"]) for row in results]


def delivered_units(api: PublicApiServer) -> list[str]:
    """The quantities that the partner has booked."""
    return sorted(str(booking.effect.quantity) for booking in api.partner.book)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("sends", "booked"),
    [
        ([Step.BUSY] * 9, []),
        ([Step.LOSE_RESPONSE], ["9.99"]),
        ([Step.LOSE_REQUEST], ["9.99"]),
        ([Step.REJECT], []),
        ([Step.BREAK], ["9.99"]),
        ([], ["9.99"]),
    ],
    ids=["waits for a retry", "response lost", "request lost", "rejected", "fails unexpectedly", "delivered"],
)
def test_an_award_is_given_once_at_most_whatever_state_a_deletion_finds_it_in(
    api: PublicApiServer, tmp_path: Path, store_url: str, sends: list[Step], booked: list[str]
) -> None:
    api.partner.script(KEY, sends)
    api.send(order(ANN, 1), order(BOB, 2))
    process(api)
    regulation = regulate(api, "DELETE_ONLY", ANN[0])
    api.run_regulations()
    for _ in range(4):  # what was in flight is read back before its customer is deleted
        api.clock.advance(3_600)
        api.deliver(rounds=3)
        api.run_regulations(rounds=5)
    assert get(api, regulation)["overallStatus"] == "PARTIAL_SUCCESS", get(api, regulation)
    for reason in ("subject_deleted", ""):
        body = json.dumps({"reason": reason} if reason else {}).encode()
        api.request("POST", f"{PLACES}/transactions/retry", body)
    again = {**order(ANN, 9), "properties": order(ANN, 1)["properties"]}
    api.send(again)  # the same order in another message
    process(api)
    api.clock.advance(3_600)
    api.deliver(rounds=3)
    assert delivered_units(api) == sorted([*booked, "9.99"])  # and Bob's
    assert api.partner.booked_twice() == []
    assert results_of(api, 9) == [("duplicate", "same_effect")]
    assert [row["email"][:8] for row in transactions(api) if row["effectKey"] == KEY] == ["deleted:"]
    second = regulate(api, "DELETE_ONLY", ANN[0])
    api.run_regulations()
    assert get(api, second)["overallStatus"] == "PARTIAL_SUCCESS"
    assert traces_of(tmp_path, store_url, *ANN) == []


def test_a_refund_of_a_deleted_persons_order_waits_for_an_operator(api: PublicApiServer) -> None:
    api.configure(CONFIG.replace('"Checked In" = "123457"', '"Order Refunded" = "123456"'))
    api.watch.refresh()
    api.send(order(ANN, 1))
    process(api)
    regulate(api, "DELETE_ONLY", ANN[0])
    api.run_regulations()
    api.send(refund(ANN, 7, 1))
    process(api)
    assert delivered_units(api) == ["9.99"]
    (row,) = [row for row in transactions(api) if row["messageId"] == "m-7"]
    assert (row["state"], row["reason"]) == ("parked", "refund_other_customer")
    assert "order o-1 was awarded to a customer who was deleted since" in row["detail"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_files_that_are_merged_beside_a_deletion_keep_nothing_of_the_person(
    api: PublicApiServer, tmp_path: Path, store_url: str, when: str
) -> None:
    for number in range(20):  # enough small files to merge
        api.send(order(ANN if number % 2 else BOB, number))
        api.route()
        api.feed_lake()
    process(api)
    api.deliver(rounds=20)
    lake = LakeWriter(api.lake_location, clock=api.clock)
    regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
    merged = lake.compact() if when == "before" else 0
    runner = api.deletion_runner()
    for _ in range(30):
        api.route()
        api.feed_lake()
        api.engage()
        runner.step()
        merged += lake.compact()
        api.clock.advance(10)
    assert merged > 0
    assert get(api, regulation)["overallStatus"] == "FINISHED", get(api, regulation)
    assert traces_of(tmp_path, store_url, *ANN) == []
    assert api.request("GET", "/api/events/m-2").status == 200
    assert len(api.partner.keys()) == 20


def test_a_replay_beside_a_deletion_gives_nothing_twice_and_keeps_nothing(
    api: PublicApiServer, tmp_path: Path, store_url: str
) -> None:
    api.send(order(ANN, 1), order(BOB, 2))
    process(api)
    before = api.partner.keys()
    regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
    response = api.request("POST", f"{PLACES}/replays", json.dumps({"messageIds": ["m-1", "m-2"]}).encode())
    assert response.status == 200, response.body
    api.run_replays()
    api.run_regulations()
    api.run_replays()
    api.deliver(rounds=3)
    api.run_regulations(rounds=3)
    assert get(api, regulation)["overallStatus"] == "FINISHED", get(api, regulation)
    assert api.partner.keys() == before
    assert traces_of(tmp_path, store_url, *ANN) == []


def test_a_person_with_very_many_events_is_deleted(api: PublicApiServer, tmp_path: Path, store_url: str) -> None:
    for begin in range(0, 2_000, 500):
        batch = [order(ANN, number, event="Viewed") for number in range(begin, begin + 500)]
        api.send({"batch": [*batch, order(BOB, 10_000 + begin)]}, call="batch")
    process(api)
    api.deliver(rounds=4)
    regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    assert traces_of(tmp_path, store_url, *ANN) == []
    assert len(api.partner.keys()) == 4


@pytest.mark.parametrize("by", ["user id", "anonymous id"])
def test_an_alias_call_with_the_id_of_a_deleted_person_is_deleted(
    api: PublicApiServer, tmp_path: Path, store_url: str, by: str
) -> None:
    previous = ANN[0] if by == "user id" else ANN[2]
    api.send({"batch": [order(ANN, 1), order(BOB, 2), alias(previous, BOB[0], 3)]}, call="batch")
    process(api)
    regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    assert traces_of(tmp_path, store_url, *ANN) == []
    assert api.request("GET", "/api/events/m-2").status == 200
    assert [row["email"] for row in transactions(api) if row["messageId"] == "m-2"] == [BOB[1]]


@pytest.mark.parametrize(("by", "subject"), [("USER_ID", ANN[0]), ("ANONYMOUS_ID", ANN[2])])
def test_an_alias_call_with_the_id_of_a_suppressed_person_is_refused(
    api: PublicApiServer, tmp_path: Path, store_url: str, by: str, subject: str
) -> None:
    regulate(api, "SUPPRESS_WITH_DELETE_INTERNAL", subject, by=by)
    api.clock.advance(1)
    api.send(
        alias(subject, BOB[0], 1), alias(subject, f"{BOB[0]}-2", 2), alias("somebody-else", BOB[0], 3), call="alias"
    )
    process(api)
    api.run_regulations()
    assert results_of(api, 1) == results_of(api, 2) == [("filtered_at_source", "suppressed")]
    assert results_of(api, 3) != results_of(api, 1)
    assert traces_of(tmp_path, store_url, subject) == []


@pytest.mark.parametrize(("by", "subject"), [("USER_ID", ANN[0]), ("ANONYMOUS_ID", ANN[2])])
def test_events_of_another_person_with_the_same_email_are_kept_and_named(
    api: PublicApiServer, by: str, subject: str
) -> None:
    api.send(order(ANN, 1), order(CAROL, 2))
    process(api)
    regulation = regulate(api, "DELETE_INTERNAL", subject, by=by)
    api.run_regulations()
    details = {row["id"]: row["detail"] for row in get(api, regulation)["storeStatus"]}
    assert details.pop("lake").startswith("Kept: 1 of another person's events with the same email or anonymous id.")
    assert set(details.values()) == {""}
    assert results_of(api, 2) != []
    regulation = regulate(api, "DELETE_INTERNAL", CAROL[0])
    api.run_regulations()
    assert {row["detail"] for row in get(api, regulation)["storeStatus"]} == {""}


@pytest.mark.parametrize("type_", ["DELETE_ONLY", "SUPPRESS_WITH_DELETE"])
def test_a_deletion_by_email_leaves_nothing_of_it_under_other_user_ids(
    api: PublicApiServer, tmp_path: Path, store_url: str, type_: str
) -> None:
    own, guest = ("user-of-carol-0817", "carol.cook@example.com", "device-of-carol-4713"), "guest-of-the-shop-17"
    api.send({"userId": own[0], "traits": {"email": own[1], "city": "Graz"}}, call="identify")
    api.send({"userId": ANN[0], "anonymousId": ANN[2], "traits": {"email": ANN[1]}}, call="identify")
    api.send({"userId": own[0], "traits": {"email": ANN[1].upper(), "phone": "12345"}}, call="identify")
    in_context = {"context": {"traits": {"email": ANN[1]}}, "properties": {"order_id": "o-2", "revenue": "9.99"}}
    api.send(order(ANN, 1), order(CAROL, 2, **in_context), order(own, 3), order((guest, ANN[1], "d-guest"), 4))
    process(api)
    api.send(order(CAROL, 5))  # not computed, and not in the lake
    api.route()
    regulation = regulate(api, type_, ANN[1], by="EMAIL")
    api.run_regulations()
    api.deliver(rounds=3)
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "PARTIAL_SUCCESS", get(api, regulation)
    assert traces_of(tmp_path, store_url, *ANN) == []
    emails = {row["messageId"]: row["email"] for row in transactions(api)}
    assert emails.pop("m-3") == own[1]
    assert sorted(emails) == ["m-1", "m-2", "m-4", "m-5"]
    assert all(email.startswith("deleted:") for email in emails.values())
    assert results_of(api, 3) == [("delivered", None)]
    with api.store.reading() as work:
        (carol,) = owners_of(work, {("user_id", own[0])}).values()
        assert owners_of(work, {("email", own[1])}) == {("email", own[1]): carol}
        assert {(trait.name, trait.value) for trait in traits_of(work, [carol])} == {
            ("city", '"Graz"'),
            ("phone", '"12345"'),
        }


def test_an_event_of_somebody_else_during_a_deletion_does_not_delete_their_profile(api: PublicApiServer) -> None:
    api.send({"userId": CAROL[0], "traits": {"city": "Graz"}}, call="identify")
    api.send({"userId": ANN[0], "traits": {"email": ANN[1]}}, call="identify")
    api.send(order(ANN, 1), order(CAROL, 2))
    process(api)
    regulation = regulate(api, "DELETE_ONLY", ANN[1], by="EMAIL")
    runner = api.deletion_runner()
    for number in range(30):
        runner.step()
        api.clock.advance(10)
        api.send(order(CAROL, 100 + number))  # gives the email, of which the profile is deleted, to another one
        process(api)
    assert get(api, regulation)["overallStatus"] == "PARTIAL_SUCCESS", get(api, regulation)
    with api.store.reading() as work:
        (carol,) = owners_of(work, {("user_id", CAROL[0])}).values()
        assert [trait.value for trait in traits_of(work, [carol])] == ['"Graz"']


def test_a_person_suppressed_by_email_is_refused_under_another_user_id_too(
    api: PublicApiServer, tmp_path: Path, store_url: str
) -> None:
    api.send(order(ANN, 1))
    process(api)
    regulation = regulate(api, "SUPPRESS_WITH_DELETE_INTERNAL", ANN[1], by="EMAIL")
    api.run_regulations()
    assert get(api, regulation)["overallStatus"] == "FINISHED"
    api.send(order((CAROL[0], ANN[1].upper(), CAROL[2]), 3))
    process(api)
    api.run_regulations()
    assert results_of(api, 3) == [("filtered_at_source", "suppressed")]
    assert len(api.partner.keys()) == 1
    api.store.discard_deleted()
    assert traces_of(tmp_path, store_url, *ANN, *CAROL) == []


FILTER = """
[[destinations.filters]]
title = "no staff"
if = "properties.staff = true"
actions = [{ type = "DROP" }]
"""
TRANSFORMATION = """
[[transformations]]
name = "Old shop"
source = "website"
{destination}
if = "event = 'order'"
newEventName = "Order Completed"
propertyRenames = [{{ oldName = "buyer", newName = "email" }}]
"""


@pytest.mark.parametrize("destination", ["", 'destination = "perkville"'], ids=["of the source", "of the destination"])
@pytest.mark.parametrize("is_held", [False, True], ids=["live", "held"])
def test_a_transformation_gives_nothing_to_a_suppressed_person(
    api: PublicApiServer, tmp_path: Path, store_url: str, destination: str, *, is_held: bool
) -> None:
    api.configure(CONFIG + FILTER + TRANSFORMATION.format(destination=destination))
    api.watch.refresh()
    whole = damage(api, with_condition("properties.staff = ")) if is_held else None
    regulate(api, "SUPPRESS_ONLY", ANN[1], by="EMAIL")
    api.clock.advance(1)
    events = []
    for person, number in ((ANN, 1), (BOB, 2)):
        event = order(person, number, event="order")
        event["properties"]["buyer"] = event["properties"].pop("email")
        events.append(event)
    api.send({"batch": events}, call="batch")
    process(api)
    if whole is not None:
        restore(api, whole)
        process(api)
    assert ("filtered_at_source", "suppressed") in results_of(api, 1)
    assert [row["email"] for row in transactions(api)] == [BOB[1]]
    if not destination:
        api.run_regulations(rounds=3)
        api.store.discard_deleted()
        assert traces_of(tmp_path, store_url, *ANN) == []


@pytest.mark.parametrize("is_restored", [True, False])
def test_a_deletion_that_cannot_know_the_email_of_a_restored_ledger_says_so(
    api: PublicApiServer, *, is_restored: bool
) -> None:
    now = api.clock.now()
    if is_restored:
        with api.store.unit_of_work() as work:
            start_recovery(
                work,
                reason=RecoveryReason.GENERATION,
                from_position=0,
                through_position=0,
                read_back_from=now,
                doubt_until=None,
                now=now,
            )
    api.send(order(BOB, 1))
    process(api)
    with api.store.unit_of_work() as work:  # as for an award of an earlier version
        work.execute(delete(effect_subjects))
    for person, is_unknown in ((ANN, True), (BOB, False)):
        regulation = regulate(api, "DELETE_ONLY", person[0])
        api.run_regulations()
        (ledger,) = [step for step in get(api, regulation)["storeStatus"] if step["name"] == "Ledger"]
        assert ("Delete it by email, too." in (ledger["detail"] or "")) == (is_unknown and is_restored)

"""Whatever the bytes are that come instead of a response of Perkville's API, no award is rejected, lost or doubled."""

import asyncio
import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from punchcard.destinations.port import DeliveredEffect, Performed
from punchcard.errors import DeliveryError, OutcomeUnknownError, RejectedError, RetryableError
from punchcard.testing.partner.server import (
    AWARD,
    GZIP,
    HTML,
    KEY,
    OTHER_KEY,
    VIP,
    ReceivedRequest,
    Reply,
    answering,
    connection,
    found_by,
    item,
    outcome_of,
    pages,
    returning,
    serving,
)

# No word of Perkville's API, with whatever status it comes.
UNREADABLE = [
    pytest.param(b"", {}, 0, id="empty"),
    pytest.param(b" \r\n", {}, 0, id="blanks"),
    pytest.param(HTML, {"Content-Type": "text/html"}, 0, id="page"),
    pytest.param(HTML, {}, 0, id="page-called-json"),
    pytest.param(b'{"transaction_id": 99, "classification": "EARN", "objects": [', {}, 0, id="truncated"),
    pytest.param(b'{"transaction_id": 99, "objects": []}', {}, 9, id="broken-off"),
    pytest.param(b"[]", {}, 0, id="empty-list"),
    pytest.param(b'[{"transaction_id": 99, "classification": "EARN"}]', {}, 0, id="list"),
    pytest.param(b"null", {}, 0, id="null"),
    pytest.param(b"true", {}, 0, id="true"),
    pytest.param(b"99", {}, 0, id="number"),
    pytest.param(b'"ok"', {}, 0, id="string"),
    pytest.param(b"{}", {}, 0, id="empty-object"),
    pytest.param(b'{"status": "ok"}', {}, 0, id="another-object"),
    pytest.param(b'{"classification": null, "transaction_id": null, "objects": null}', {}, 0, id="null-members"),
    pytest.param(b'{"classification": 5, "transaction_id": [], "objects": "x"}', {}, 0, id="members-of-other-types"),
    pytest.param(b'{"transaction_id": NaN, "classification": "EARN"}', {}, 0, id="nan"),
    pytest.param(b'{"errors": {"__all__": ["no"]}, "transaction_id": 99}', {}, 0, id="errors"),
    pytest.param('{"transaction_id": "é"}'.encode("latin-1"), {}, 0, id="latin-1"),
    pytest.param('{"transaction_id": "9"}'.encode("utf-16"), {}, 0, id="utf-16"),
    pytest.param(b'{"transaction_id": "\\ud800"}', {}, 0, id="half-a-surrogate-pair"),
    pytest.param(b"[" * 100_000, {}, 0, id="deep"),
    pytest.param(b'{"transaction_id": 1%s}' % (b"0" * 5_000), {}, 0, id="a-number-beyond-all-bounds"),
    pytest.param(b'{"transaction_id": "%s"}' % (b"x" * 9_000_000), {}, 0, id="huge"),
    pytest.param(b"no gzip", GZIP, 0, id="invalid-gzip"),
    pytest.param(gzip.compress(b'{"transaction_id": "9"}' * 9)[:-20], GZIP, 0, id="truncated-gzip"),
    pytest.param(gzip.compress(b" " * 50_000_000), GZIP, 0, id="gzip-that-grows"),
    pytest.param(b"x", {"Content-Encoding": "br"}, 0, id="unknown-compression"),
    pytest.param(b"x", {"Content-Length": "abc"}, 0, id="no-length"),
    pytest.param(b"x", {"X-Request-Id": "\udcff\udcfe"}, 0, id="header-that-is-not-utf-8"),
]


@pytest.mark.parametrize(("body", "headers", "cut"), UNREADABLE)
class TestWhatCannotBeRead:
    """A read is tried again, a booking is read back: nothing is rejected, called done, or called absent.

    One of the bodies names an error: with a status of 4xx, that is a refusal.
    """

    def test_of_a_perk_is_tried_again(self, body: bytes, headers: dict[str, str], cut: int) -> None:
        for status in (200, 400, 404, 410, 501):
            error, server = outcome_of(returning(Reply(status, body, headers, cut)))
            assert isinstance(error, RejectedError if is_refusal(status, body) else RetryableError)
            assert not server.posts

    def test_of_a_booking_is_read_back(self, body: bytes, headers: dict[str, str], cut: int) -> None:
        for status in (200, 201, 202, 302, 404, 500):
            error, server = outcome_of(answering(Reply(status, body, headers, cut)))
            assert type(error) is (RejectedError if is_refusal(status, body) else OutcomeUnknownError)
            assert len(server.posts) == 1

    def test_of_a_list_is_not_an_empty_list(self, body: bytes, headers: dict[str, str], cut: int) -> None:
        for effect in (AWARD, VIP):
            error, _ = found_by(returning(Reply(200, body, headers, cut)), effect)
            assert isinstance(error, RetryableError)

    def test_of_a_later_page_is_not_the_end_of_the_list(self, body: bytes, headers: dict[str, str], cut: int) -> None:
        def reply(received_request: ReceivedRequest) -> Reply:
            return (
                pages([item(1), item(2)])(received_request)
                if received_request.query["offset"] == ["0"]
                else Reply(200, body, headers, cut)
            )

        error, _ = found_by(reply)
        assert isinstance(error, RetryableError)

    def test_of_a_connection_sets_nothing_again(self, body: bytes, headers: dict[str, str], cut: int) -> None:
        result, server = outcome_of(answering(Reply(200, body, headers, cut), listed=[connection(8)]), VIP)
        assert isinstance(result, Performed | OutcomeUnknownError)
        assert len([entry for entry in server.requests if entry.method == "PATCH"]) == 1

    @pytest.mark.parametrize("effort", ["verify", "customer", "mapping_choices"])
    def test_of_an_account_proves_nothing(self, body: bytes, headers: dict[str, str], cut: int, effort: str) -> None:
        for status in (200, 400, 404):
            if effort == "verify" and status == 200 and any(part in body for part in (b'ok"}', b"null, ", b"[], ")):
                continue  # an object without a word of errors: more is not known of how a business looks
            error = failure_of(returning(Reply(status, body, headers, cut)), effort)
            assert isinstance(error, RejectedError if is_refusal(status, body) else RetryableError)

    def test_is_a_line_of_the_check(self, body: bytes, headers: dict[str, str], cut: int) -> None:
        async def run() -> list[bool]:
            async with serving(returning(Reply(200, body, headers, cut))) as (client, _):
                return [finding.ok for finding in await client.check()]

        assert not all(asyncio.run(run()))


def is_refusal(status: int, body: bytes) -> bool:
    return status // 100 == 4 and b'"errors": {"' in body


def failure_of(reply: Callable[[ReceivedRequest], Reply], effort: str) -> DeliveryError | None:
    """What reading the account, a customer or the perks raises."""

    async def run() -> DeliveryError | None:
        async with serving(reply) as (client, _):
            try:
                await {
                    "verify": client.verify,
                    "mapping_choices": client.mapping_choices,
                    "customer": lambda: client.customer("a@example.com"),
                }[effort]()
            except DeliveryError as error:
                return error
            return None

    return asyncio.run(run())


@pytest.mark.parametrize("shown", [KEY[:-1], KEY[:12], KEY[:-1].upper(), f"{KEY}-1"], ids=str)
def test_a_key_that_is_shown_cut_is_not_called_absent(shown: str) -> None:
    booked = item(3, shown)
    error, _ = found_by(pages([item(1, OTHER_KEY), booked]))
    assert isinstance(error, RetryableError)
    assert error.code == "read_back_unclear"
    assert is_absent(item(1, OTHER_KEY), booked, other_ids={"3": OTHER_KEY})
    assert is_absent(item(1, OTHER_KEY), {**booked, "quantity": "5"})
    assert isinstance(found_by(pages([booked, item(5, KEY)]))[0], Performed)


@pytest.mark.parametrize("shown", [KEY.upper(), KEY.lower(), f" {KEY}", f"{KEY}  "], ids=str)
def test_a_key_is_known_in_other_case(shown: str) -> None:
    booked = item(3, shown)
    performed, _ = found_by(pages([item(1, OTHER_KEY), booked, item(4, KEY[:-1])]))
    assert isinstance(performed, Performed)
    assert performed.partner_id == "3"
    assert is_absent(booked, other_ids={"3": OTHER_KEY})
    assert is_absent({**booked, "quantity": "5"})


@pytest.mark.parametrize("key", ["a9f3", 5, [KEY], KEY[4:], KEY[:30]], ids=str)
def test_an_award_is_known_by_the_id_that_its_response_has_named(key: object) -> None:
    booked = {**item(3), "trans_source_id": key}
    error, _ = outcome_of(answering(Reply(201, booked)))
    assert isinstance(error, OutcomeUnknownError)
    assert error.partner_id == "3"
    in_doubt = replace(AWARD, named_id=error.partner_id)
    performed, _ = found_by(pages([item(1, OTHER_KEY), booked]), in_doubt)
    assert isinstance(performed, Performed)
    assert performed.partner_id == "3"
    # Not if that is another award, to which a partner points that takes this one for a duplicate.
    other, _ = found_by(pages([item(1, OTHER_KEY), booked]), replace(in_doubt, other_ids={"3": OTHER_KEY}))
    assert not isinstance(other, Performed)


@pytest.mark.parametrize("key", [None, "", 5], ids=str)
def test_what_the_ledger_has_for_another_award_is_not_this_one(key: object) -> None:
    others = [{**item(number), "trans_source_id": key} for number in (1, 2)]
    assert is_absent(*others, other_ids={"1": OTHER_KEY, "2": OTHER_KEY})
    assert isinstance(found_by(pages(others), replace(AWARD, other_ids={"1": OTHER_KEY}))[0], RetryableError)


def test_a_key_that_is_shown_empty_is_not_another_one() -> None:
    performed, _ = outcome_of(answering(Reply(201, item(3, ""))))
    assert isinstance(performed, Performed)


def test_order_ids_that_differ_in_case_are_two_orders() -> None:
    assert is_absent(item(3, KEY.replace(":o1:", ":O1:")))


REWRITTEN = {"1": OTHER_KEY}
BOB = DeliveredEffect(email="bob@example.com", effect_key=OTHER_KEY, partner_id="7")


@pytest.mark.parametrize("elsewhere", [None, BOB])
@pytest.mark.parametrize("quantity", ["9.99", "10"], ids=str)
def test_no_award_is_called_absent_where_keys_are_rewritten(quantity: str, elsewhere: DeliveredEffect | None) -> None:
    listed = [item(1, "a9f3"), {**item(2, "b771"), "quantity": quantity}]
    in_doubt = replace(AWARD, other_ids=REWRITTEN, elsewhere=elsewhere)
    error, _ = found_by(pages(listed), in_doubt)
    assert isinstance(error, RetryableError)
    assert error.code == "read_back_unclear"
    assert "transaction 2 of" in error.message
    # It is absent if the ledger knows all that may be it.
    assert is_absent(*listed, other_ids={**REWRITTEN, "2": OTHER_KEY})
    assert is_absent(listed[0], {**listed[1], "perk": "/v2/perks/9/"}, other_ids=REWRITTEN)


def test_another_systems_key_is_not_a_rewritten_one() -> None:
    assert is_absent(item(1, OTHER_KEY), item(2, "till-8"), other_ids=REWRITTEN)
    assert is_absent(item(1, OTHER_KEY.upper()), item(2, "till-8"), other_ids=REWRITTEN)
    assert is_absent(item(1, OTHER_KEY), item(2, "till-8"))


@pytest.mark.parametrize(
    ("of_bob", "absent"),
    [
        pytest.param([item(6, "till-7"), item(7, OTHER_KEY)], True, id="as-sent"),
        pytest.param([item(6, "till-7"), item(7, OTHER_KEY.lower())], True, id="recased"),
        pytest.param([item(8, OTHER_KEY)], True, id="as-sent-under-another-id"),
        pytest.param([item(7, "a9f3")], False, id="rewritten"),
        pytest.param([item(7)], False, id="empty"),
        pytest.param([], False, id="not-shown"),
    ],
)
def test_what_is_shown_of_another_customer_tells_whether_keys_are_rewritten(
    of_bob: list[dict[str, object]], absent: bool
) -> None:
    def reply(request: ReceivedRequest) -> Reply:
        is_bob = request.query["user__emails__email"] == [BOB.email]
        return pages(of_bob if is_bob else [item(2, "till-8")])(request)

    assert (found_by(reply, replace(AWARD, elsewhere=BOB))[0] is None) == absent
    assert not isinstance(found_by(reply)[0], Performed | None)  # with nothing to compare it stays open


def test_a_list_without_the_customers_own_awards_proves_nothing() -> None:
    in_doubt = replace(AWARD, other_ids=REWRITTEN, expected_ids={"1"})
    for listed in ([], [item(8, "SEG:website:EVENT:m9")]):
        error, _ = found_by(pages(listed), in_doubt)
        assert isinstance(error, RetryableError)
        assert error.code == "read_back_unclear"
    assert found_by(pages([item(1, OTHER_KEY)]), in_doubt)[0] is None
    assert found_by(pages([item(8, REWRITTEN["1"])]), in_doubt)[0] is None  # a list with ids of another kind
    assert isinstance(found_by(pages([item(3, KEY)]), in_doubt)[0], Performed)


def is_absent(*listed: dict[str, object], other_ids: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Whether the award is not among the listed transactions, some of which the ledger has for other awards."""
    return found_by(pages(list(listed)), replace(AWARD, other_ids=other_ids))[0] is None


def test_a_property_is_not_set_if_another_connection_comes_back() -> None:
    error, _ = outcome_of(answering(Reply(200, connection(9)), listed=[connection(8)]), VIP)
    assert isinstance(error, OutcomeUnknownError)
    assert isinstance(outcome_of(answering(Reply(200, connection(8)), listed=[connection(8)]), VIP)[0], Performed)

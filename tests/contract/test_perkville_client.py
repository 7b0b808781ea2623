"""The Perkville client keeps the promise of its port: what it calls not performed was not, whatever the network does.

First it runs against a scripted server that answers, stalls and breaks, then against the sandbox.
"""

import asyncio
import gzip
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest

from punchcard import __version__
from punchcard.destinations.perkville.client import PerkvilleClient
from punchcard.destinations.port import Effect, EffectKey, Performed
from punchcard.errors import (
    CredentialsError,
    DeliveryError,
    OutcomeUnknownError,
    RejectedError,
    RetryableError,
)
from punchcard.testing.partner.server import (
    AWARD,
    EARNING,
    GZIP,
    HTML,
    KEY,
    OTHER_KEY,
    REDEEMING,
    STORED,
    TOKEN,
    VIP,
    ReceivedRequest,
    Reply,
    answering,
    connection,
    found_by,
    item,
    outcome_of,
    pages,
    serving,
    settings_for,
)
from punchcard.testing.sandbox import SandboxProcess


def test_a_transaction_is_posted_as_the_contract_says() -> None:
    performed, server = outcome_of(answering(Reply(201, STORED)))
    assert performed == Performed(status=201, partner_id="99")
    (post,) = server.posts
    assert post.path == "/v2/transactions/"
    assert post.body == {
        "business": "/v2/businesses/41/",
        "location": "/v2/locations/7/",
        "perk": "/v2/perks/123456/",
        "email": "Ann+x@example.com",
        "quantity": "9.99",
        "send_email": False,
        "trans_source_id": KEY,
    }
    assert post.headers["authorization"] == f"Bearer {TOKEN}"
    assert post.headers["accept"] == "application/json"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["user-agent"] == f"punchcard/{__version__}"


@pytest.mark.parametrize(
    ("reply", "partner_id", "note"),
    [
        pytest.param(Reply(200, STORED), "99", None, id="200"),
        pytest.param(Reply(201, {"trans_source_id": KEY}), None, None, id="only-our-key"),
        pytest.param(Reply(201, {**STORED, "trans_source_id": None, "quantity": None}), "99", None, id="null-members"),
        pytest.param(Reply(201, STORED, {"Content-Type": "text/html"}), "99", None, id="called-a-page"),
        pytest.param(Reply(201, STORED, {"Content-Type": "text/plain; charset=bogus"}), "99", None, id="charset"),
        pytest.param(Reply(201, b"\xef\xbb\xbf" + json.dumps(STORED).encode()), "99", None, id="byte-order-mark"),
        pytest.param(Reply(201, gzip.compress(json.dumps(STORED).encode()), GZIP), "99", None, id="gzip"),
        pytest.param(Reply(201, {**STORED, "quantity": "1e400000000"}), "99", None, id="a-quantity-that-is-none"),
        pytest.param(Reply(201, {"transaction_id": "99", "more": [1]}), "99", None, id="id-as-text-and-extra-fields"),
        pytest.param(Reply(201, {"resource_uri": "/v2/transactions/99/"}), "99", None, id="id-from-the-uri"),
        pytest.param(Reply(201, {**STORED, "quantity": 9.99}), "99", None, id="quantity-as-number"),
        pytest.param(Reply(201, {**STORED, "quantity": 10}), "99", "booked 10 units instead of 9.99", id="rounded"),
        pytest.param(Reply(201, {**STORED, "quantity": 9.5}), "99", "booked 9.5 units instead of 9.99", id="cut"),
        pytest.param(Reply(201, {**STORED, "transaction_status": "VOID"}), "99", "VOID", id="void"),
        pytest.param(
            Reply(201, {**STORED, "transaction_dt": "2026-01-02 03:04:05+00:00"}), "99", None, id="blank-date"
        ),
    ],
)
def test_a_success_is_read_whatever_else_its_object_holds(
    reply: Reply, partner_id: str | None, note: str | None
) -> None:
    performed, server = outcome_of(answering(reply))
    assert isinstance(performed, Performed)
    assert (performed.status, performed.partner_id) == (reply.status, partner_id)
    assert (note or "") in (performed.note or "")
    assert (performed.note is None) == (note is None)
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(Reply(reset=True), OutcomeUnknownError, id="reset-after-the-request"),
        pytest.param(Reply(hang=True), OutcomeUnknownError, id="no-answer"),
        pytest.param(Reply(500), OutcomeUnknownError, id="500"),
        pytest.param(Reply(502, HTML, {"Content-Type": "text/html"}), OutcomeUnknownError, id="502-page"),
        pytest.param(Reply(504), OutcomeUnknownError, id="504"),
        pytest.param(Reply(200, HTML, {"Content-Type": "text/html"}), OutcomeUnknownError, id="page-instead-of-object"),
        pytest.param(Reply(200, b"ok"), OutcomeUnknownError, id="text-instead-of-object"),
        pytest.param(Reply(200, {**STORED, "trans_source_id": "other"}), OutcomeUnknownError, id="another-transaction"),
        pytest.param(Reply(200, {"errors": {"perk": ["no"]}}), OutcomeUnknownError, id="success-that-complains"),
        pytest.param(Reply(303, headers={"Location": "/elsewhere/"}), OutcomeUnknownError, id="303"),
        pytest.param(Reply(503, headers={"Retry-After": "3"}), RetryableError, id="503"),
        pytest.param(Reply(403, HTML, {"Content-Type": "text/html"}), RetryableError, id="edge-block"),
        pytest.param(Reply(429), RetryableError, id="429"),
        pytest.param(Reply(307, headers={"Location": "/elsewhere/"}), RetryableError, id="307-is-not-followed"),
        pytest.param(Reply(401), CredentialsError, id="401"),
        pytest.param(Reply(403, {"errors": {}}), CredentialsError, id="403"),
        pytest.param(Reply(400, {"errors": {"quantity": ["no"]}}), RejectedError, id="400"),
        pytest.param(Reply(301, headers={"Location": "/elsewhere/"}), OutcomeUnknownError, id="301-is-not-followed"),
    ],
)
def test_a_post_is_sent_once_and_its_end_is_called_by_its_name(reply: Reply, kind: type[DeliveryError]) -> None:
    error, server = outcome_of(answering(reply), requestTimeoutSeconds=0.5)
    assert type(error) is kind
    assert len(server.posts) == 1
    assert not any(entry.path == "/elsewhere/" for entry in server.requests)
    assert TOKEN not in str(error)


def test_an_answer_that_is_no_http_leaves_the_outcome_unknown() -> None:
    class Garbage(Reply):
        def head_and_body(self) -> bytes:
            return b"SSH-2.0-OpenSSH\r\n\r\n"

    error, _ = outcome_of(answering(Garbage(close=True)))
    assert isinstance(error, OutcomeUnknownError)


@pytest.mark.parametrize(
    "perk",
    [
        pytest.param({**EARNING, "resource_uri": "/v2/perks/5/"}, id="another-perk"),
        pytest.param({**EARNING, "classification": ""}, id="no-word"),
        pytest.param({**EARNING, "classification": " "}, id="a-blank"),
        pytest.param({**EARNING, "classification": ["EARN"]}, id="a-list"),
    ],
)
def test_a_perk_that_is_not_described_is_read_again(perk: dict[str, object]) -> None:
    error, server = outcome_of(answering(Reply(201, STORED), perk=perk))
    assert isinstance(error, RetryableError)
    assert error.code == "unreadable_response"
    assert not server.posts


def test_retry_after_is_handed_on() -> None:
    error, _ = outcome_of(answering(Reply(503, headers={"Retry-After": "3"})))
    assert isinstance(error, RetryableError)
    assert error.retry_after_seconds == 3


def test_a_duplicate_is_distinguished() -> None:
    errors = {"trans_source_id": [{"message": "already exists", "code": "duplicate_trans_source_id"}]}
    error, _ = outcome_of(answering(Reply(400, {"error_type": "validation_error", "errors": errors})))
    assert isinstance(error, RejectedError)
    assert error.code == "duplicate_key"


def test_a_server_that_is_not_there_is_surely_unperformed() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def run() -> None:
            client = PerkvilleClient(settings_for(url))
            try:
                with pytest.raises(RetryableError) as caught:
                    await client.perform(AWARD)
                assert caught.value.code == "unreachable"
            finally:
                await client.close()

        asyncio.run(run())


def test_a_kept_connection_that_the_server_closed_does_not_post_twice() -> None:
    """The second POST goes out on a new connection, or ends unknown; it is never sent again by the HTTP library."""

    async def run() -> None:
        async with serving(answering(Reply(201, {}, close=True))) as (client, server):
            for _ in range(5):
                try:
                    await client.perform(AWARD)
                except OutcomeUnknownError:
                    continue
            assert len(server.posts) <= 5

    asyncio.run(run())


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        pytest.param(Reply(reset=True), RetryableError, "connection_failed", id="reset"),
        pytest.param(Reply(hang=True), RetryableError, "timeout", id="no-answer"),
        pytest.param(Reply(500), RetryableError, "partner_unavailable", id="500"),
        pytest.param(Reply(504), RetryableError, "partner_unavailable", id="504"),
        pytest.param(Reply(404, {"errors": {"__all__": ["no"]}}), RejectedError, "perk_unknown", id="no-such-perk"),
        pytest.param(Reply(401), CredentialsError, "credentials_refused", id="401"),
        pytest.param(Reply(200, {"classification": "ACTIVITY"}), RejectedError, "perk_unusable", id="unknown-kind"),
        pytest.param(Reply(200, REDEEMING), RejectedError, "perk_unusable", id="an-award-would-take-points"),
    ],
)
def test_nothing_is_posted_when_the_perk_is_not_known_to_be_right(
    reply: Reply, kind: type[DeliveryError], code: str
) -> None:
    error, server = outcome_of(lambda requested: reply, requestTimeoutSeconds=0.5)
    assert isinstance(error, kind)
    assert error.code == code
    assert not server.posts


@pytest.mark.parametrize(
    ("perk", "method", "sent"),
    [
        pytest.param(EARNING, "auto", "-9.99", id="auto-earning"),
        pytest.param(REDEEMING, "auto", "9.99", id="auto-redeeming"),
        pytest.param(REDEEMING, "redeem", "9.99", id="redeem"),
        pytest.param(EARNING, "negative", "-9.99", id="negative"),
    ],
)
def test_points_are_removed_as_the_perk_demands(perk: object, method: str, sent: str) -> None:
    removal = replace(AWARD, quantity=Decimal("-9.99"), event_name="Order Refunded")
    performed, server = outcome_of(answering(Reply(201, STORED), perk=perk), removal, refundMethod=method)
    assert isinstance(performed, Performed)
    assert performed.note is None
    assert [post.body["quantity"] for post in server.posts] == [sent]


def test_reading_back_asks_for_the_customers_transactions_page_by_page() -> None:
    result, server = found_by(pages([item(1), item(2, "x")], [item(3, KEY.upper()), item(4)], [item(5, KEY)]))
    assert result == Performed(status=None, partner_id="5", units=Decimal("9.99"))
    first = server.requests[0]
    assert first.query == {
        "business": ["41"],
        "user__emails__email": ["Ann+x@example.com"],
        "limit": ["100"],
        "offset": ["0"],
    }
    assert [entry.query["offset"] for entry in server.requests] == [["0"], ["2"], ["4"]]


def test_what_is_not_there_is_surely_not_performed() -> None:
    result, server = found_by(pages([item(1), item(2, OTHER_KEY)], [item(3)]))
    assert result is None
    # In the case as given and in lower case, each until a page is empty.
    emails = [entry.query["user__emails__email"][0] for entry in server.requests]
    assert emails == ["Ann+x@example.com"] * 3 + ["ann+x@example.com"] * 3


@pytest.mark.parametrize(
    "meta",
    [
        None,
        5,
        [],
        {},
        {"limit": "2"},
        {"limit": None},
        {"limit": -1},
        {"limit": 0, "total_count": "9"},
        {"limit": True},
    ],
    ids=str,
)
def test_a_list_is_read_whatever_its_type(meta: object) -> None:
    def reply(received_request: ReceivedRequest) -> Reply:
        result = [item(1), item(2, KEY)] if received_request.query["offset"] == ["0"] else []
        return Reply(body={"objects": result} if meta is None else {"meta": meta, "objects": result})

    result, _ = found_by(reply)
    assert result == Performed(status=None, partner_id="2", units=Decimal("9.99"))


def test_a_short_page_that_repeats_itself_is_all_there_is() -> None:
    result, _ = found_by(pages([item(1, OTHER_KEY)], obeys_offset=False))
    assert result is None


@pytest.mark.parametrize("key", [None, ""], ids=["null", "empty"])
@pytest.mark.parametrize(
    ("members", "others"),
    [
        pytest.param({"quantity": "5"}, [], id="another-size"),
        pytest.param({"perk": "/v2/perks/9/"}, [], id="another-perk"),
        pytest.param({"perk": "/v2/perks/123456/"}, [item(2, OTHER_KEY)], id="where-keys-are-shown"),
    ],
)
def test_what_staff_have_booked_is_not_the_effect(
    key: str | None, members: dict[str, object], others: list[dict[str, object]]
) -> None:
    result, _ = found_by(pages([{**item(1), "trans_source_id": key, **members}, *others]))
    assert result is None


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(pages([item(1), item(2)], obeys_offset=False), id="a-full-page-for-ever"),
        pytest.param(lambda requested: Reply(body={"results": []}), id="no-list"),
        pytest.param(lambda requested: Reply(body={"objects": [1]}), id="no-objects-in-the-list"),
        pytest.param(lambda requested: Reply(body=b""), id="empty-body"),
        pytest.param(lambda requested: Reply(body={"objects": []}, cut=3), id="broken-off"),
        pytest.param(pages([{"resource_uri": "/v2/transactions/1/"}]), id="ids-are-not-shown"),
        pytest.param(pages([{**item(1), "trans_source_id": {"id": KEY}}]), id="ids-of-another-shape"),
        pytest.param(pages([{**item(1), "trans_source_id": 5}]), id="ids-as-numbers"),
        pytest.param(pages([{**item(1), "trans_source_id": ""}]), id="ids-are-empty"),
        pytest.param(pages([item(1), {**item(2), "quantity": "5"}]), id="ids-are-null"),
        pytest.param(
            pages([{**item(1), "perk": "/v2/perks/123456/", "quantity": -9.99}]), id="ids-are-null-of-a-redeem"
        ),
        pytest.param(pages([{"trans_source_id": None, "resource_uri": "/v2/transactions/1/"}]), id="only-a-null-id"),
        pytest.param(
            lambda requested: Reply(body={"meta": {"total_count": 3}, "objects": []}), id="fewer-than-it-says"
        ),
        pytest.param(lambda requested: Reply(body={"objects": [{"trans_source_id": "x"}]}), id="a-list-without-an-end"),
        pytest.param(lambda requested: Reply(body={"objects": {"0": item(1)}}), id="an-object-of-objects"),
        pytest.param(lambda requested: Reply(body={"objects": [item(1), None]}), id="null-in-the-list"),
        pytest.param(lambda requested: Reply(status=503), id="503"),
        pytest.param(lambda requested: Reply(status=504), id="504"),
        pytest.param(lambda requested: Reply(reset=True), id="reset"),
    ],
)
def test_what_cannot_be_determined_is_not_called_absent(reply: Callable[[ReceivedRequest], Reply]) -> None:
    error, _ = found_by(reply)
    assert isinstance(error, RetryableError)


def test_a_user_property_is_set_at_the_customers_connection() -> None:
    elsewhere = connection(7, business="/v2/businesses/42/")
    performed, server = outcome_of(answering(Reply(200, {}), listed=[elsewhere, connection(8)]), VIP)
    assert performed == Performed(status=200, partner_id="8")
    (patch,) = [entry for entry in server.requests if entry.method == "PATCH"]
    assert (patch.path, patch.body) == ("/v2/connections/8/", {"custom_attributes": {"vip": True}})


@pytest.mark.parametrize(
    ("listed", "kind", "code"),
    [
        pytest.param([], RetryableError, "no_connection", id="not-a-customer-yet"),
        pytest.param([connection(8), connection(9)], RejectedError, "connection_ambiguous", id="a-filter-not-obeyed"),
    ],
)
def test_a_user_property_of_nobody_in_particular_is_not_set(
    listed: list[object], kind: type[DeliveryError], code: str
) -> None:
    error, server = outcome_of(answering(Reply(200, {}), listed=listed), VIP)
    assert isinstance(error, kind)
    assert (error.code, error.status) == (code, 200 if code == "no_connection" else None)  # None: no response
    assert all(entry.method == "GET" for entry in server.requests)


@pytest.mark.parametrize(
    ("attributes", "expected", "stands"),
    [
        pytest.param({"vip": True, "other": 1}, {"vip": True}, True, id="the-same"),
        pytest.param({"vip": False}, {"vip": True}, False, id="another-value"),
        pytest.param({"vip": 1}, {"vip": True}, False, id="one-is-not-true"),
        pytest.param({}, {"vip": True}, False, id="not-set"),
        pytest.param({}, {"vip": None}, False, id="not-set-is-not-null"),
        pytest.param({"spend": 12.50}, {"spend": 12.5}, True, id="a-fraction"),
        pytest.param({"clubs": "a, 1"}, {"clubs": ["a", 1]}, True, id="a-list-as-text"),
        pytest.param({"clubs": "a"}, {"clubs": ["a", 1]}, False, id="another-list-as-text"),
        pytest.param(None, {"vip": True}, False, id="not-shown"),
    ],
)
def test_a_user_property_is_read_back_by_its_value(
    attributes: object, expected: Mapping[str, object], stands: bool
) -> None:
    listed = [connection(8, custom_attributes=attributes)]
    result, _ = found_by(answering(Reply(), listed=listed), replace(VIP, attributes=expected))
    assert result == (Performed(status=None, partner_id="8") if stands else None)


def test_a_user_property_with_a_lost_response_is_unknown() -> None:
    error, _ = outcome_of(answering(Reply(reset=True), listed=[connection(8)]), VIP)
    assert isinstance(error, OutcomeUnknownError)


# Against the sandbox.

_numbers = count(1)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


@pytest.fixture
def sandbox(started: SandboxProcess) -> Iterator[SandboxProcess]:
    yield started
    started.faults({})


def new_award(**changes: object) -> Effect:
    number = next(_numbers)
    own = {"effect_key": EffectKey(f"SEG:s:EVENT:c{number}"), "email": f"Customer{number}@example.com"}
    return replace(AWARD, **{**own, **changes})  # type: ignore[arg-type]


def with_client(sandbox: SandboxProcess, use: Callable[[PerkvilleClient], Awaitable[None]], **changes: object) -> None:
    async def run() -> None:
        client = PerkvilleClient(replace(settings_for(sandbox.url), **changes))  # type: ignore[arg-type]
        try:
            await use(client)
        finally:
            await client.close()

    asyncio.run(run())


def stored(sandbox: SandboxProcess, effect: Effect) -> list[str]:
    return [
        transaction["quantity"]
        for transaction in sandbox.transactions()
        if transaction["trans_source_id"] == effect.effect_key
    ]


def test_an_award_stands_in_the_sandbox_and_is_found_again(sandbox: SandboxProcess) -> None:
    award = new_award()

    async def use(client: PerkvilleClient) -> None:
        assert await client.find(award) is None
        performed = await client.perform(award)
        assert (performed.status, performed.note) == (201, None)
        result = await client.find(award)
        assert result is not None
        assert result.partner_id == performed.partner_id

    with_client(sandbox, use)
    assert stored(sandbox, award) == ["9.99"]


@pytest.mark.parametrize("faults", [{"afterCommit": True}, {"afterCommit": True, "reset": True}], ids=["504", "reset"])
def test_an_award_with_a_lost_response_is_unknown_and_found(sandbox: SandboxProcess, faults: dict[str, object]) -> None:
    award = new_award()

    async def use(client: PerkvilleClient) -> None:
        sandbox.faults(faults)
        with pytest.raises(OutcomeUnknownError):
            await client.perform(award)
        assert await client.find(award) is not None

    with_client(sandbox, use)
    assert len(stored(sandbox, award)) == 1


@pytest.mark.parametrize(
    "faults",
    [
        {"status": 503},
        {"status": 503, "html": True, "retryAfter": 1},
        {"status": 403, "html": True},
        {"status": 429},
        {"reset": True},
    ],
    ids=lambda faults: "-".join(map(str, faults.values())),
)
def test_an_award_that_is_called_retryable_does_not_stand(sandbox: SandboxProcess, faults: dict[str, object]) -> None:
    award = new_award()

    async def use(client: PerkvilleClient) -> None:
        sandbox.faults(faults)
        with pytest.raises(RetryableError):
            await client.perform(award)

    with_client(sandbox, use)
    assert stored(sandbox, award) == []


@pytest.mark.parametrize("response", ["400", "409"])
def test_a_used_key_is_refused_as_such(sandbox: SandboxProcess, response: str) -> None:
    award = new_award()

    async def use(client: PerkvilleClient) -> None:
        await client.perform(award)
        sandbox.faults({"duplicateAnswer": response})
        with pytest.raises(RejectedError) as caught:
            await client.perform(award)
        assert caught.value.code == "duplicate_key"

    with_client(sandbox, use)
    assert len(stored(sandbox, award)) == 1


def test_a_used_key_answered_with_the_original_is_delivered(sandbox: SandboxProcess) -> None:
    award = new_award()

    async def use(client: PerkvilleClient) -> None:
        first = await client.perform(award)
        sandbox.faults({"duplicateAnswer": "200"})
        assert (await client.perform(award)).partner_id == first.partner_id

    with_client(sandbox, use)


@pytest.mark.parametrize(
    ("perk", "quantity", "code", "words"),
    [
        pytest.param("1", "1", "perk_unknown", "Perk 1 does not exist", id="no-such-perk"),
        pytest.param("123459", "1", "perk_unknown", "not active", id="inactive"),
        pytest.param("123458", "1", "perk_unusable", "would take points away", id="redeeming"),
    ],
)
def test_a_perk_that_cannot_be_awarded_is_rejected_in_words(
    sandbox: SandboxProcess, perk: str, quantity: str, code: str, words: str
) -> None:
    award = new_award(item=perk, quantity=Decimal(quantity))

    async def use(client: PerkvilleClient) -> None:
        with pytest.raises(RejectedError) as caught:
            await client.perform(award)
        assert caught.value.code == code
        assert words in caught.value.message

    with_client(sandbox, use)
    assert stored(sandbox, award) == []


@pytest.mark.parametrize(("perk", "sent"), [("123456", "-5"), ("123458", "5")], ids=["earning", "redeeming"])
def test_points_are_removed_in_the_sandbox(sandbox: SandboxProcess, perk: str, sent: str) -> None:
    removal = new_award(item=perk, quantity=Decimal(-5))

    async def use(client: PerkvilleClient) -> None:
        assert (await client.perform(removal)).note is None
        assert await client.find(removal) is not None

    with_client(sandbox, use)
    assert stored(sandbox, removal) == [sent]


def test_a_quantity_that_was_rounded_is_noted(sandbox: SandboxProcess) -> None:
    award = new_award()

    async def use(client: PerkvilleClient) -> None:
        sandbox.faults({"fractional": "round"})
        assert (await client.perform(award)).note == "Perkville booked 10 units instead of 9.99"

    with_client(sandbox, use)


def test_a_user_property_stands_in_the_sandbox(sandbox: SandboxProcess) -> None:
    award = new_award()
    vip = replace(VIP, email=award.email.upper())

    async def use(client: PerkvilleClient) -> None:
        with pytest.raises(RetryableError) as caught:
            await client.perform(vip)
        assert caught.value.code == "no_connection"
        await client.perform(award)
        assert await client.find(vip) is None
        await client.perform(vip)
        assert await client.find(vip) is not None
        assert await client.find(replace(vip, attributes={"vip": False})) is None

    with_client(sandbox, use)


def test_a_wrong_token_is_the_operators_to_mend(sandbox: SandboxProcess) -> None:
    async def use(client: PerkvilleClient) -> None:
        with pytest.raises(CredentialsError):
            await client.perform(new_award())
        findings = await client.check()
        assert [(finding.ok, finding.subject) for finding in findings] == [(False, "token")]

    with_client(sandbox, use, api_key="wrong")


def checked(sandbox: SandboxProcess, **changes: object) -> list[tuple[bool, str, str]]:
    result: list[tuple[bool, str, str]] = []

    async def use(client: PerkvilleClient) -> None:
        result.extend((entry.ok, entry.subject, entry.message) for entry in await client.check())

    with_client(sandbox, use, **changes)
    return result


def test_a_good_configuration_is_checked_without_complaint(sandbox: SandboxProcess) -> None:
    findings = checked(sandbox)
    assert all(ok for ok, _, _ in findings)
    assert [subject for _, subject, _ in findings] == [
        "business 41",
        "location 7",
        "perk 123456",
        "perk 123458",
        'event "Order Refunded"',
    ]
    assert "order_id" in findings[-1][2]


@pytest.mark.parametrize(
    ("changes", "subject", "words"),
    [
        pytest.param({"business_id": "9999"}, "business 9999", "does not exist", id="business"),
        pytest.param({"location_id": "9999"}, "location 9999", "does not exist", id="location"),
        pytest.param({"event_to_perk_map": {"A": "1"}}, "perk 1", "does not exist", id="perk"),
        pytest.param({"event_to_perk_map": {"A": "123459"}}, "perk 123459", "not active", id="inactive-perk"),
        pytest.param({"event_to_perk_map": {"A": "123458"}}, "perk 123458", "take points away", id="award-redeems"),
        pytest.param({"event_to_perk_map": {}}, "eventToPerkMap", "no event is mapped", id="nothing-mapped"),
        pytest.param({"api_base_url": "http://127.0.0.1:9"}, "Perkville", "cannot be reached", id="unreachable"),
    ],
)
def test_what_does_not_fit_is_found_by_the_check(
    sandbox: SandboxProcess, changes: dict[str, object], subject: str, words: str
) -> None:
    problem = [(match, message) for ok, match, message in checked(sandbox, **changes) if not ok]
    assert subject in [match for match, _ in problem]
    assert any(words in message for match, message in problem if match == subject)


def test_many_at_once_each_stand_once(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With every second answer lost, performing and reading back by turns ends with each award standing once."""
    awards = [new_award() for _ in range(60)]
    sandbox.faults({"afterCommit": True, "reset": True, "rate": 0.5})

    async def until_delivered(client: PerkvilleClient, award: Effect) -> None:
        while True:
            try:
                await client.perform(award)
                return
            except OutcomeUnknownError:
                if await client.find(award) is not None:
                    return

    async def use(client: PerkvilleClient) -> None:
        await asyncio.gather(*(until_delivered(client, award) for award in awards))

    with_client(sandbox, use)
    assert all(stored(sandbox, award) == ["9.99"] for award in awards)

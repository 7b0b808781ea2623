"""A perk can be changed at Perkville while Punchcard remembers it: no award takes points for longer than it must."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from punchcard.destinations.port import EffectKey, Performed
from punchcard.errors import RejectedError
from punchcard.testing.partner.server import (
    AWARD,
    EARNING,
    REDEEMING,
    STORED,
    ReceivedRequest,
    Reply,
    answering,
    serving,
)

REFUND = replace(AWARD, quantity=Decimal("-9.99"), event_name="Order Refunded")


class ChangingPerk:
    """Answers as Perkville with one perk that is changed between requests."""

    def __init__(self, perk: Mapping[str, object], transaction: Mapping[str, object] = STORED) -> None:
        self.perk = perk
        self.transaction = transaction
        self.reads = 0

    def __call__(self, request: ReceivedRequest) -> Reply:
        if request.method == "POST":
            return Reply(201, self.transaction)
        self.reads += 1
        return Reply(body=self.perk)


def booked(classification: str) -> Mapping[str, object]:
    return {**STORED, "classification": classification}


def test_a_perk_is_read_once_in_ten_minutes_however_many_awards_wait_for_it() -> None:
    async def run() -> None:
        async with serving(answering(Reply(201, {"transaction_id": 9}))) as (client, server):
            await asyncio.gather(
                *(client.perform(replace(AWARD, effect_key=EffectKey(f"SEG:s:EVENT:{n}"))) for n in range(20))
            )
            assert len(server.posts) == 20
            assert len(server.requests) == 21

    asyncio.run(run())


def test_an_award_is_not_refused_for_what_a_perk_was_before_it_was_corrected() -> None:
    partner = ChangingPerk(REDEEMING)

    async def run() -> None:
        async with serving(partner) as (client, server):
            with pytest.raises(RejectedError):
                await client.perform(AWARD)
            await client.perform(REFUND)
            partner.perk = EARNING
            await client.perform(AWARD)
            assert [post.body["quantity"] for post in server.posts] == ["9.99", "9.99"]
            assert partner.reads == 2

    asyncio.run(run())


@pytest.mark.parametrize("transaction", ["REDEEM", "redeem"])
def test_a_perk_that_redeems_all_at_once_takes_the_points_of_one_award_which_says_so(transaction: str) -> None:
    partner = ChangingPerk(EARNING, booked("EARN"))

    async def run() -> None:
        async with serving(partner) as (client, server):
            assert (await client.perform(AWARD)).note is None
            partner.perk, partner.transaction = REDEEMING, booked(transaction)
            performed = await client.perform(AWARD)
            assert "perk 123456 redeems since it was changed" in str(performed.note)
            with pytest.raises(RejectedError, match="would take points away"):
                await client.perform(AWARD)
            assert len(server.posts) == 2

    asyncio.run(run())


def test_a_refund_on_a_perk_that_earns_all_at_once_says_so() -> None:
    partner = ChangingPerk(REDEEMING, booked("REDEEM"))

    async def run() -> None:
        async with serving(partner) as (client, server):
            assert (await client.perform(REFUND)).note is None
            partner.perk, partner.transaction = EARNING, booked("EARN")
            assert "perk 123456 earns since it was changed" in str((await client.perform(REFUND)).note)
            partner.transaction = booked("REDEEM")
            await client.perform(REFUND)
            assert [post.body["quantity"] for post in server.posts] == ["9.99", "9.99", "-9.99"]

    asyncio.run(run())


@pytest.mark.parametrize(
    "shown", [booked("EARN"), booked("REDEEM"), booked("DEBIT"), STORED, {**STORED, "classification": 1}]
)
def test_a_negative_quantity_may_be_shown_as_either(shown: Mapping[str, object]) -> None:
    async def run() -> Performed:
        async with serving(ChangingPerk(EARNING, shown)) as (client, _):
            return await client.perform(REFUND)

    assert asyncio.run(run()).note is None

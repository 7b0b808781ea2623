"""Two destinations of which an operator swaps the settings while awards queue: no business gets an order twice."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

ORDERS = 40


def content(first: SandboxProcess, second: SandboxProcess) -> dict[str, Any]:
    """Two destinations of one source: `first` books in one sandbox, `second` in the other."""
    merged: dict[str, Any] = configuration(perkville_url=first.url)
    (destination,) = merged["destinations"]
    merged["destinations"] = [
        {**destination, "slug": slug, "options": {**destination["options"], "apiBaseUrl": sandbox.url}}
        for slug, sandbox in (("first", first), ("second", second))
    ]
    return merged


def order(product: ProductProcess, number: int) -> str:
    message_id = f"swapped-{number}"
    properties = {"email": f"customer{number}@example.com", "order_id": f"order-{number}", "revenue": 10}
    event = {"userId": "ann", "event": "Order Completed", "messageId": message_id, "properties": properties}
    assert product.send("track", event)[0] == 200
    return message_id


def results(product: ProductProcess, message_id: str) -> Mapping[str, Mapping[str, Any]]:
    return {result["destination"]: result for result in (product.trace(message_id) or {"results": []})["results"]}


def statuses(product: ProductProcess, message_ids: list[str], destination: str) -> Counter[tuple[str, str]]:
    traced = (results(product, message_id).get(destination, {}) for message_id in message_ids)
    return Counter((str(result.get("status")), str(result.get("reason"))) for result in traced)


def apply(product: ProductProcess, changed: Mapping[str, object]) -> str:
    """Apply a changed config file; return what is warned of."""
    product.write_config(changed)
    applied = command("apply", str(product.config), "--data", str(product.data))
    assert applied.returncode == 0, applied.stderr
    return applied.stderr


def retry_all(product: ProductProcess) -> None:
    retried = command("retry", "--yes", "--data", str(product.data))
    assert retried.returncode == 0, retried.stderr


def times(sandbox: SandboxProcess) -> Counter[str]:
    return Counter(transaction["email"] for transaction in sandbox.transactions())


def test_no_business_gets_an_order_twice_if_two_destinations_are_swapped(tmp_path: Path) -> None:
    with (
        SandboxProcess(tmp_path / "sandbox-1") as first,
        SandboxProcess(tmp_path / "sandbox-2") as second,
        ProductProcess(tmp_path / "product", content(first, second)) as product,
    ):
        delivered = order(product, 0)
        wait_until(lambda: statuses(product, [delivered], "first")["delivered", "None"])
        first.faults({"status": 503, "rate": 1})
        queued = [order(product, number) for number in range(1, ORDERS + 1)]
        wait_until(lambda: statuses(product, queued, "second")["delivered", "None"] == ORDERS)

        warning = apply(product, content(second, first))
        assert f"{ORDERS} queued awards are for business 41 at {first.url}" in warning
        wait_until(lambda: statuses(product, queued, "first")["parked", "other_account"] == ORDERS)
        detail = results(product, queued[0])["first"]["detail"]
        assert first.url in detail
        assert second.url in detail
        assert max(times(second).values()) == 1
        swapped = [order(product, ORDERS + 1)]
        wait_until(lambda: statuses(product, swapped, "first")["delivered", "None"])

        apply(product, content(first, second))
        wait_until(lambda: statuses(product, swapped, "second")["parked", "other_account"])
        first.faults({})
        retry_all(product)
        wait_until(lambda: statuses(product, queued, "first")["delivered", "None"] == ORDERS)
        # It is for the account of the other destination, and only a person may say that it is meant for this one.
        wait_until(lambda: statuses(product, swapped, "second")["parked", "other_account"])
        apply(product, content(second, first))
        retry_all(product)
        wait_until(lambda: statuses(product, swapped, "second")["delivered", "None"])
        for sandbox in (first, second):
            assert times(sandbox) == Counter(f"customer{number}@example.com" for number in range(ORDERS + 2))


def test_settings_that_are_corrected_before_the_first_award_need_no_retry(tmp_path: Path) -> None:
    with (
        SandboxProcess(tmp_path / "sandbox") as sandbox,
        ProductProcess(tmp_path / "product", configuration(perkville_url="http://127.0.0.1:1")) as product,
    ):
        queued = [order(product, number) for number in range(5)]
        wait_until(lambda: statuses(product, queued, "perkville")["retrying", "unreachable"])
        apply(product, configuration(perkville_url=sandbox.url))
        wait_until(lambda: statuses(product, queued, "perkville")["delivered", "None"] == len(queued))
        assert max(times(sandbox).values()) == 1

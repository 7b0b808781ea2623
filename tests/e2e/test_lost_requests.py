"""A network that is cut while an award is sent: what was lost is sent again, and does not arrive later by itself."""

from collections import Counter
from pathlib import Path

import pytest

from punchcard.testing.cut_network import network_to_port
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

_OPEN = "01"  # as a state in /proc/net/tcp: the product has not closed the connection yet
_OPTIONS = {"requestTimeoutSeconds": 2}


def test_a_request_that_was_given_up_while_the_network_was_cut_does_not_arrive_later(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path / "sandbox") as sandbox, network_to_port(sandbox.port, tmp_path) as network:
        url = f"http://{network.address}:{sandbox.port}"
        with ProductProcess(tmp_path / "data", configuration(perkville_url=url, options=_OPTIONS)) as product:
            send_order(product, 1)
            product.wait_for_status("message-1", "delivered")  # its connection is used again
            network.cut()
            send_order(product, 2)
            wait_until(lambda: attempts_of(product, "message-2") == ["unknown"])
            wait_until(lambda: _OPEN not in states_with_unsent_data(sandbox.port))
            assert states_with_unsent_data(sandbox.port) == []  # nothing that the system would send later
            network.restore()
            result = product.wait_for_status("message-2", "delivered")
        actions = [attempt["action"] for attempt in result["attempts"]]
        assert actions == ["send", *["read_back"] * (len(actions) - 2), "send"]
        booked = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
    assert booked == Counter(f"SEG:perkville:ORDER:order-{number}:order-completed" for number in (1, 2))


def send_order(product: ProductProcess, number: int) -> None:
    properties = {"email": "ann@example.com", "orderId": f"order-{number}", "total": 5}
    assert product.track("Order Completed", properties, messageId=f"message-{number}") == 200


def attempts_of(product: ProductProcess, message_id: str) -> list[str]:
    """Return the outcomes of the attempts that have ended."""
    trace = product.trace(message_id)
    attempts = [attempt for result in (trace or {"results": []})["results"] for attempt in result["attempts"]]
    return [attempt["outcome"] for attempt in attempts if attempt["outcome"]]


def states_with_unsent_data(port: int) -> list[str]:
    """Return the states of this machine's connections to a port with bytes that the other end has not acknowledged."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    columns = [line.split() for line in lines]
    return [
        state
        for _, _, remote, state, queues, *_ in columns
        if remote.endswith(f":{port:04X}") and int(queues.partition(":")[0], 16)
    ]

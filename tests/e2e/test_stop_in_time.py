"""The promise: a product that is asked to stop ends, whatever its requests wait for."""

import socket
import threading
from pathlib import Path
from typing import Any

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess


def test_a_request_that_waits_for_a_partner_does_not_keep_the_process(tmp_path: Path) -> None:
    responses: list[tuple[int, Any]] = []
    # Connections are accepted by the system, and nothing is ever answered.
    with socket.create_server(("127.0.0.1", 0)) as partner:
        content = configuration(
            perkville_url=f"http://127.0.0.1:{partner.getsockname()[1]}", options={"requestTimeoutSeconds": 300}
        )
        product = ProductProcess(tmp_path, content, environment={"PUNCHCARD_SHUTDOWN_SECONDS": "3"})
        path, body = "/api/destinations/perkville/replays", {"since": "2020-01-01T00:00:00Z", "dryRun": True}
        asking = threading.Thread(target=lambda: responses.append(product.call("POST", path, body=body)))
        asking.start()
        connection, _ = partner.accept()
        assert product.stop() == 0
        asking.join()
        connection.close()
    ((status, response),) = responses
    assert status == 503
    assert response["errors"][0]["type"] == "unavailable"
    assert product.logged("stop_not_finished")
    assert "Traceback" not in product.log

"""Segment's published analytics.js in a real browser: batch and single endpoints, and its retry queue."""

import http.server
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.e2e.conftest import skipped_or_failed

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.ports import reserved_port
from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

LIBRARY = Path(__file__).parents[1] / "browser" / "node_modules" / "@segment" / "analytics-next" / "dist" / "umd"
QUICK = {"retryBaseSeconds": 0.1}

PAGE = """<!doctype html>
<title>A shop</title>
<script src="/umd/index.js"></script>
<script>
  const strategy = %(strategy)s;
  const analytics = AnalyticsNext.AnalyticsBrowser.load(
    { writeKey: "%(write_key)s", cdnURL: "%(host)s" },
    strategy ? { integrations: { "Segment.io": { deliveryStrategy: strategy } } } : {},
  );
  const calls = {
    page: () => analytics.page("Shoes"),
    identify: () => analytics.identify("ann", { email: "ann@example.com", name: "Ännchen" }),
    track: (number) => analytics.track("Checked In", { email: `visitor${number}@example.com` }),
  };
  (async () => {
    for (;;) {
      const { call, number } = await (await fetch("/next")).json();
      if (!call) return;
      const context = await calls[call](number);
      await fetch(`/done?call=${call}&id=${encodeURIComponent(context.event.messageId)}`);
    }
  })().catch((error) => fetch(`/failed?error=${encodeURIComponent(error)}`));
</script>
"""


class Shop:
    """A web page with analytics.js on it, in a browser that does what the test says."""

    def __init__(self, folder: Path, browser: str, host: str, strategy: object) -> None:
        self._orders: queue.Queue[dict[str, object]] = queue.Queue()
        self._done: queue.Queue[tuple[str, str]] = queue.Queue()
        values = {"strategy": json.dumps(strategy), "write_key": WRITE_KEY, "host": host}
        page = (PAGE % values).encode()
        shop = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(LIBRARY.parent))

            def do_GET(self) -> None:
                path, query = urlsplit(self.path).path, dict(parse_qsl(urlsplit(self.path).query))
                if path == "/":
                    self._respond(page, "text/html; charset=utf-8")
                elif path == "/next":
                    self._respond(json.dumps(shop._orders.get()).encode(), "application/json")
                elif path in ("/done", "/failed"):
                    shop._done.put((query.get("call", ""), query.get("id", query.get("error", ""))))
                    self._respond(b"{}", "application/json")
                else:
                    super().do_GET()

            def _respond(self, body: bytes, content_type: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
        self._browser = subprocess.Popen(
            [
                browser,
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *quiet),
                f"--user-data-dir={folder / 'browser'}",
                f"http://127.0.0.1:{self._server.server_port}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Debian's command is a script, which does not pass signals on
        )

    def call(self, call: str, number: int = 0) -> None:
        """Have the page make one call."""
        self._orders.put({"call": call, "number": number})

    def message_id(self) -> str:
        """The message id of the oldest call that is done and was not asked for yet."""
        call, done = self._done.get(timeout=PATIENCE_SECONDS)
        assert call, done
        return done

    def close(self) -> None:
        self._orders.put({})
        os.killpg(self._browser.pid, signal.SIGTERM)
        self._browser.wait(20)
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> str:
    """Chromium, with Segment's library to load."""
    if not (LIBRARY / "index.js").exists():
        skipped_or_failed("analytics.js is not installed: `make browser` does it with npm")
    return chromium_path


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("browser-sandbox")) as running:
        yield running


def arrived(product: ProductProcess, message_id: str) -> dict[str, Any]:
    """The trace of an event, once it has one."""

    def trace() -> dict[str, Any]:
        result = product.trace(message_id) or {}
        return result if result.get("results") else {}

    return wait_until(trace, f"{message_id} did not arrive")


STRATEGIES = [
    pytest.param(None, id="one request an event"),
    pytest.param({"strategy": "batching", "config": {"size": 2, "timeout": 500}}, id="batches"),
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_a_browser_sends_arrives(tmp_path: Path, browser: str, sandbox: SandboxProcess, strategy: object) -> None:
    with ProductProcess(tmp_path / "product", configuration(perkville_url=sandbox.url, options=QUICK)) as product:
        shop = Shop(tmp_path, browser, product.url, strategy)
        try:
            for call in ("page", "identify", "track"):
                shop.call(call, number=1)
            page, identify, track = (shop.message_id() for _ in range(3))
            assert arrived(product, page)["event"]["name"] == "Shoes"
            assert arrived(product, identify)["event"]["traits"]["name"] == "Ännchen"
            event = arrived(product, track)["event"]
            assert event["userId"] == "ann"
            assert event["anonymousId"]
            assert event["context"]["ip"] == "127.0.0.1"
            assert event["context"]["library"]["name"] == "analytics.js"
            assert product.wait_for_status(track, "delivered")["transaction"]["email"] == "visitor1@example.com"
        finally:
            shop.close()


def test_the_librarys_retry_queue_brings_what_could_not_be_sent(
    tmp_path: Path, browser: str, sandbox: SandboxProcess
) -> None:
    content = configuration(perkville_url=sandbox.url, options=QUICK)
    reservation = ExitStack()
    port = reservation.enter_context(reserved_port())
    product = ProductProcess(tmp_path / "product", content, port=port)
    shop = Shop(tmp_path, browser, product.url, None)
    try:
        shop.call("page")
        arrived(product, shop.message_id())
        product.stop()
        for number in range(3):
            shop.call("track", number=100 + number)
        # Each call ends when its first try has failed; the library keeps it and tries again by itself.
        time.sleep(3)
        with ProductProcess(tmp_path / "product", port=port) as again:
            expected = {f"visitor{100 + number}@example.com" for number in range(3)}
            wait_until(
                lambda: expected <= {transaction["email"] for transaction in sandbox.transactions()},
                "the queue was not sent",
            )
            for _ in range(3):
                again.wait_for_status(shop.message_id(), "delivered")
    finally:
        shop.close()
        product.stop()
        reservation.close()

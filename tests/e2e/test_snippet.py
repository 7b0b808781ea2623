"""Segment's snippet on a page in a real Chromium, with nothing changed but its host; and RudderStack's library."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from punchcard import ingest
from punchcard.app.assets import SNIPPET_HOST, SNIPPET_KEY, read_published_snippet
from punchcard.app.snippets import snippets_for
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until
from punchcard.workspace.model import Source

LIBRARY = Path(ingest.__file__).parent / "built"
RUDDERSTACK = Path(__file__).parents[1] / "browser/node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/umd"
BATCHING = (
    '{"integrations":{"Segment.io":{"deliveryStrategy":{"strategy":"batching","config":{"size":2,"timeout":500}}}}}'
)
# A snippet of the first version, as many pages still have it: no key but in the URL, no name of the global.
OLD_SNIPPET = """
window.analytics = [];
window.analytics.methods = ["identify", "track", "page", "ready"];
window.analytics.methods.forEach(function (method) {
  window.analytics[method] = function () {
    window.analytics.push([method].concat(Array.prototype.slice.call(arguments)));
    return window.analytics;
  };
});
var script = document.createElement("script");
script.async = true;
script.src = "https://punchcard.invalid/analytics.js/v1/YOUR_WRITE_KEY/analytics.min.js";
document.head.appendChild(script);
window.analytics.page();
"""
TRACK = """([name, email]) => new Promise((resolve, reject) => {
  // Nothing else ends this: the time-outs of Playwright do not apply to what a page evaluates.
  setTimeout(() => reject(new Error("the library did not start")), PATIENCE);
  const wait = () => {
    const analytics = window[name];
    if (!analytics || !analytics.initialized) return setTimeout(wait, 50);
    analytics.track("Checked In", { email }).then((context) => resolve(context.event.messageId), reject);
  };
  wait();
})""".replace("PATIENCE", str(PATIENCE_SECONDS * 1_000))


class Shop:
    """A website on a port of its own: one page with a script, and files beside it."""

    def __init__(self) -> None:
        self.page = ""
        shop = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(RUDDERSTACK))

            def do_GET(self) -> None:
                if urlsplit(self.path).path != "/":
                    super().do_GET()
                    return
                body = shop.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._serving.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with contextlib.closing(Shop()) as running:
        yield running


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("snippet-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess) -> Iterator[ProductProcess]:
    content = configuration(perkville_url=sandbox.url)
    environment = {"PUNCHCARD_TRUSTED_PROXIES": "127.0.0.1"}
    with ProductProcess(tmp_path_factory.mktemp("snippet"), content, environment=environment) as running:
        yield running


class PageView:
    """A page opened in the browser, and what it asked of whom."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.responses: dict[str, int] = {}
        self.hosts: set[str] = set()
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("response", lambda response: self.responses.update({response.url: response.status}))

    def track(self, email: str, *, name: str = "analytics") -> str:
        return str(self.page.evaluate(TRACK, [name, email]))


@pytest.fixture(scope="module", autouse=True)
def library_is_built() -> None:
    assert (LIBRARY / "library.json").exists(), "run `make assets`"


@pytest.fixture
def visit(chromium: Browser, shop: Shop) -> Iterator[Callable[..., PageView]]:
    with contextlib.ExitStack() as stack:

        def open_page(script: str, *, query: str = "") -> PageView:
            shop.page = f"<!doctype html><title>Shop</title><head><script>{script}</script></head>"
            context = chromium.new_context(ignore_https_errors=True)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_SECONDS * 1_000)
            opened = PageView(page)
            page.goto(shop.url + query)
            return opened

        yield open_page


def published(product: ProductProcess) -> str:
    """Segment's snippet with another host."""
    text = read_published_snippet()
    assert text is not None, "run `make assets`"
    return text.replace(f"https://{SNIPPET_HOST}", product.url).replace(SNIPPET_KEY, WRITE_KEY)


def requests(product: ProductProcess, call: str) -> float:
    _, text = product.call("GET", "/metrics")
    lines = [line for line in str(text).splitlines() if f'requests_total{{call="{call}",status="200"}}' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_the_snippet_of_the_app_earns_points_and_asks_nobody_else(
    visit: Callable[..., PageView], product: ProductProcess, shop: Shop
) -> None:
    source = Source(slug="website", name="Website", type="javascript", write_keys=(WRITE_KEY,))
    first = snippets_for(source, host=product.url)[0]
    assert first.key == "website"
    pages = requests(product, "page")
    opened = visit(first.text.removeprefix("<script>").removesuffix("</script>"))
    message_id = opened.track("snippet@example.com")
    wait = product.wait_for_status(message_id, "delivered")
    assert wait["transaction"]["email"] == "snippet@example.com"
    assert opened.hosts == {urlsplit(shop.url).netloc, urlsplit(product.url).netloc}
    assert set(opened.responses.values()) <= {200, 204}
    wait_until(lambda: requests(product, "page") > pages, "the page call of the snippet did not arrive")


def test_batches_arrive_too(visit: Callable[..., PageView], product: ProductProcess) -> None:
    batches = requests(product, "batch")
    script = published(product).replace(f'analytics.load("{WRITE_KEY}")', f'analytics.load("{WRITE_KEY}", {BATCHING})')
    assert BATCHING in script
    message_id = visit(script).track("batches@example.com")
    product.wait_for_status(message_id, "delivered")
    assert requests(product, "batch") > batches


def test_a_page_may_call_it_otherwise(visit: Callable[..., PageView], product: ProductProcess, shop: Shop) -> None:
    script = published(product).replace('var i="analytics"', 'var i="segment"')
    opened = visit(script)
    message_id = opened.track("renamed@example.com", name="segment")
    product.wait_for_status(message_id, "delivered")
    assert opened.hosts == {urlsplit(shop.url).netloc, urlsplit(product.url).netloc}
    assert opened.page.evaluate("typeof window.analytics") == "undefined"


def test_an_old_snippet_works_as_it_is(visit: Callable[..., PageView], product: ProductProcess, shop: Shop) -> None:
    script = OLD_SNIPPET.replace(f"https://{SNIPPET_HOST}", product.url).replace(SNIPPET_KEY, WRITE_KEY)
    opened = visit(script)
    message_id = opened.track("old@example.com")
    product.wait_for_status(message_id, "delivered")
    assert opened.hosts == {urlsplit(shop.url).netloc, urlsplit(product.url).netloc}


def test_parts_that_are_loaded_later_come_from_here(visit: Callable[..., PageView], product: ProductProcess) -> None:
    opened = visit(published(product), query="?ajs_event=Checked%20In&ajs_uid=ann&ajs_prop_email=query@example.com")
    opened.track("parts@example.com")
    parts = {url: status for url, status in opened.responses.items() if ".bundle." in url}
    assert parts
    assert all(url.startswith(f"{product.url}/analytics-next/bundles/") for url in parts)
    assert set(parts.values()) == {200}


@pytest.mark.parametrize(
    ("headers", "api_host", "protocol"),
    [
        pytest.param({}, None, "http", id="as it is reached"),
        pytest.param({"Host": "points.example.com"}, "points.example.com/v1", "http", id="another name"),
        pytest.param(
            {"Host": "points.example.com", "X-Forwarded-Proto": "https"}, "points.example.com/v1", "https", id="a proxy"
        ),
    ],
)
def test_the_settings_document_names_the_requested_host(
    product: ProductProcess, headers: dict[str, str], api_host: str | None, protocol: str
) -> None:
    status, document = product.call("GET", f"/v1/projects/{WRITE_KEY}/settings", headers=headers)
    settings = document["integrations"]["Segment.io"]
    assert status == 200
    assert settings["apiHost"] == (api_host or f"127.0.0.1:{product.port}/v1")
    assert settings["protocol"] == protocol


def test_a_public_url_counts_more_than_requests_and_strangers_are_not_believed(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    forwarded = {"Host": "evil.example", "X-Forwarded-Proto": "http"}
    path = f"/v1/projects/{WRITE_KEY}/settings"
    content = configuration(perkville_url=sandbox.url)
    public = {"PUNCHCARD_PUBLIC_URL": "https://points.example.com/punchcard/"}
    with ProductProcess(tmp_path, content, environment=public) as product:
        settings = product.call("GET", path, headers=forwarded)[1]["integrations"]["Segment.io"]
        assert (settings["apiHost"], settings["protocol"]) == ("points.example.com/punchcard/v1", "https")
    with ProductProcess(tmp_path, serves_only=True) as product:
        claimed = {"X-Forwarded-Proto": "https"}
        assert product.call("GET", path, headers=claimed)[1]["integrations"]["Segment.io"]["protocol"] == "http"


def test_a_shop_with_its_own_certificate_is_served_over_https(
    tmp_path: Path,
    visit: Callable[..., PageView],
    sandbox: SandboxProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "data" / "tls" / "self-signed.crt"))
    content = configuration(perkville_url=sandbox.url)
    with ProductProcess(tmp_path, content, arguments=("--tls", "self-signed")) as secure:
        opened = visit(published(secure))
        message_id = opened.track("https@example.com")
        secure.wait_for_status(message_id, "delivered")
        assert all(url.startswith("https:") for url in opened.responses if "/v1/" in url)


def test_rudderstacks_library_sends_here(visit: Callable[..., PageView], product: ProductProcess, shop: Shop) -> None:
    if not (RUDDERSTACK / "index.js").exists():
        pytest.skip("RudderStack's library is not installed: `make browser` does it with npm")
    opened = visit("", query="?rudderstack")
    opened.page.add_script_tag(url=f"{shop.url}index.js")
    message_id = opened.page.evaluate(
        """([writeKey, url]) => new Promise((resolve) => {
            const library = new (window.RudderAnalytics || window.rudderanalytics.RudderAnalytics)();
            library.load(writeKey, url, { configUrl: url });
            library.identify("ann", { name: "Ann" });
            library.track("Checked In", { email: "rudder@example.com" }, (event) => resolve(event.messageId));
        })""",
        [WRITE_KEY, product.url],
    )
    product.wait_for_status(str(message_id), "delivered")

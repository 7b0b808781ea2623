"""From what an operator does until the page is painted again, on the largest lists, in Chromium.

    python -m bench.interactions [EVENTS, by default 10000000] [TRANSACTIONS] [PROFILES] [--folder=FOLDER]

Fills store and lake as `bench.pages` does (`--folder` keeps them), runs `punchcard serve` on them, opens each list at
its full length and does what people do there: a menu, a column, an order, a selection, a row, typing. What is measured
is the browser's own Event Timing: from the key or click until the next frame is presented. Of each action the least of
some rounds counts, as other work on the machine only adds to it; of each page, its slowest action. The processor time
of the page's main thread is shown with it.
"""

import base64
import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from bench.big_store import DESTINATION, SOURCES, Amounts, audience_key
from bench.chromium import MISSING, OPTIONS, find_chromium
from bench.pages import build
from bench.product import started
from bench.report import Figure, show
from bench.size import size

_AMOUNTS = Amounts(events=size(10_000_000, 20_000), transactions=size(1_000_000, 2_000), profiles=size(500_000, 1_000))
_ROUNDS = size(4, 1)
_GOAL_MILLISECONDS = 200
_DEBUGGER_ROWS = 500
_DEBUGGER = f"/sources/{SOURCES[0]}/debugger"
_DESKTOP, _PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
# Entries are kept beyond the page: a click on a tab is measured although it leaves the page.
_OBSERVE = """(() => {
  const keep = (entries) => {
    const kept = JSON.parse(sessionStorage.getItem("interactions") ?? "[]");
    for (const { interactionId, duration } of entries) if (interactionId) kept.push(duration);
    sessionStorage.setItem("interactions", JSON.stringify(kept));
  };
  const observer = new PerformanceObserver((list) => keep(list.getEntries()));
  observer.observe({ type: "event", durationThreshold: 16 });
  addEventListener("pagehide", () => keep(observer.takeRecords()));
})()"""
_NEXT_FRAMES = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 100))))"
)
_Action = Callable[[Page], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An action on a page.

    Attributes:
        milliseconds: Until the next paint, of each round; 16 stands for that or less.
        cpu_milliseconds: Of the main thread, of each round; none if the page was left.
    """

    path: str
    action: str
    milliseconds: list[float]
    cpu_milliseconds: list[float]


def main(amounts: Amounts = _AMOUNTS, *, folder: str = "") -> None:
    """Measure and print."""
    chromium = find_chromium()
    if chromium is None:
        print(f"Not measured: {MISSING}.")
        return
    new_folder = nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="punchcard-interactions-")
    with new_folder as place:
        big = build(Path(place), f"sqlite:///{place}/punchcard.db", amounts)
        big.store.close()
        with (
            started(["serve"], Path(place), {}) as product,
            sync_playwright() as playwright,
            _closed(playwright.chromium.launch(executable_path=chromium, args=list(OPTIONS))) as browser,
        ):
            results = [
                result
                for size_, pages in ((_DESKTOP, _pages()), (_PHONE, _phone_pages()), (_DESKTOP, _debugger(product.url)))
                for path, actions in pages.items()
                for result in _measure(browser, product.url, big.cookie, path, actions, size_)
            ]
    _report(results)


def _report(results: list[Measured]) -> None:
    worst: dict[str, Measured] = {}
    for result in results:
        if result.path not in worst or min(result.milliseconds) > min(worst[result.path].milliseconds):
            worst[result.path] = result
    slowest = max(results, key=lambda result: min(result.milliseconds))
    figures = {"interactions: slowest until next paint": slowest}
    figures |= {f"  {path}, {result.action}": result for path, result in worst.items()}
    for name, result in figures.items():
        values = [min(result.milliseconds)]
        show(Figure(name=name, unit="ms", values=values, target=_GOAL_MILLISECONDS, at_most=True))


@contextmanager
def _closed(browser: Browser) -> Iterator[Browser]:
    try:
        yield browser
    finally:
        browser.close()


def _measure(
    browser: Browser, url: str, cookie: str, path: str, actions: Mapping[str, _Action], window: dict[str, int]
) -> Iterator[Measured]:
    name, _, secret = cookie.partition("=")
    with browser.new_context(base_url=url, viewport=window, reduced_motion="reduce") as context:  # type: ignore[arg-type]
        context.set_default_timeout(60_000)
        context.add_cookies([{"name": name, "value": secret, "url": url}])
        context.add_init_script(_OBSERVE)
        page = context.new_page()
        client = context.new_cdp_session(page)
        client.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(path)
        page.evaluate(_NEXT_FRAMES)
        for action, act in actions.items():
            result = Measured(path=path, action=action, milliseconds=[], cpu_milliseconds=[])
            for _ in range(_ROUNDS):
                _round(page, client, result, act)
                if page.url != f"{url}{path}":
                    page.goto(path)
            least, cpu = min(result.milliseconds), min(result.cpu_milliseconds, default=0)
            slow = "  SLOW" if least > _GOAL_MILLISECONDS else ""
            times = f"{least:5.0f} ms, at most {max(result.milliseconds):5.0f}, CPU {cpu:5.0f}{slow}"
            print(f"{path:<60} {action:<24} {times}", flush=True)
            yield result


def _round(page: Page, client: CDPSession, result: Measured, act: _Action) -> None:
    page.evaluate("sessionStorage.removeItem('interactions')")
    begun, address = _main_thread_seconds(client), page.url
    act(page)
    page.wait_for_load_state()
    page.evaluate(_NEXT_FRAMES)
    entries = json.loads(page.evaluate("sessionStorage.getItem('interactions') ?? '[]'"))
    result.milliseconds.append(max(entries, default=16))
    seconds = _main_thread_seconds(client) - begun
    if page.url == address and seconds >= 0:  # it counts from the beginning of the page
        result.cpu_milliseconds.append(seconds * 1e3)


def _main_thread_seconds(client: CDPSession) -> float:
    metrics = client.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def _click(selector: str) -> _Action:
    return lambda page: page.locator(selector).first.click()


def _typing(selector: str, text: str) -> _Action:
    """Type in a field that is emptied before; results of one key come while the next one is pressed."""

    def act(page: Page) -> None:
        page.locator(selector).first.fill("")
        page.locator(selector).first.focus()
        page.keyboard.type(text, delay=150)

    return act


def _search(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.keyboard.type("user-7", delay=150)
    page.keyboard.press("Escape")


def _select_matching(page: Page) -> None:
    choice = page.locator("[data-bulk-which]")
    choice.focus()
    page.keyboard.press("ArrowDown" if choice.input_value() == "chosen" else "ArrowUp")


_MENU = ".menu[data-columns-of]"


def _change_column(page: Page) -> None:
    page.locator(_MENU).evaluate("menu => { menu.open = true }")
    page.locator(f"{_MENU} input").nth(1).click()


def _add_condition(page: Page) -> None:
    page.goto(page.url)
    page.locator("[data-builder-add]").click()


def _show_more(page: Page) -> None:
    page.reload()
    page.get_by_role("button", name="Show more").first.click()


_OF_LISTS: dict[str, _Action] = {
    "menu of columns": _click(f"{_MENU} summary"),
    "column": _change_column,
    "order": _click("main th .sort"),
}


def _pages() -> dict[str, dict[str, _Action]]:
    transactions = f"/destinations/{DESTINATION}/transactions"
    search: dict[str, _Action] = {"search": _search}
    details = {"row": _click("[data-toggle-row]"), "export menu": _click("details.menu:not([data-columns-of]) summary")}
    selection = {"select all": _click("[data-bulk-page]"), "select all that match": _select_matching}
    return {
        f"{transactions}?state=parked": {**_OF_LISTS, **details, **selection, **search},
        transactions: {**_OF_LISTS, **details, **search, "tab": _click(".tabs a:not([aria-current])")},
        "/events?time=30d": {**_OF_LISTS, "type a name": _typing("#f-name", "Order Completed"), **search},
        "/customers": {"type": _typing("main input[name=q]", "user-77"), **search},
        f"/customers?trait={audience_key(0)}": {"type": _typing("#f-trait", "audience_00"), **search},
        f"/audiences/{audience_key(0)}": {"tab": _click("main a[href*=edit]"), **search},
        f"/audiences/{audience_key(0)}/edit": {"type": _typing("[aria-label=Event]", "Order Completed")},
        "/audiences": search,
        "/catalog": {"type": _typing("main input[name=q]", "perk"), **search},
        f"/destinations/{DESTINATION}/filters/new": {
            "type a condition": _typing("[data-fql]", 'event = "Order Completed"'),
            "add a condition": _add_condition,
        },
        f"/sources/{SOURCES[0]}/schema": {"type": _typing("main input[name=q]", "feature"), **search},
    }


def _phone_pages() -> dict[str, dict[str, _Action]]:
    """On a phone, the rest of a list is shown when somebody wants it."""
    more: dict[str, _Action] = {"show more": _show_more, "menu": _click("[data-menu]")}
    paths = ("/events?time=30d", "/events?time=7d")
    return dict.fromkeys(paths, more)


def _debugger(url: str) -> dict[str, dict[str, _Action]]:
    """The debugger while as many events come as it shows."""

    def type_beside_events(page: Page) -> None:
        _send_events(url)
        _typing("[data-debugger-search]", "checked")(page)
        page.locator("[data-debugger-search]").fill("")

    return {_DEBUGGER: {"type": type_beside_events, "row": _click(".live-toggle"), "search": _search}}


def _send_events(url: str) -> None:
    key = base64.b64encode(f"wk_{SOURCES[0]}:".encode()).decode()
    events = [
        {
            "type": "track",
            "event": "Checked In",
            "userId": f"user-{number}",
            "properties": {"email": f"{number}@x.example"},
        }
        for number in range(_DEBUGGER_ROWS + 100)
    ]
    for begin in range(0, len(events), 100):
        body = json.dumps({"batch": events[begin : begin + 100]}).encode()
        headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/batch", body, headers)) as response:
            response.read()


if __name__ == "__main__":
    _numbers = [int(text) for text in sys.argv[1:] if text.isdigit()]
    _folder = next((text.removeprefix("--folder=") for text in sys.argv if text.startswith("--folder=")), "")
    main(
        Amounts(**dict(zip(("events", "transactions", "profiles"), _numbers, strict=True))) if _numbers else _AMOUNTS,
        folder=_folder,
    )

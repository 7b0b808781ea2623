"""Every page, list, search and export of the App and the lists of the Public API over a full store and lake.

    python -m bench.pages [EVENTS, by default 10000000] [TRANSACTIONS] [PROFILES] [--postgres] [--only=TEXT]
        [--folder=FOLDER]

Builds both in a temporary folder (about 4 GB), and calls the ASGI apps as the serving process has them, in this process
and without a socket. The figures are those of a request: its time, and the processor time of all threads and of the
PostgreSQL server, which other work on the machine hardly changes. Of an export only the first bytes are awaited.
"""

import asyncio
import gzip
import logging
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from bench.big_store import (
    AUDIENCES,
    DESTINATION,
    STATIC_LIST,
    Amounts,
    audience_key,
    configuration_text,
    email_of,
    fill,
)
from bench.postgres import new_database, own_postgres
from bench.product import children_cpu_seconds
from bench.report import Figure, percentile, show
from bench.size import size
from punchcard.app.pages import HANDLERS
from punchcard.clock import SystemClock
from punchcard.log.group_commit import GroupCommit
from punchcard.log.sqlite import SqliteEventLog
from punchcard.runtime.operator_side import OperatorSide
from punchcard.runtime.settings import read_settings
from punchcard.store.access.operators import create_operator
from punchcard.store.access.sessions import begin_session
from punchcard.store.access.token_store import Role, create_token
from punchcard.store.engine import Store
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import open_keyring
from punchcard.workspace.snapshot import SnapshotWatch

_EVENTS = size(10_000_000, 20_000)
_TRANSACTIONS = size(1_000_000, 2_000)
_PROFILES = size(500_000, 1_000)
_REQUESTS = size(10, 1)
_GOAL_MILLISECONDS = 150
_GOAL_PAGE_KILOBYTES = 300
_TRANSACTIONS_PATH = f"/destinations/{DESTINATION}/transactions"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The requests of one path.

    Attributes:
        seconds: Of each, until its last byte; of an export until the first one.
        cpu_seconds: Likewise, of all threads of this process and of the database server.
        size_bytes: Of the body, compressed.
    """

    path: str
    seconds: Sequence[float]
    cpu_seconds: Sequence[float]
    size_bytes: int

    def line(self) -> str:
        """Return a line of the table."""
        times = [f"{percentile(self.seconds, share) * 1e3:6.0f}" for share in (0.5, 0.95)]
        cpu = statistics.median(self.cpu_seconds) * 1e3
        slow = "  SLOW" if percentile(self.seconds, 0.95) * 1e3 > _GOAL_MILLISECONDS else ""
        return f"{self.path:<96} {times[0]} {times[1]} {cpu:7.0f} {self.size_bytes / 1024:7.1f}{slow}"


def paths(amounts: Amounts) -> list[str]:
    """Return the paths of all pages that show stored data, and of lists of the Public API."""
    middle = amounts.transactions // 2
    destination = f"/destinations/{DESTINATION}"
    period = "time=30d"
    return [
        *("/", f"/?{period}", "/alerts", "/alerts/rules", "/alerts/channels"),
        *(
            "/customers",
            "/customers?q=user-1",
            *("/customers?q=Ann1", "/customers?q=nobody"),
            f"/customers?before={middle}",
        ),
        *(f"/customers?trait={audience_key(number)}" for number in (0, 2, AUDIENCES - 1)),
        *("/customers?trait=orders&value=7", "/customers?trait=orders&value=none", "/customers?trait=nothing"),
        *(f"/customers/{email_of(77)}{tab}" for tab in ("", "?tab=events", "?tab=audiences", "?tab=profile")),
        *("/customers/nobody@example.com", "/customers/user-77"),
        *("/audiences", "/audiences/new", "/audiences/new?kind=list", "/audiences/orders"),
        *(f"/audiences/{audience_key(number)}{tab}" for number in (0, 2) for tab in ("", "/edit")),
        f"/audiences/{STATIC_LIST}/list",
        *("/events", f"/events?{period}", f"/events?{period}&name=Never+Seen", f"/events?{period}&type=page"),
        f"/events?{period}&destination={DESTINATION}&status=refused&reason=not_allowlisted",
        f"/events?{period}&destination={DESTINATION}&status=refused&reason=missing_email",
        f"/events?{period}&source=pos&name=Checked+In",
        *(f"/events/message-{middle}", "/events/nothing", f"{_TRANSACTIONS_PATH}/{middle}/resolve"),
        *("/sources", "/sources/_new", "/sources/website", "/sources/website?time=30d", "/sources/website/debugger"),
        *("/sources/website/schema", "/sources/website/schema/event?type=track&name=Order+Completed"),
        "/sources/website/protocols",
        *("/protocols", "/protocols/shop", "/protocols/shop/violations", "/protocols/shop/rule"),
        *("/catalog", f"/catalog/{DESTINATION}", f"/catalog/{DESTINATION}/add", "/destinations"),
        *(destination, f"{destination}?{period}", f"{destination}?time=1h"),
        *(f"{destination}/{page}" for page in ("settings", "state", "map", "filters", "filters/new", "tester")),
        *(f"{destination}/{page}" for page in ("conflicts", "replays", "reconciliations", "reconciliations/1")),
        *(f"{_TRANSACTIONS_PATH}{query}" for query in ("", f"?{period}", f"?before={middle}", "?state=parked")),
        *(f"{_TRANSACTIONS_PATH}?state={state}" for state in ("delivered", "rejected", "unknown", "pending,retrying")),
        *(f"{_TRANSACTIONS_PATH}?state={state}&{period}" for state in ("delivered", "parked")),
        f"{_TRANSACTIONS_PATH}?state=pending,retrying,unknown&{period}",
        *(f"{_TRANSACTIONS_PATH}?q={text}" for text in (email_of(77), f"order-{middle}", "nobody@example.com", "none")),
        *(f"{_TRANSACTIONS_PATH}?reason={reason}" for reason in ("outcome_unknown", "nothing")),
        *(f"{_TRANSACTIONS_PATH}?event={name}" for name in ("Checked+In", "Never+Seen")),
        *(f"{_TRANSACTIONS_PATH}?property={audience_key(0)}", f"{_TRANSACTIONS_PATH}?event=Never+Seen&{period}"),
        *("/transformations", "/transformations/new"),
        *("/privacy", "/privacy/inventory", "/privacy/inventory/property?section=properties&path=property_1"),
        *("/privacy/controls", "/privacy/controls/new", "/privacy/retention"),
        *("/settings", "/settings/audit", f"/settings/audit?before={middle // 10}", "/settings/versions"),
        *("/settings/team", "/settings/tokens", "/settings/account", "/settings/password", "/settings/sign-in"),
        *("/settings/two-factor", "/settings/passkeys", "/docs", "/whats-new", "/search?q=user-1"),
        *(f"/search/results?q={text}" for text in ("", "us", "user-7", "ann", f"order-{middle}", f"message-{middle}")),
        *(f"/exports/transactions/{DESTINATION}?{query}" for query in ("format=csv", "format=parquet")),
        *(f"/exports/transactions/{DESTINATION}?format=csv&{query}" for query in ("state=parked", "event=Never+Seen")),
        *(f"/exports/events?format=csv{query}" for query in ("", f"&{period}", f"&{period}&name=Never+Seen")),
        *(f"/exports/customers?format=csv{query}" for query in ("", f"&trait={audience_key(2)}")),
        *("/exports/audit?format=csv", "/exports/inventory?format=csv", f"/exports/lists/{STATIC_LIST}?format=csv"),
        *(f"/api{path}" for path in _api_paths(middle)),
    ]


def _api_paths(middle: int) -> list[str]:
    destination, count = f"/destinations/{DESTINATION}", "count=100"
    return [
        *(f"{destination}/transactions?{count}", f"{destination}/transactions?{count}&state=parked"),
        f"{destination}/transactions?{count}&email={email_of(77)}",
        *(f"{destination}/conflicts?{count}", f"{destination}/reconciliations", f"{destination}/replays"),
        *(f"/events?{count}", "/events?name=Never+Seen", f"/events/message-{middle}"),
        *(f"/customers?{count}", f"/customers?trait={audience_key(2)}"),
        *(f"/spaces/punchcard/audiences?{count}", f"/spaces/punchcard/audiences/{audience_key(0)}"),
        *(f"/audit-events?{count}", f"/alerts?{count}", "/sources/website/schema/events"),
        *(f"{destination}/pipeline", f"{destination}/delivery-metrics"),
    ]


_NOT_MEASURED = frozenset(
    {
        # Without an operator: they read nothing that grows.
        *("/welcome", "/sign-in", "/sign-in/code", "/sign-in/oidc", "/sign-in/oidc/callback", "/join/{secret:str}"),
        *("/lost-password", "/new-password/{secret:str}"),
        # A stream, what Engage computes, and parts of single things that this store has none of.
        *("/sources/{slug:str}/live", "/sources/{slug:str}/live/{place:str}", "/docs/{path:path}"),
        *("/audiences/{key:str}/funnel", "/audiences/{key:str}/membership", "/privacy/{id:str}"),
        "/audiences/{key:str}/uploads/{upload_id:str}",
        *("/alerts/channels/{slug:str}", "/destinations/{slug:str}/conflicts/{number:str}"),
        *("/destinations/{slug:str}/filters/{filter_id:str}", "/destinations/{slug:str}/tester/sent"),
        *("/destinations/{slug:str}/replays/{replay_id:str}", "/destinations/{slug:str}/replay-offer"),
        *("/destinations/{slug:str}/replays/{replay_id:str}/progress", "/transformations/{slug:str}"),
        *("/destinations/{slug:str}/simulations/{number:str}", "/privacy/controls/{kind:str}/{slug:str}"),
        *("/protocols/{slug:str}/export", "/settings/versions/{number:str}", "/settings/passkeys/{id:str}"),
    }
)


def unmeasured_pages(measured: Sequence[str]) -> list[str]:
    """Return the paths of the App's pages that no path of the bench opens."""
    plain = [path.partition("?")[0] for path in measured]
    templates = {
        template
        for handler in HANDLERS
        if "GET" in handler.http_methods
        for template in handler.paths
        if template not in _NOT_MEASURED
    }
    patterns = {re.sub(r"\{\w+:path\}", ".+", re.sub(r"\{\w+:str\}", "[^/]+", path)): path for path in templates}
    return sorted(
        path for pattern, path in patterns.items() if not any(re.fullmatch(pattern, opened) for opened in plain)
    )


def main(
    events: int = _EVENTS,
    transactions: int = _TRANSACTIONS,
    people: int = _PROFILES,
    *,
    on_postgres: bool = False,
    only: str = "",
    folder: str = "",
) -> None:
    """Measure and print.

    Args:
        only: Only paths that contain it.
        folder: Where store and lake are kept for the next run; "" for a temporary folder. SQLite only.
    """
    amounts = Amounts(events=events, transactions=transactions, profiles=people)
    every_path = paths(amounts)
    if missing := unmeasured_pages(every_path):
        raise RuntimeError(f"pages that are not measured: {', '.join(missing)}")
    new_folder = nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="punchcard-pages-")
    with new_folder as place, _database(place, on_postgres) as (url, cpu):
        begun = time.perf_counter()
        big = build(Path(place), url, amounts)
        print(f"{events:,} events, {transactions:,} transactions, {people:,} profiles", end="")
        print(f", filled in {time.perf_counter() - begun:.0f} s", flush=True)
        results = asyncio.run(_measure(big, [path for path in every_path if only in path], cpu))
        big.store.close()
    _report(results, "PostgreSQL" if on_postgres else "SQLite")


def _report(results: Sequence[Measured], database: str) -> None:
    slow = [result for result in results if percentile(result.seconds, 0.95) * 1e3 > _GOAL_MILLISECONDS]
    slowest = max(results, key=lambda result: percentile(result.seconds, 0.95))
    largest = max(results, key=lambda result: 0 if "/exports/" in result.path else result.size_bytes)
    every = [second * 1e3 for result in results for second in result.seconds]
    show(
        Figure(
            name=f"pages on {database}: p95 of all requests",
            unit="ms",
            values=[percentile(every, 0.95)],
            target=_GOAL_MILLISECONDS,
            at_most=True,
        )
    )
    show(Figure(name="  pages above the goal", unit="pages", values=[len(slow)], target=0, at_most=True))
    show(
        Figure(
            name=f"  largest page {largest.path}",
            unit="KB",
            values=[largest.size_bytes / 1024],
            target=_GOAL_PAGE_KILOBYTES,
            at_most=True,
        )
    )
    print(f"slowest: {slowest.path}")


@contextmanager
def _database(folder: str, on_postgres: bool) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield the URL of a database, and what returns the processor seconds of this process and its server."""
    if not on_postgres:
        yield f"sqlite:///{folder}/punchcard.db", time.process_time
        return
    with own_postgres() as server:
        yield new_database(server.url), lambda: time.process_time() + children_cpu_seconds(server.pid)


@dataclass(frozen=True, kw_only=True)
class BigStore:
    """A filled store with its configuration.

    Attributes:
        cookie: Of an owner who is signed in.
        token: Of the Public API.
    """

    folder: Path
    store: Store
    store_url: str
    cookie: str
    token: str


def build(folder: Path, store_url: str, amounts: Amounts) -> BigStore:
    """Create store and lake in a folder, and fill them, unless the folder has them; add an owner."""
    clock = SystemClock()
    is_filled = (folder / "lake").exists()
    store = Store(store_url)
    keyring = open_keyring(None, folder / "secret-key")
    if not is_filled:
        content = read_content(configuration_text().encode(), "punchcard.toml", environment={})
        apply(store, content, clock=clock, keyring=keyring, actor="config file")
        fill(store, str(folder / "lake"), amounts, now=datetime.now(UTC))
    with store.unit_of_work() as work:
        operator = create_operator(
            work,
            email=f"owner-{uuid.uuid4().hex}@example.com",
            name="Owner",
            role=Role.OWNER,
            password="-",
            clock=clock,
        )
        secret = begin_session(work, operator, clock=clock)
        token = create_token(work, "bench", clock=clock)
    return BigStore(folder=folder, store=store, store_url=store_url, cookie=f"punchcard_session={secret}", token=token)


@asynccontextmanager
async def apps(big: BigStore) -> AsyncIterator[OperatorSide]:
    """App and APIs as the serving process has them."""
    keyring = open_keyring(None, big.folder / "secret-key")
    settings = read_settings({"PUNCHCARD_DATA": str(big.folder), "PUNCHCARD_DATABASE_URL": big.store_url})
    log = SqliteEventLog(big.folder / "log.db")
    commit = GroupCommit(log, records_max=64, bytes_max=1 << 20, queue_bytes_max=1 << 24)
    watch = SnapshotWatch(big.store, keyring, clock=SystemClock())
    try:
        yield OperatorSide(
            settings, store=big.store, keyring=keyring, watch=watch, log=log, commit=commit, config_file=""
        )
    finally:
        await asyncio.to_thread(commit.stop)
        log.close()


async def _measure(big: BigStore, chosen: Sequence[str], cpu: Callable[[], float]) -> list[Measured]:
    results = []
    print(f"{'':<96} {'p50':>6} {'p95':>6} {'CPU':>7} {'KB':>7}")
    async with apps(big) as side:
        for path in chosen:
            headers = {"authorization": f"Bearer {big.token}"} if path.startswith("/api/") else {"cookie": big.cookie}
            app = side.public_api if path.startswith("/api/") else side.app
            result = await _requests(app, path, headers, cpu)
            print(result.line(), flush=True)
            results.append(result)
    return results


async def _requests(app: Any, path: str, headers: Mapping[str, str], cpu: Callable[[], float]) -> Measured:
    seconds, cpu_seconds, body = [], [], b""
    for number in range(_REQUESTS + 1):
        begun, cpu_begun = time.perf_counter(), cpu()
        ended, cpu_ended, body = await _get(app, path, headers, cpu)
        if number:  # the first one imports, opens files and the like
            seconds.append(ended - begun)
            cpu_seconds.append(cpu_ended - cpu_begun)
    return Measured(path=path, seconds=seconds, cpu_seconds=cpu_seconds, size_bytes=len(gzip.compress(body)))


async def _get(app: Any, path: str, headers: Mapping[str, str], cpu: Callable[[], float]) -> tuple[float, float, bytes]:
    """Return the clocks at the end of a response, and its body; the client of an export leaves at the first bytes."""
    plain, _, query = path.partition("?")
    is_export = "/exports/" in path
    parts: list[bytes] = []
    is_over = asyncio.Event()
    status, ended, cpu_ended = 0, 0.0, 0.0
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"accept", b"text/html"),
            *((name.encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
        "extensions": {},
    }
    requests: Iterator[Mapping[str, Any]] = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Mapping[str, Any]:
        if (request := next(requests, None)) is not None:
            return request
        await is_over.wait()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, ended, cpu_ended
        if message["type"] == "http.response.start":
            status = message["status"]
        elif not is_over.is_set():
            parts.append(message.get("body", b""))
            ended, cpu_ended = time.perf_counter(), cpu()
            if not message.get("more_body") or (is_export and parts[-1]):
                is_over.set()

    await app(scope, receive, send)
    if status not in (200, 302, 303, 404):
        raise RuntimeError(f"{path}: {status} {b''.join(parts)[:500]!r}")
    return ended, cpu_ended, b"".join(parts)


if __name__ == "__main__":
    _numbers = [int(text) for text in sys.argv[1:] if text.isdigit()]
    _only = next((text.removeprefix("--only=") for text in sys.argv if text.startswith("--only=")), "")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    _folder = next((text.removeprefix("--folder=") for text in sys.argv if text.startswith("--folder=")), "")
    main(*_numbers, on_postgres="--postgres" in sys.argv, only=_only, folder=_folder)

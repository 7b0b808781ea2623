"""`punchcard demo`: the whole pipeline on this machine, with a simulated gym as the customer."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import tomli_w
from rich.console import Console

from punchcard.errors import PunchcardError
from punchcard.runtime.settings import ENVIRONMENT_PREFIX

_FOLDER = Path("demo-data")
_WRITE_KEY = "wk_gym_demo"
_OWNER = "demo@example.com"
_PASSWORD = "let me see the points"
_SANDBOX_PORT = 9100
# A new machine compiles every module at its first start, which takes a minute on a small one.
_START_SECONDS = 240.0
_PATIENCE_SECONDS = 15.0  # until a message about a slow start
_REQUEST_SECONDS = 30.0
_LOG_TAIL_CHARACTERS = 500
_STOP_SECONDS = 12.0
_MEMBERS = ("ann", "ben", "carla", "dmitri", "eve", "farid", "gina", "hiro")


def run_demo(*, port: int) -> int:
    """Start everything, send the gym's events until Ctrl-C, stop everything; return the exit status.

    Args:
        port: Port of Punchcard.

    Raises:
        PunchcardError: A process does not start.
    """
    console = Console(highlight=False, soft_wrap=True)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with ExitStack() as stack:
        sandbox_port = _SANDBOX_PORT if _is_free(_SANDBOX_PORT) else 0
        sandbox = stack.enter_context(
            _process(console, "sandbox", "--data", str(_FOLDER / "sandbox"), "--port", str(sandbox_port), expect="http")
        )
        config = _FOLDER / "punchcard.toml"
        config.write_text(tomli_w.dumps(_configuration(sandbox.url)))
        data = _FOLDER / "data"
        product = stack.enter_context(
            _process(
                console,
                *("up", "--config", str(config), "--data", str(data), "--port", str(port)),
                expect="Punchcard is up",
            )
        )
        _leave_to_app(config, data)
        _create_owner(product)
        console.print(f"\n[bold]The App[/bold] is at                {product.url}/  (sign in: {_OWNER} · {_PASSWORD})")
        console.print(f"[bold]Punchcard[/bold] accepts events at {product.url}/v1/track  (write key {_WRITE_KEY})")
        console.print(f"[bold]Perkville[/bold]'s sandbox is at    {sandbox.url}/  (customers, transactions, faults)")
        console.print(
            "Change the configuration in the App. Each start of the demo restores that of its source and destination."
        )
        console.print("A gym sends check-ins, orders and refunds. Ctrl-C stops everything.\n")
        gym = _Gym(product.url)
        stack.callback(gym.close)  # before the product stops, because the client still has to send events
        ledger = _Ledger(product.url, (data / "admin-token").read_text().strip())
        shown_how = False
        while not stopping.is_set():
            gym.send_random_event()
            for row in _read_changes(console, ledger):
                _show(console, row)
                if not shown_how and row["status"] == "delivered":
                    shown_how = True
                    console.print(
                        f"\n  Why did that one get points? In another terminal:\n"
                        f"  [bold]{sys.argv[0]} trace {row['messageId']} --data {data}[/bold]\n"
                    )
            stopping.wait(random.uniform(0.6, 1.6))
        console.print("\nStopping …")
    console.print(f"The data is in {_FOLDER}/. The next demo continues with it; `rm -r {_FOLDER}` deletes it.")
    return 0


def _leave_to_app(config: Path, data: Path) -> None:
    """Make what the config file of the demo names editable in the App; otherwise the file manages its parts.

    Raises:
        PunchcardError: The command failed; the message is its own.
    """
    done = subprocess.run(
        [sys.executable, "-m", "punchcard", "apply", str(config), "--release", "--yes", "--data", str(data)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise PunchcardError(f"The configuration of the demo was not left to the App: {done.stderr.strip()}")


def _create_owner(product: "_Running") -> None:
    """Create the account that signs in to the App; an account of an earlier demo stays.

    Raises:
        PunchcardError: The App does not respond in time, or refuses; the message names its log and what to do.
    """
    form = {
        "name": "Demo",
        "email": _OWNER,
        "password": _PASSWORD,
        "workspace": "Demo gym",
        "timezone": "America/Los_Angeles",
    }
    request = urllib.request.Request(
        f"{product.url}/welcome", urllib.parse.urlencode(form).encode(), {"Accept": "text/html"}
    )
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as response:
                response.read()
            return
        except urllib.error.HTTPError as error:
            problem = f"the App responded with {error.code}"
        except OSError as error:
            problem = f"the App at {product.url} did not respond: {error}"
            if time.monotonic() < deadline:
                time.sleep(1)
                continue
        raise PunchcardError(
            f"The demo's account could not be created: {problem}. The log is {product.log}. "
            f"If the machine is busy, try again; `rm -r {_FOLDER}` starts from the beginning."
        )


@dataclass
class _Running:
    """A process of the demo: its URL and its log."""

    url: str
    log: Path


class _Gym:
    """A small simulated gym: members check in, buy, and sometimes return a purchase.

    Args:
        url: URL of the Tracking API; events are sent with Segment's own library.
    """

    def __init__(self, url: str) -> None:
        from segment.analytics.client import Client

        self._random = random.Random()
        self._orders: list[tuple[str, str, Decimal]] = []
        self._client = Client(_WRITE_KEY, host=url, upload_interval=0.1, max_retries=3)

    def close(self) -> None:
        """Send the remaining events."""
        self._client.shutdown()

    def send_random_event(self) -> None:
        """Send one random event."""
        member = self._random.choice(_MEMBERS)
        email = f"{member}@example.com"
        draw = self._random.random()
        if draw < 0.5:
            self._track(member, "Checked In", {"email": email, "club": "Downtown"})
        elif draw < 0.8:
            order = f"demo-{time.time_ns()}"
            amount = Decimal(self._random.randint(300, 9000)) / 100
            self._orders.append((member, order, amount))
            self._track(member, "Order Completed", {"email": email, "order_id": order, "revenue": f"{amount}"})
        elif draw < 0.87 and self._orders:
            member, order, amount = self._orders.pop(self._random.randrange(len(self._orders)))
            part = (amount / 2).quantize(Decimal("0.01"))
            self._track(
                member, "Order Refunded", {"email": f"{member}@example.com", "order_id": order, "total": f"{part}"}
            )
        else:
            # Not in the map: the event is refused, and `trace` shows the reason.
            self._track(member, "Locker Opened", {"email": email})

    def _track(self, member: str, event: str, properties: dict[str, object]) -> None:
        self._client.track(user_id=member, event=event, properties=properties)


class _Ledger:
    """Reads the newest transactions through the API."""

    def __init__(self, url: str, token: str) -> None:
        self._request = urllib.request.Request(
            f"{url}/api/destinations/perkville/transactions?count=20", headers={"Authorization": f"Bearer {token}"}
        )
        self._seen: dict[str, str] = {}

    def changes(self) -> list[dict[str, object]]:
        """Return rows that are new or have a new status, oldest first."""
        with urllib.request.urlopen(self._request, timeout=10) as response:
            rows = json.load(response)["data"]["transactions"]
        first_look = not self._seen
        changes = [row for row in rows if self._seen.get(row["id"]) != row["status"]]
        self._seen.update({row["id"]: row["status"] for row in rows})
        return [] if first_look and len(rows) > 1 else changes[::-1]


def _read_changes(console: Console, ledger: _Ledger) -> list[dict[str, object]]:
    """Return the ledger's changes; none, with a message, while the API does not respond."""
    try:
        return ledger.changes()
    except (OSError, ValueError) as error:
        console.print(f"  [yellow]The ledger could not be read[/yellow], trying again: {error}", markup=True)
        return []


def _show(console: Console, row: dict[str, object]) -> None:
    colour = {"delivered": "green", "pending": "dim", "retrying": "yellow"}.get(str(row["status"]), "red")
    status = f"[{colour}]{row['status']:<10}[/{colour}]"
    reason = f"  ({row['reason']})" if row["reason"] else ""
    console.print(f"  {status} {_effect_text(row)}{reason}", markup=True)


def _effect_text(row: Mapping[str, object]) -> str:
    """Format an effect as a line: units of a perk, or the properties that are set."""
    transaction = row["transaction"]
    assert isinstance(transaction, dict)
    attributes = transaction.get("attributes")
    if attributes is not None:
        values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in attributes.items())
        return f"set {values} of {transaction['email']}"
    quantity = "?" if transaction["quantity"] is None else transaction["quantity"]  # a refund not yet decided
    return f"{quantity:>8} × perk {transaction['perk']}  {transaction['email']:<22} {row['eventName']}"


def _configuration(sandbox_url: str) -> dict[str, object]:
    return {
        "workspace": {"name": "Demo gym", "timezone": "America/Los_Angeles"},
        "sources": [{"slug": "gym", "name": "Gym", "write_key": _WRITE_KEY}],
        "destinations": [
            {
                "slug": "perkville",
                "type": "perkville",
                "source": "gym",
                "settings": {
                    "apiKey": "sandbox-token",
                    "businessId": "41",
                    "locationId": "7",
                    "sendEmail": False,
                    "eventToPerkMap": {
                        "Order Completed": "123456",
                        "Order Refunded": "123456",
                        "Checked In": "123457",
                    },
                },
                "options": {"apiBaseUrl": sandbox_url},
            }
        ],
        "audiences": [
            {
                "name": "Regulars",
                "definition": "event('Checked In').within(7 days).count() >= 3",
                "destinations": ["perkville"],
            },
            {
                # So short that members enter and leave during the demo.
                "name": "Just Arrived",
                "definition": "event('Checked In').within(30 seconds).count() >= 1",
                "destinations": ["perkville"],
            },
        ],
        "computed_traits": [
            {"name": "Lifetime Spend", "definition": "event('Order Completed').sum(property('revenue'))"}
        ],
    }


@contextmanager
def _process(console: Console, *arguments: str, expect: str) -> Iterator[_Running]:
    _FOLDER.mkdir(exist_ok=True)
    log = _FOLDER / f"{arguments[0]}.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    # Not in our process group, so that Ctrl-C reaches only us and we stop the processes in order.
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "punchcard", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=clean,
            start_new_session=True,
        )
        try:
            yield _Running(_wait_for_url(console, process, expect, log), log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_url(console: Console, process: "subprocess.Popen[str]", expect: str, log: Path) -> str:
    assert process.stdout is not None
    name = log.stem
    timed_out = threading.Event()

    def end() -> None:
        timed_out.set()
        process.kill()

    timers = [
        threading.Timer(_START_SECONDS, end),
        threading.Timer(_PATIENCE_SECONDS, console.print, [f"`punchcard {name}` is still starting; its log is {log}"]),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        for line in process.stdout:
            if expect in line:
                return next(word.rstrip("/.,)") for word in line.split() if word.startswith("http"))
    finally:
        for timer in timers:
            timer.cancel()
    if timed_out.is_set():
        problem = f"was not ready after {_START_SECONDS:.0f} s: if the machine is busy, try again"
    else:
        problem = f"ended with exit status {process.wait()}"
    tail = log.read_text()[-_LOG_TAIL_CHARACTERS:].strip() or "empty"
    raise PunchcardError(f"`punchcard {name}` {problem}. Its log, {log}, ends with: {tail}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0

"""From the Tracking API to a null partner in a real `up`: awards a second, and the CPU of all processes for one."""

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.delivery import NullPartnerProcess, null_partner_process, settings_for
from bench.product import WRITE_KEY, cpu_seconds, product
from bench.report import Figure, show
from bench.size import size

_AWARDS = size(40_000, 400)
_EVENTS_PER_BODY = 100
_SENDERS = 4
_ROUNDS = size(3, 1)
_WARM_UP = 100  # awards before any is counted: the client has read its perk then
_PAUSE_SECONDS = 0.1
_STALLED_SECONDS = 60.0


def main() -> None:
    """Measure and print."""
    rounds = [_measure() for _ in range(_ROUNDS)]
    show(
        Figure(
            name="end to end: mapped events to awards",
            unit="awards/s",
            values=[rate for rate, _ in rounds],
            target=5_000,
        )
    )
    show(
        Figure(
            name="end to end, CPU of an award, all processes",
            unit="µs",
            values=[cpu_micros for _, cpu_micros in rounds],
            at_most=True,
        )
    )


def _measure() -> tuple[float, float]:
    """Return the awards a second from the first request to the last award, and the CPU of all processes for one."""
    with null_partner_process() as partner:
        settings, options = settings_for(partner.url)
        with (
            product({**settings, "eventToPerkMap": {"Checked In": "123456"}}, options) as running,
            ThreadPoolExecutor(_SENDERS) as senders,
        ):
            _send(running.url, next(_bodies("warm-up", _WARM_UP)))
            _wait_for(partner, _WARM_UP)
            used = cpu_seconds(running.pid)
            begun = time.perf_counter()
            list(senders.map(lambda body: _send(running.url, body), _bodies("event", _AWARDS)))
            last = _wait_for(partner, _WARM_UP + _AWARDS)
            used = cpu_seconds(running.pid) - used
    return _AWARDS / (last - begun), used / _AWARDS * 1e6


def _bodies(name: str, count: int) -> Iterator[bytes]:
    """Yield bodies of 100 events of 1.1 KB, each event of another customer."""
    for first in range(0, count, _EVENTS_PER_BODY):
        batch = [
            {
                "type": "track",
                "messageId": f"{name}-{number}",
                "userId": f"{name}-{number}",
                "event": "Checked In",
                "properties": {"email": f"{name}-{number}@example.com", "padding": "x" * 800},
            }
            for number in range(first, min(first + _EVENTS_PER_BODY, count))
        ]
        yield json.dumps({"batch": batch, "writeKey": WRITE_KEY}).encode()


def _send(url: str, body: bytes) -> None:
    request = urllib.request.Request(f"{url}/v1/batch", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        response.read()


def _wait_for(partner: NullPartnerProcess, count: int) -> float:
    """Wait for so many awards; return when the last one came.

    Raises:
        AssertionError: one came twice, or none comes any more.
    """
    seen, changed_at = 0, time.perf_counter()
    while True:
        number, last = partner.posts()
        if number > count:
            raise AssertionError(f"{number} awards for {count} events")
        if number == count:
            return last
        if number > seen:
            seen, changed_at = number, time.perf_counter()
        if time.perf_counter() - changed_at > _STALLED_SECONDS:
            raise AssertionError(f"{count - number} awards did not arrive")
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()

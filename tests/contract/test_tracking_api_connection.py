"""One connection in the hands of every kind of client: each request gets its own answer, whatever came before it."""

import gzip
import http.client
import json
import socket
import tracemalloc
from typing import Any

import pytest

from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

EVENT = {"userId": "ann", "event": "Checked In", "messageId": "m1"}
TEXT = json.dumps(EVENT).encode()
BASIC = b"Authorization: Basic d2tfd2Vic2l0ZTo=\r\n"


def post(call: str, body: bytes, *, headers: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST /v1/%s HTTP/1.1\r\nHost: x\r\n" % call.encode() + BASIC + headers + length + b"\r\n" + body


def connected(tracking: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", tracking.port), timeout=PATIENCE_SECONDS)


def responses(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of the next answers on the connection."""
    result = []
    for _ in range(count):
        response = http.client.HTTPResponse(connection)
        response.begin()
        result.append((response.status, response.read()))
        response.close()
    return result


def test_requests_on_one_connection_are_answered_one_after_the_other(tracking: Any) -> None:
    with connected(tracking) as connection:
        for number in range(20):
            connection.sendall(post("track", json.dumps({**EVENT, "messageId": f"m{number}"}).encode()))
            assert responses(connection, 1) == [(200, b'{"success":true}')]
    assert len(tracking.recorded()) == 20


def test_requests_sent_without_waiting_are_all_taken_in_their_order(tracking: Any) -> None:
    bodies = [json.dumps({**EVENT, "messageId": f"m{number}"}).encode() for number in range(10)]
    with connected(tracking) as connection:
        connection.sendall(b"".join(post("track", body) for body in bodies))
        reading = connection.makefile("rb")
        for _ in bodies:
            assert b" 200 " in reading.readline()
            length = 0
            while (line := reading.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            assert reading.read(length) == b'{"success":true}'
        reading.close()
    assert [body for *_, body in tracking.recorded()] == bodies


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        pytest.param(post("track", b"{"), 400, id="malformed"),
        pytest.param(post("track", b" " * 40_000), 400, id="too large an event"),
        pytest.param(post("batch", b" " * 3_000_000), 400, id="too large a batch, in many parts"),
        pytest.param(post("track", b"{}", headers=b"Content-Encoding: br\r\n"), 415, id="encoding"),
        pytest.param(post("nothing", TEXT), 404, id="no such call"),
        pytest.param(post("pixel/track", TEXT), 405, id="wrong method"),
    ],
)
def test_a_refused_request_does_not_harm_the_next_on_its_connection(tracking: Any, refused: bytes, status: int) -> None:
    with connected(tracking) as connection:
        connection.sendall(refused)
        ((item, _),) = responses(connection, 1)
        assert item == status
        connection.sendall(post("track", TEXT))
        assert responses(connection, 1) == [(200, b'{"success":true}')]
    assert [body for *_, body in tracking.recorded()] == [TEXT]


def test_a_client_that_asks_first_gets_100_continue(tracking: Any) -> None:
    head, _, body = post("track", TEXT, headers=b"Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    with connected(tracking) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert responses(connection, 1) == [(200, b'{"success":true}')]


def test_a_client_that_goes_away_before_its_answer_has_been_heard(tracking: Any) -> None:
    for number in range(20):
        with connected(tracking) as connection:
            connection.sendall(post("track", b'{"n":%d}' % number))
    wait_until(lambda: len(tracking.recorded()) >= 20)
    assert sorted(body for *_, body in tracking.recorded()) == sorted(b'{"n":%d}' % number for number in range(20))


@pytest.mark.parametrize("path", ["track", "m", "t"])
def test_a_body_that_comes_too_slowly_is_reported_whatever_the_call(tracking: Any, path: str) -> None:
    with connected(tracking) as connection:
        connection.sendall(post(path, b"{" * 100)[:-50])
        ((status, _),) = responses(connection, 1)
    assert status == 408
    assert tracking.recorded() == []


def test_one_slow_client_holds_up_nobody(tracking: Any) -> None:
    with connected(tracking) as slow:
        slow.sendall(post("track", TEXT)[:-1])
        assert tracking.post("track", EVENT).status == 200
        slow.sendall(TEXT[-1:])
        assert responses(slow, 1) == [(200, b'{"success":true}')]
    assert len(tracking.recorded()) == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/track", 405),
        ("/v1/t", 405),
        ("/v1/nothing", 404),
        ("/v1/projects/wk_website/settings", 200),
        ("/v1/projects/wk_nobody/settings", 404),
        ("/v1/pixel/track", 200),
    ],
)
def test_head_is_answered_without_a_body_and_leaves_the_connection_usable(
    tracking: Any, path: str, status: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", tracking.port, timeout=PATIENCE_SECONDS)
    for _ in range(2):
        connection.request("HEAD", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, b"")
    connection.request("GET", "/v1/projects/wk_website/settings")
    response = connection.getresponse()
    assert response.status == 200
    response.read()
    connection.close()
    assert tracking.recorded() == []


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"/v1/tr\xc3\xa4ck", id="UTF-8 as it is"),
        pytest.param(b"/v1/\xff", id="any byte"),
        pytest.param(b"/v1/%ff%00", id="any byte escaped"),
        pytest.param(b"/v1/projects/%ed%a0%bd/settings", id="half a character escaped"),
        pytest.param(b"/v1/projects//settings", id="an empty key"),
        pytest.param(b"/v1/projects/settings", id="no key"),
        pytest.param(b"/v1/pixel/track?data=%ff%fe&%zz", id="a query of nonsense"),
        pytest.param(b"/v1/pixel/track?" + b"a=1&" * 500, id="a query of many parts"),
        pytest.param(b"/v1/pixel/track?a.b=1&a=2&a.b.c=3&.=4&..=5", id="a query that contradicts itself"),
        pytest.param(b"http://x/v1/nothing", id="a whole URL"),
        pytest.param(b"*", id="an asterisk"),
    ],
)
def test_no_path_is_a_500(tracking: Any, path: bytes) -> None:
    with connected(tracking) as connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        ((status, _),) = responses(connection, 1)
    assert status in (200, 400, 404)
    assert tracking.recorded() == []


@pytest.mark.parametrize("call", ["track", "batch"])
def test_a_body_that_unpacks_to_hundreds_of_megabytes_takes_the_memory_of_the_largest_allowed(
    tracking: Any, call: str
) -> None:
    bomb = gzip.compress(b" " * 300_000_000) if call == "batch" else gzip.compress(b" " * 30_000_000)
    tracemalloc.start()
    try:
        with connected(tracking) as connection:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            connection.sendall(post(call, bomb, headers=b"Content-Encoding: gzip\r\n"))
            ((status, body),) = responses(connection, 1)
        taken = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")
    assert taken < 6_000_000
    assert tracking.recorded() == []

"""A real serving process and clients that send too much, too slowly, or nothing, on too many connections."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.testing.product import ProductProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

LINE_MAX, HEADERS_MAX, BODIES_MAX = 61_440, 65_536, 1_000_000
SHORT = {
    "PUNCHCARD_REQUEST_HEAD_SECONDS": "1",
    "PUNCHCARD_REQUEST_BODY_SECONDS": "1",
    "PUNCHCARD_KEEP_ALIVE_SECONDS": "1",
}
PATIENT = {"PUNCHCARD_REQUEST_BODIES_BYTES_MAX": str(BODIES_MAX), "PUNCHCARD_LOG_LEVEL": "info"}
EVENT = b'{"userId":"ann","event":"Checked In","writeKey":"wk_website"}'


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductProcess]:
    """A serving process with the default time limits for clients."""
    with ProductProcess(tmp_path_factory.mktemp("patient"), serves_only=True, environment=PATIENT) as running:
        # App and APIs are loaded by their first requests and take 50 MB, which no test is to find.
        for path in ("/welcome", "/api/", "/v1/spaces/"):
            caller = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_SECONDS)
            with contextlib.closing(caller):
                caller.request("GET", path)
                caller.getresponse().read()
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProductProcess]:
    """A serving process that cuts slow clients off after a second."""
    with ProductProcess(tmp_path_factory.mktemp("impatient"), serves_only=True, environment=SHORT) as running:
        yield running


def connect(product: ProductProcess, *, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE_SECONDS)
    connection.connect(("127.0.0.1", product.port))
    return connection


def post(body: bytes = EVENT, *, headers: bytes = b"", path: bytes = b"/v1/track", version: bytes = b"1.1") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST %s HTTP/%s\r\nHost: x\r\n" % (path, version) + headers + length + b"\r\n" + body


def response(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next response."""
    httpresponse = http.client.HTTPResponse(connection)
    try:
        httpresponse.begin()
        return httpresponse.status, httpresponse.read()
    finally:
        httpresponse.close()


def statuses(connection: socket.socket) -> list[int]:
    """The statuses of everything that comes back until the server closes."""
    text = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            text += part
    return [int(part[:3]) for part in bytes(text).split(b"HTTP/1.1 ")[1:]]


def pour(connection: socket.socket, part: bytes, bytes_max: int) -> int:
    """Send the part again and again until the server will have no more of it; how many bytes went out."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < bytes_max:
            connection.sendall(part)
            sent += len(part)
    return sent


def refused(product: ProductProcess, reason: str) -> float:
    _, text = product.call("GET", "/metrics")
    lines = str(text).splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("punchcard_http_refused_total") and f'"{reason}"' in line
    )


def open_connections(product: ProductProcess) -> float:
    _, text = product.call("GET", "/metrics")
    (line,) = (line for line in str(text).splitlines() if line.startswith("punchcard_http_connections "))
    return float(line.rpartition(" ")[2])


def resident_bytes(product: ProductProcess) -> int:
    text = Path(f"/proc/{product.pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS"))) * 1024


# --- sizes ---

ENDLESS = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a" * 65_536, 431, id="one header without end"),
    pytest.param(b"GET / HTTP/1.1\r\n", b"X-Some: value\r\n" * 4_000, 431, id="headers without end"),
    pytest.param(b"GET / HTTP/1.1\r\n", b"a:\r\n" * 16_000, 431, id="tiny headers without end"),
    pytest.param(b"GET / HTTP/1.1\r\n", b"X" * 65_536, 431, id="the name of a header without end"),
    pytest.param(b"GET /", b"a" * 65_536, 414, id="a path without end"),
    pytest.param(b"GET /v1/pixel/track?data=", b"a" * 65_536, 414, id="a query without end"),
    pytest.param(b"", b"\r\n" * 32_768, 431, id="empty lines without end"),
    pytest.param(b"", b"A" * 65_536, 400, id="a method without end"),
    pytest.param(b"", b"\x16\x03\x01\x02\x00" * 10_000, 400, id="no HTTP at all"),
]


@pytest.mark.parametrize(("begin", "part", "status"), ENDLESS)
def test_a_head_without_end_is_refused_early(patient: ProductProcess, begin: bytes, part: bytes, status: int) -> None:
    with connect(patient) as connection:
        connection.sendall(begin)
        sent = pour(connection, part, 200_000_000)
        assert sent < 50_000_000
        assert statuses(connection) in ([status], [])  # a client that goes on sending may lose the answer
    assert patient.call("GET", "/health/live")[0] == 200


HEADS = [
    pytest.param(b"GET /health/live?" + b"a" * (LINE_MAX - 13) + b" HTTP/1.1\r\n\r\n", 200, id="the longest line"),
    pytest.param(b"GET /health/live?" + b"a" * LINE_MAX + b" HTTP/1.1\r\n\r\n", 414, id="too long a line"),
    pytest.param(b"GET /health/live HTTP/1.1\r\n" + b"X: 1\r\n" * 100 + b"\r\n", 200, id="100 headers"),
    pytest.param(b"GET /health/live HTTP/1.1\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 431, id="101 headers"),
    pytest.param(
        b"GET /health/live HTTP/1.1\r\nX: " + b"a" * (HEADERS_MAX - 1) + b"\r\n\r\n", 200, id="the longest headers"
    ),
    pytest.param(b"GET /health/live HTTP/1.1\r\nX: " + b"a" * HEADERS_MAX + b"\r\n\r\n", 431, id="too long a header"),
    pytest.param(
        b"GET /health/live HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8_000) for n in range(9)) + b"\r\n",
        431,
        id="too large headers together",
    ),
]


@pytest.mark.parametrize(("head", "status"), HEADS)
def test_heads_are_limited_to_the_byte_and_the_answer_says_why(
    patient: ProductProcess, head: bytes, status: int
) -> None:
    with connect(patient) as connection:
        connection.sendall(head)
        result, body = response(connection)
    assert result == status
    if status != 200:
        assert json.loads(body)["success"] is False


def test_endless_headers_on_many_connections_take_no_memory(patient: ProductProcess) -> None:
    before = resident_bytes(patient)
    for _ in range(40):
        with connect(patient) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
            pour(connection, b"a" * 1_000_000, 40_000_000)
    assert resident_bytes(patient) - before < 200_000_000  # of 1.6 GB


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(b"X-Trailer: value\r\n" * 3_000, id="trailers"),
        pytest.param(b"a" * 65_536, id="one trailer"),
    ],
)
def test_trailers_without_end_are_refused(patient: ProductProcess, part: bytes) -> None:
    with connect(patient) as connection:
        connection.sendall(
            b"POST /v1/track HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: 1\r\nX-B: "
        )
        assert pour(connection, part, 200_000_000) < 50_000_000
        assert statuses(connection) in ([431], [])


def test_a_chunk_extension_without_end_is_refused(patient: ProductProcess) -> None:
    with connect(patient) as connection:
        connection.sendall(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;")
        assert pour(connection, b"a" * 65_536, 200_000_000) < 50_000_000
        assert statuses(connection) in ([431], [400], [])


def test_a_body_without_end_is_answered_and_then_cut(patient: ProductProcess) -> None:
    with connect(patient) as connection:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert pour(connection, b"10000\r\n" + b" " * 65_536 + b"\r\n", 200_000_000) < 50_000_000
    wait_until(lambda: refused(patient, "unread_body") >= 1, "it was not cut")


def test_slow_bodies_of_many_clients_are_bounded_together(patient: ProductProcess) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(patient)) for _ in range(30)]
        for connection in slow:
            connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b" " * 250_000)
        wait_until(lambda: refused(patient, "bodies_full") >= 20, "no body made way")
        # The first ones made way, and are asked to send again; others are served.
        status, body = response(slow[0])
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
        assert patient.track("Checked In", {}) == 200
        slow[-1].sendall((b'{"writeKey":"wk_website","batch":[' + EVENT + b"]}").rjust(250_000))
        assert response(slow[-1])[0] == 200


# --- times ---


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"G", id="a method"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: 1", id="headers"),
        pytest.param(b"\r\n", id="an empty line"),
    ],
)
def test_a_head_that_trickles_in_is_cut_off(impatient: ProductProcess, begin: bytes) -> None:
    before = refused(impatient, "slow_head")
    with connect(impatient) as connection:
        connection.sendall(begin)
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.settimeout(0.2)
            until = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < until:
                try:
                    text = connection.recv(10_000)
                    break
                except TimeoutError:
                    connection.sendall(b"\n" if begin == b"\r\n" else b"e" if begin == b"G" else b"1")
        assert text[:12] in (b"HTTP/1.1 408", b"HTTP/1.1 400", b"")
    if begin != b"G":  # "GE1…" is not a method, which shows at once
        wait_until(lambda: refused(impatient, "slow_head") > before, "it was not cut off")


def test_a_connection_that_says_nothing_is_closed(impatient: ProductProcess) -> None:
    with connect(impatient) as connection:
        assert connection.recv(1_000) == b""


def test_an_idle_connection_is_closed(impatient: ProductProcess) -> None:
    with connect(impatient) as connection:
        connection.sendall(post())
        assert response(connection)[0] == 200
        assert connection.recv(1_000) == b""


@pytest.mark.parametrize(
    "path", [b"/v1/track", b"/v1/spaces/x/collections/users", b"/api/sources", b"/welcome", b"/partner/perkville"]
)
def test_a_body_that_trickles_in_is_cut_off_whatever_the_path(impatient: ProductProcess, path: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n{" % path)
        connection.settimeout(0.2)
        until = time.monotonic() + PATIENCE_SECONDS
        text = b""
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < until:
                try:
                    part = connection.recv(10_000)
                    if not part:
                        break
                    text += part
                except TimeoutError:
                    connection.sendall(b" ")
        assert time.monotonic() < until
    assert text.count(b"HTTP/1.1 ") <= 1
    if path == b"/v1/track":
        assert text.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_does_not_take_its_response_is_cut_off(impatient: ProductProcess) -> None:
    before = refused(impatient, "slow_reader")
    with connect(impatient, receive_buffer=4_096) as connection:
        request = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"
        # Until the server's own buffers are full: answers of one request may fit into them.
        with contextlib.suppress(TimeoutError, ConnectionError):
            connection.settimeout(2)
            for _ in range(80):
                connection.sendall(request % impatient.token.encode())
        wait_until(lambda: refused(impatient, "slow_reader") > before, "it was not cut off")


# --- HTTP as it is spoken ---


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", id="h2c"
        ),
        pytest.param(b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", id="websocket"),
        pytest.param(b"Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.0\r\n", id="TLS"),
    ],
)
@pytest.mark.parametrize("split", [False, True])
def test_an_offer_to_upgrade_is_declined_and_the_request_answered(
    patient: ProductProcess, headers: bytes, split: bool
) -> None:
    text = post(headers=headers)
    with connect(patient) as connection:
        if split:
            connection.sendall(text[:-20])
            time.sleep(0.1)
            connection.sendall(text[-20:])
        else:
            connection.sendall(text)
        assert response(connection) == (200, b'{"success":true}')
        connection.sendall(post())
        assert response(connection)[0] == 200


SPOKEN = [
    pytest.param(post(version=b"1.0"), [200], id="HTTP/1.0"),
    pytest.param(b"GET /health/live HTTP/1.0\r\n\r\n", [200], id="HTTP/1.0 without a Host"),
    pytest.param(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", [400], id="CONNECT"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400], id="HTTP/2 without asking"),
    pytest.param(post(path=b"http://x/v1/track", headers=b"Connection: close\r\n"), [200], id="a whole URL"),
    pytest.param(
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
        id="two lengths",
    ),
    pytest.param(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", [400], id="a negative length"),
    pytest.param(post()[:-10] + b"\r\n\r\n" + EVENT + EVENT, [400], id="a length that is too short"),
    pytest.param(post() + b"nonsense\r\n\r\n", [200], id="nonsense behind a request"),
    pytest.param(
        post() + post() + b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000, [200, 200], id="too much behind requests"
    ),
    pytest.param(
        post() + b"POST /v1/track HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
        [200],
        id="a broken body behind a request",
    ),
    pytest.param(b"GET /health/live HTTP/1.1\r\n\r\n" * 30 + b"!", [200] * 30, id="nonsense behind many"),
]


@pytest.mark.parametrize(("text", "expected"), SPOKEN)
def test_each_request_gets_its_own_answer(patient: ProductProcess, text: bytes, expected: list[int]) -> None:
    with connect(patient) as connection:
        connection.sendall(text)
        assert statuses(connection) == expected


def test_more_requests_ahead_than_allowed_are_answered_in_part(patient: ProductProcess) -> None:
    with connect(patient) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\n\r\n" * 2_000)
        result = statuses(connection)
    assert 1 <= len(result) < 2_000
    assert set(result) == {200}


# --- connections ---


def test_silent_connections_beyond_the_descriptors_do_not_keep_senders_out(tmp_path: Path) -> None:
    with (
        ProductProcess(tmp_path, serves_only=True, descriptors_max=512) as product,
        contextlib.ExitStack() as stack,
    ):
        sender = http.client.HTTPConnection("127.0.0.1", product.port, timeout=PATIENCE_SECONDS)
        stack.callback(sender.close)
        body = json.dumps({"writeKey": "wk_website", "userId": "ann", "event": "x"})
        for _ in range(1_100):
            stack.enter_context(connect(product))
        assert len(list(Path(f"/proc/{product.pid}/fd").iterdir())) < 480
        for _ in range(20):
            sender.request("POST", "/v1/track", body)
            reply = sender.getresponse()
            assert (reply.status, reply.read()) == (200, b'{"success":true}')
            assert product.call("GET", "/health/ready")[0] == 200
            assert product.call("GET", "/api/sources")[0] == 200
        assert refused(product, "connections_full") > 100
        assert product.logged("http_connections_limited")
        assert len(product.logged("http_connections_exhausted")) == 1


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"POST /v1/track HTTP/1.1\r\nHost: x\r\n", id="headers"),
        pytest.param(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", id="bodies"),
    ],
)
def test_what_trickles_in_on_every_connection_makes_way_too(tmp_path: Path, begin: bytes) -> None:
    environment = {
        "PUNCHCARD_CONNECTIONS_MAX": "50",
        "PUNCHCARD_REQUEST_HEAD_SECONDS": "300",
        "PUNCHCARD_REQUEST_BODY_SECONDS": "300",
    }
    with (
        ProductProcess(tmp_path, serves_only=True, environment=environment) as product,
        contextlib.ExitStack() as stack,
    ):
        slow: list[socket.socket] = []

        def open_slow() -> None:
            slow.append(stack.enter_context(connect(product)))
            slow[-1].sendall(begin)
            # One that was not read yet counts as silent, and silent ones make way first and without an answer.
            wait_until(lambda: not _unread_bytes(product.port), "the start of the request was not read")

        for _ in range(49):
            open_slow()
        wait_until(lambda: open_connections(product) >= 49, "they were not accepted")
        for _ in range(10):
            open_slow()
            assert product.track("Checked In", {}) == 200
        # What was given up was answered, and can be sent again.
        given_up: list[bytes] = []

        def find_given_up() -> bool:
            given_up.extend(text for text in map(_what_came, slow) if text)
            return bool(given_up)

        wait_until(find_given_up, "nobody was told")
        assert all(text.startswith(b"HTTP/1.1 503 ") for text in given_up)


def _unread_bytes(port: int) -> int:
    """What the kernel has received for connections to this port of the loopback and the server has not read."""
    total = 0
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, _, _, queues, *_ = line.split()
        if int(local.partition(":")[2], 16) == port:
            total += int(queues.partition(":")[2], 16)
    return total


def _what_came(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    try:
        return connection.recv(1_000)
    except OSError:
        return b""


def test_one_address_takes_no_more_than_its_share(tmp_path: Path) -> None:
    """From 127.0.0.2, which the test takes off the list of addresses that are not counted."""
    environment = {
        "PUNCHCARD_CONNECTIONS_PER_ADDRESS_MAX": "10",
        "PUNCHCARD_HOST": "::",
        "PUNCHCARD_TRUSTED_PROXIES": "",
    }
    if not _has_other_address():
        pytest.skip("this machine has no address but those of loopback")
    with (
        ProductProcess(tmp_path, serves_only=True, environment=environment) as product,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(40):
            stack.enter_context(socket.create_connection((_other_address(), product.port), timeout=PATIENCE_SECONDS))
        wait_until(lambda: refused(product, "address_full") >= 1, "no connection was closed")
        with socket.create_connection((_other_address(), product.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(post())
            assert response(connection)[0] == 200


def _other_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _has_other_address() -> bool:
    return _other_address() not in ("", "127.0.0.1")

"""Whatever encodes a body, its text is read, or the error says what is wrong."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.ingest.content import (
    Content,
    TooLargeError,
    UnreadableBodyError,
    UnsupportedEncodingError,
    read_content,
)
from punchcard.log.bodies import decompress
from punchcard.log.port import NewRecord

TEXT = '{"userId":"Ännchen","event":"Größe 😀"}'
UTF8 = TEXT.encode()
PACKED = gzip.compress(UTF8)

READ = [
    pytest.param(UTF8, [], False, id="plain"),
    pytest.param(UTF8, ["identity"], False, id="identity"),
    pytest.param(UTF8, [""], False, id="an empty header"),
    pytest.param(UTF8, ["gzip"], False, id="a header that a proxy forgot to remove"),
    pytest.param(b" \n" + UTF8, ["gzip"], False, id="white space under such a header"),
    pytest.param(PACKED, ["gzip"], True, id="gzip"),
    pytest.param(PACKED, ["x-gzip"], True, id="x-gzip"),
    pytest.param(PACKED, [], True, id="gzip without a header"),
    pytest.param(PACKED, ["identity"], True, id="gzip that is called identity"),
    pytest.param(PACKED, ["identity", "gzip"], True, id="both"),
    pytest.param(gzip.compress(PACKED), ["gzip", "gzip"], False, id="packed twice"),
    pytest.param(gzip.compress(PACKED), ["gzip"], False, id="packed twice, the header says once"),
    pytest.param(gzip.compress(UTF8[:7]) + gzip.compress(UTF8[7:]), ["gzip"], False, id="two members"),
    pytest.param(PACKED + gzip.compress(b""), ["gzip"], False, id="an empty last member"),
    pytest.param(PACKED + bytes(8), ["gzip"], False, id="padded with zeros"),
    pytest.param(b"\xef\xbb\xbf" + UTF8, [], False, id="byte order mark"),
    pytest.param(gzip.compress(b"\xef\xbb\xbf" + UTF8), ["gzip"], False, id="byte order mark in gzip"),
    pytest.param(b"\xff\xfe" + TEXT.encode("utf-16-le"), [], False, id="UTF-16 of Windows"),
    pytest.param(b"\xfe\xff" + TEXT.encode("utf-16-be"), [], False, id="UTF-16 the other way round"),
    pytest.param(TEXT.encode("utf-32"), [], False, id="UTF-32"),
]


@pytest.mark.parametrize(("received", "encodings", "is_gzip"), READ)
def test_the_text_comes_out(received: bytes, encodings: list[str], is_gzip: bool) -> None:
    content = read_content(received, encodings, bytes_max=1_000)
    expected = b" \n" + UTF8 if received.startswith(b" ") else UTF8
    assert content == Content(expected, is_gzip)
    if is_gzip:  # the log keeps the bytes as they came, and must read the same from them
        assert decompress(NewRecord(0, "k", "track", "gzip", received, "")) == UTF8


def test_half_of_a_surrogate_pair_in_utf_16_is_its_escape() -> None:
    text = '{"messageId": "a\ud800"}'.encode("utf-16-le", "surrogatepass")
    assert read_content(b"\xff\xfe" + text, [], bytes_max=1_000).text == rb'{"messageId": "a\ud800"}'


UNREADABLE = [
    pytest.param(PACKED[:-4], ["gzip"], "incomplete", id="cut off in its sum"),
    pytest.param(PACKED[:-20], ["gzip"], "incomplete", id="cut off in its data"),
    pytest.param(PACKED[:2], ["gzip"], "incomplete", id="only the beginning"),
    pytest.param(PACKED[:-20], [], "incomplete", id="cut off without a header"),
    pytest.param(PACKED + PACKED[:12], ["gzip"], "incomplete", id="second member cut off"),
    pytest.param(PACKED[:-8] + bytes(8), ["gzip"], "damaged", id="another sum"),
    pytest.param(PACKED + b"x", ["gzip"], "followed by data", id="something behind it"),
    pytest.param(b"not packed", ["gzip"], "not gzip", id="neither gzip nor JSON"),
    pytest.param(zlib.compress(UTF8), ["gzip"], "not gzip", id="zlib"),
    pytest.param(b"", ["gzip"], "not gzip", id="nothing"),
    pytest.param(gzip.compress(gzip.compress(PACKED)), ["gzip"], "2 times", id="packed three times"),
    pytest.param(gzip.compress(b"") * 101, ["gzip"], "100 members", id="very many members"),
    pytest.param(b"\xff\xfe{", [], "utf-16-le", id="half a character of UTF-16"),
]


@pytest.mark.parametrize(("received", "encodings", "message"), UNREADABLE)
def test_what_is_wrong_is_shown(received: bytes, encodings: list[str], message: str) -> None:
    with pytest.raises(UnreadableBodyError, match=message):
        read_content(received, encodings, bytes_max=10_000)


@pytest.mark.parametrize("encodings", [["br"], ["zstd"], ["deflate"], ["compress"], ["gzip", "br"], ["nonsense"]])
def test_other_encodings_are_refused(encodings: list[str]) -> None:
    with pytest.raises(UnsupportedEncodingError):
        read_content(b"\x01\x02", encodings, bytes_max=1_000)


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(gzip.compress(bytes(10_000_000)), id="one member"),
        pytest.param(gzip.compress(bytes(900)) * 2, id="two members that are too large together"),
        pytest.param(gzip.compress(gzip.compress(bytes(100_000))), id="packed twice"),
        pytest.param(b"\xff\xfe" + ("\u4e2d" * 400).encode("utf-16-le"), id="longer in UTF-8"),
    ],
)
def test_what_unpacks_to_too_much_is_too_large(received: bytes) -> None:
    with pytest.raises(TooLargeError):
        read_content(received, ["gzip"], bytes_max=1_000)


@given(received=st.binary(max_size=60), packed=st.booleans(), encoding=st.sampled_from(["", "gzip", "br"]))
def test_any_bytes_are_read_or_refused(received: bytes, packed: bool, encoding: str) -> None:
    body = gzip.compress(received) if packed else received
    try:
        content = read_content(body, [encoding], bytes_max=500)
    except (UnreadableBodyError, UnsupportedEncodingError, TooLargeError):
        return
    assert len(content.text) <= 500

"""The promise of routing: a record or event on which Punchcard fails stays alone; all others are awarded, once."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard

from punchcard.errors import InvariantError, StorageError
from punchcard.routing.quarantine import FAILURES_IN_A_ROW_MAX, RoutingHaltedError
from punchcard.store.engine import Store
from punchcard.store.routing.quarantine import count_quarantined, quarantined
from punchcard.testing.installation import Installation, award
from punchcard.testing.world import Fuse, FusedStore

LONG = "x" * 600  # bodies from 512 bytes on are compressed


@pytest.fixture
def installation(tmp_path: Path, sqlite_url: str) -> Iterator[Installation]:
    yield from installed(tmp_path, sqlite_url)


@pytest.fixture
def on_each_store(tmp_path: Path, store_url: str) -> Iterator[Installation]:
    yield from installed(tmp_path, store_url)


def installed(folder: Path, url: str) -> Iterator[Installation]:
    store = Store(url)
    made = Installation(folder, store, destinations=("partner", "second"))
    yield made
    made.close()
    store.close()


def key(message_id: str) -> str:
    return f"SEG:website:EVENT:{message_id}"


def results(installation: Installation, message_id: str) -> list[tuple[str | None, str, str | None]]:
    trace = installation.trace(message_id)
    assert trace is not None, message_id
    return [(result.destination, result.status, result.reason) for result in trace.results]


UNREADABLE = [(None, "failed_on_ingest", "unreadable_record")]
BOMB = zstandard.ZstdCompressor().compress(bytes(17_000_000))
# What a frame states need not be true: this one asks for some exabytes.
LIAR = b"\x28\xb5\x2f\xfd\xe0" + (1 << 62).to_bytes(8, "little") + b"\x01\x00\x00"

DAMAGES = [
    pytest.param("UPDATE records SET body = ? WHERE position = ?", b"garbage", id="garbage for a zstd body"),
    pytest.param("UPDATE records SET body = substr(body, 1, 40) WHERE ? AND position = ?", 1, id="zstd cut off"),
    pytest.param("UPDATE records SET body = ? WHERE position = ?", BOMB, id="zstd of an absurd size"),
    pytest.param("UPDATE records SET body = ? WHERE position = ?", LIAR, id="zstd that states an absurd size"),
    pytest.param("UPDATE records SET encoding = ? WHERE position = ?", "gzip", id="another encoding"),
    pytest.param("UPDATE records SET encoding = ? WHERE position = ?", "identity", id="encoding says not packed"),
    pytest.param("UPDATE records SET encoding = ? WHERE position = ?", "br", id="unknown encoding"),
    pytest.param("UPDATE records SET encoding = ? WHERE position = ?", None, id="encoding missing"),
    pytest.param("UPDATE records SET call = ? WHERE position = ?", "frobnicate", id="unknown call"),
    pytest.param("UPDATE records SET call = ? WHERE position = ?", b"\xff\xfe", id="call is bytes"),
    pytest.param("UPDATE records SET body = ? WHERE position = ?", None, id="body missing"),
    pytest.param("UPDATE records SET body = ? WHERE position = ?", 17, id="body is a number"),
    pytest.param("UPDATE records SET body = ? WHERE position = ?", "{}", id="body is text"),
    pytest.param("UPDATE records SET body = zeroblob(?) WHERE position = ?", 400_000_000, id="body of 400 MB"),
    pytest.param("UPDATE records SET received_at = ? WHERE position = ?", None, id="no time of receipt"),
    pytest.param("UPDATE records SET received_at = ? WHERE position = ?", "soon", id="time of receipt is text"),
    pytest.param("UPDATE records SET received_at = ? WHERE position = ?", 2**62, id="received in 146,000 years"),
    pytest.param("UPDATE records SET received_at = ? WHERE position = ?", -(2**62), id="received long ago"),
    pytest.param("UPDATE records SET call = CAST(? AS TEXT) WHERE position = ?", b"\xff\xfe", id="call is no Unicode"),
    pytest.param("UPDATE records SET ip = ? WHERE position = ?", None, id="no address"),
    pytest.param("UPDATE records SET write_key = ? WHERE position = ?", None, id="no write key"),
]


def allow_any_column(installation: Installation) -> None:
    """As damage to the file may leave it: a table without its rules."""
    installation.damage("ALTER TABLE records RENAME TO before")
    installation.damage(
        "CREATE TABLE records "
        "(position INTEGER PRIMARY KEY AUTOINCREMENT, received_at, write_key, call, encoding, ip, body)"
    )
    installation.damage(
        "INSERT INTO records SELECT position, received_at, write_key, call, encoding, ip, body FROM before"
    )


@pytest.mark.parametrize(("sql", "value"), DAMAGES)
def test_a_damaged_record_is_quarantined_and_the_others_are_awarded(
    installation: Installation, sql: str, value: object
) -> None:
    installation.send(award("a", note=LONG))
    position = installation.send(award("b", note=LONG))
    installation.send(award("c", note=LONG))
    allow_any_column(installation)
    installation.damage(sql, value, position)
    assert installation.route() == 3
    installation.send(award("d"))
    assert installation.route() == 1
    assert installation.effect_keys() == [key("a"), key("c"), key("d")]
    installation.feed.flush()
    [damaged] = [item for item in installation.in_lake() if item.log_position == position]
    assert results(installation, damaged.message_id) == UNREADABLE
    with installation.store.reading() as work:
        [stored] = quarantined(work, limit=10)
        assert [(item.reason, item.count) for item in count_quarantined(work)] == [("unreadable_record", 1)]
    assert (stored.position, stored.event_index, stored.reason) == (position, None, "unreadable_record")
    assert stored.message_id == damaged.message_id


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff",
        b"[1]",
        b'"text"',
        b'{"batch": [',
        b'{"batch": [{"type": "track"}]',
        b'{"a" 1}',
        b"\xff{}",
        b"{}" * 9,
    ],
    ids=["empty", "bytes", "list", "text", "cut off", "cut off later", "no JSON", "not UTF-8", "more behind it"],
)
@pytest.mark.parametrize("call", ["batch", "track", "partner", "webhook", "identify"])
def test_a_body_that_is_no_json_object_any_more_is_quarantined(
    installation: Installation, body: bytes, call: str
) -> None:
    installation.send(award("a"))
    position = installation.append(body, call=call)
    installation.send(award("b"))
    assert installation.route() == 3
    assert installation.effect_keys() == [key("a"), key("b")]
    with installation.store.reading() as work:
        [stored] = quarantined(work, limit=10)
    assert (stored.position, stored.reason, stored.body) == (position, "unreadable_record", body)
    assert results(installation, stored.message_id) == UNREADABLE


@pytest.mark.parametrize("pack", [bytes, zstandard.compress, gzip.compress], ids=["plain", "zstd", "gzip"])
def test_events_of_a_damaged_body_are_still_found_by_the_ids_that_can_be_made_out(
    installation: Installation, pack: object
) -> None:
    events = [award(f"salvaged-{number}", note=f"{number:x}" * 97) for number in range(900)]
    assert callable(pack)
    body = pack(json.dumps({"batch": events}).encode())
    encoding = {bytes: "identity", zstandard.compress: "zstd", gzip.compress: "gzip"}[pack]  # type: ignore[index]
    installation.append(body[: len(body) * 7 // 8], encoding=encoding)
    installation.route()
    assert installation.effect_keys() == []
    assert results(installation, "salvaged-3") == UNREADABLE
    installation.feed.flush()
    assert results(installation, "salvaged-3") == UNREADABLE
    installation.send(award("salvaged-3"))
    installation.route()
    assert installation.effect_keys() == [key("salvaged-3")]


ERRORS = [
    RecursionError("too deep"),
    OverflowError("too large"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    KeyError("order_id"),
    InvariantError("it cannot be"),
    MemoryError(),
    AssertionError("\x00 and \ud800"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
def test_an_event_on_which_the_mapping_of_one_destination_fails_is_held_there_alone(
    installation: Installation, error: Exception
) -> None:
    installation.partner.faults["raise"] = error
    installation.send(award("a"), award("b", fault="raise"), award("c"))
    installation.route()
    assert installation.effect_keys() == [key("a"), key("c")]
    assert [result[1:] for result in results(installation, "b")] == [("pending", "planning_failed")] * 2
    installation.partner.faults["raise"] = lambda intent: intent  # a version with the defect corrected starts
    installation.start()
    installation.route()
    assert installation.effect_keys() == [key("a"), key("c"), key("b")]


SPOILED = {
    "key too long": lambda intent: replace(intent, effect_key=intent.effect_key + "x" * 100),
    "key not ASCII": lambda intent: replace(intent, effect_key=intent.effect_key + "é"),
    "customer is no text": lambda intent: replace(intent, customer=object()),
    "customer is missing": lambda intent: replace(intent, customer=None),
    "quantity is no number": lambda intent: replace(intent, quantity="many"),
    "attributes are no JSON": lambda intent: replace(intent, attributes={"a": object()}),
    "item is no text": lambda intent: replace(intent, item=object()),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_an_event_with_an_unwritable_effect_is_quarantined_alone(on_each_store: Installation, spoil: str) -> None:
    installation = on_each_store
    installation.partner.faults["spoil"] = SPOILED[spoil]
    installation.send(award("a"), award("b", order_id="1"))
    installation.send(award("c"), award("bad", fault="spoil"), award("d", order_id="2"))
    installation.send(award("e"))
    assert installation.route() == 3
    keys = [key("a"), "SEG:partner:ORDER:1", key("c"), "SEG:partner:ORDER:2", key("e")]
    assert installation.effect_keys() == keys
    assert installation.effect_keys("second") == [name.replace("partner", "second") for name in keys]
    assert results(installation, "bad") == [(None, "failed_on_ingest", "internal_error")]
    with installation.store.reading() as work:
        [stored] = quarantined(work, limit=10)
    assert (stored.message_id, stored.event_index, stored.reason) == ("bad", 1, "internal_error")
    installation.partner.faults["spoil"] = lambda intent: intent  # the defect is fixed, the event is sent again
    installation.send(award("bad", fault="spoil"), award("e"))
    installation.route()
    assert installation.effect_keys() == [*keys, key("bad")]


@pytest.mark.parametrize("values", [{"order_id": "\x00"}, {"order_id": "é\U0001f389" * 9}, {"email": "\x00@a.b"}])
def test_odd_values_stop_nobody(on_each_store: Installation, values: dict[str, object]) -> None:
    installation = on_each_store
    installation.send(award("a"), award("odd", **values), award("b"))
    installation.route()
    assert {key("a"), key("b")} <= set(installation.effect_keys())
    assert results(installation, "odd")


VAST = "".join(f"{number * number:x}" for number in range(3_000))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"order_id": VAST}, id="too large for an index, which is reported as if the database were away"),
        pytest.param({"customer": VAST}, id="too long for its column"),
    ],
)
def test_what_only_postgresql_cannot_hold_is_the_events_fault(
    tmp_path: Path, postgres_url: str, changes: dict[str, str]
) -> None:
    store = Store(postgres_url)
    installation = Installation(tmp_path, store)
    installation.partner.faults["vast"] = lambda intent: replace(intent, **changes)
    installation.send(award("a"), award("bad", fault="vast"), award("b"))
    installation.route()
    assert installation.effect_keys() == [key("a"), key("b")]
    assert results(installation, "bad") == [(None, "failed_on_ingest", "internal_error")]
    installation.close()
    store.close()


def test_many_bad_events_among_good_ones_are_all_found(installation: Installation) -> None:
    installation.partner.faults["spoil"] = SPOILED["key too long"]
    good = []
    for number in range(60):
        if number % 7 == 3:
            installation.send(award(f"m{number}", fault="spoil"))
        else:
            installation.send(award(f"m{number}"))
            good.append(key(f"m{number}"))
    assert installation.route() == 60
    assert installation.effect_keys() == good


def test_a_storage_fault_quarantines_nothing(tmp_path: Path, store_url: str) -> None:
    fuse = Fuse()
    store = FusedStore(store_url, fuse)
    installation = Installation(tmp_path, store)
    installation.partner.faults["spoil"] = SPOILED["key too long"]
    installation.send(award("a"), award("bad", fault="spoil"))
    for points in range(1, 8):
        fuse.set(points, error=StorageError("the disk is full"))
        with pytest.raises(StorageError, match="disk is full"):
            installation.router.step()
        with store.reading() as work:
            if quarantined(work, limit=10):
                break
        assert installation.effect_keys() == []
    installation.start()
    installation.route()
    assert installation.effect_keys() == [key("a")]
    with store.reading() as work:
        assert [item.message_id for item in quarantined(work, limit=10)] == ["bad"]
    installation.close()
    store.close()


def test_an_outage_of_everything_quarantines_nothing_and_is_over_with_the_first_event_that_passes(
    on_each_store: Installation,
) -> None:
    installation = on_each_store
    installation.partner.faults["spoil"] = SPOILED["key too long"]
    count = FAILURES_IN_A_ROW_MAX + 20
    for number in range(count):
        installation.send(award(f"m{number}", fault="spoil"))
    with pytest.raises(RoutingHaltedError):
        installation.route()
    with pytest.raises(RoutingHaltedError):
        installation.route()
    routed = installation.router.position
    assert routed <= FAILURES_IN_A_ROW_MAX
    installation.send(award("good"))  # so it is the events after all
    installation.route()
    assert installation.effect_keys() == [key("good")]
    with installation.store.reading() as work:
        assert len(quarantined(work, limit=1_000)) == count


def test_events_that_were_quarantined_during_an_outage_of_ours_stay_few(installation: Installation) -> None:
    installation.partner.faults["spoil"] = SPOILED["key too long"]
    for number in range(3 * FAILURES_IN_A_ROW_MAX):
        installation.send(award(f"m{number}", fault="spoil"))
    with pytest.raises(RoutingHaltedError):
        installation.route()
    installation.partner.faults["spoil"] = lambda intent: intent  # a new version
    installation.route()
    assert len(installation.effect_keys()) >= 2 * FAILURES_IN_A_ROW_MAX


def test_a_lake_row_that_cannot_be_made_costs_its_columns_and_nothing_else(installation: Installation) -> None:
    huge = 10**60
    installation.send(award("a"), award("b", order_id="1", revenue=huge, value=f"{huge}", total=-huge), award("c"))
    installation.route()
    installation.feed.flush()
    in_lake = installation.in_lake()
    assert [item.message_id for item in in_lake] == ["a", "b", "c"]
    assert len(installation.effect_keys()) == 3
    assert Decimal(json.loads(in_lake[1].payload)["properties"]["revenue"]) == huge


def test_a_restart_in_the_midst_quarantines_a_record_once(on_each_store: Installation) -> None:
    installation = on_each_store
    installation.send(award("a"))
    installation.append(b"garbage", encoding="zstd")
    installation.send(award("b"))
    installation.route()
    installation.start()
    installation.feed.recover()
    assert len(installation.in_lake()) == 3
    installation.route()
    with installation.store.reading() as work:
        assert len(quarantined(work, limit=10)) == 1

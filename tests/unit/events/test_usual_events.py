"""The fast readers of usual events give what the complete ones give, whatever the events are like."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from punchcard.events.commerce import commerce_of, rounded_amount
from punchcard.events.emails import email_of
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.parse import IngestFailure, read_request
from punchcard.events.usual_properties import UsualPropertiesReader
from punchcard.lake import extraction
from punchcard.lake.extraction import EXTRACTED, NOTHING_EXTRACTED, extract_column_lists, extract_columns

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00.123Z",
        "2026-01-01T00:00:00.123456789Z",
        "2026-01-01T02:00:00+02:00",
        "2026-01-01",
        "2099-01-01T00:00:00Z",
        "1600-01-01T00:00:00Z",
        "9998-12-31T23:59:59Z",
        "1899-12-31T23:59:59Z",
        "",
        "yesterday",
        1_767_225_600,
        None,
    ]
)
TEXTS = st.sampled_from(["a", " ", "", "x" * 101, 7, None])
OBJECTS: st.SearchStrategy[object] = st.sampled_from(
    [{}, {"a": 1}, [], None, "text", {"consent": {"categoryPreferences": {"a": True}}}, {"device": 3}]
)
MEMBERS = {
    "event": TEXTS,
    "userId": TEXTS,
    "anonymousId": TEXTS,
    "messageId": TEXTS,
    "timestamp": TIMES,
    "originalTimestamp": TIMES,
    "sentAt": TIMES,
    "groupId": TEXTS,
    "previousId": TEXTS,
    "properties": OBJECTS,
    "traits": OBJECTS,
    "context": OBJECTS,
    "integrations": OBJECTS,
}
TYPES = st.sampled_from([type_.value for type_ in EventType])
USUAL = {"event": "E", "userId": "u", "messageId": "m", "timestamp": "2026-01-01T00:00:00Z"}


def seen(item: Event | IngestFailure) -> object:
    if isinstance(item, IngestFailure):
        return item.reason, item.detail, item.message_id, item.notes
    return item.type, item.message_id, item.timestamp, item.received_at, item.raw, item.notes


@given(TYPES, st.fixed_dictionaries({}, optional=MEMBERS), st.booleans())
def test_an_event_of_a_batch_is_read_as_one_sent_alone(
    kind: str, members: dict[str, object], starts_usual: bool
) -> None:
    event = {"type": kind, **(USUAL if starts_usual else {}), **members}
    text = msgspec.json.encode(event)
    alone = read_request(text, call=kind, received_at=NOW, position=3)
    within = read_request(b'{"batch":[' + text + b"]}", call="batch", received_at=NOW, position=3)
    assert [seen(item) for item in within] == [seen(item) for item in alone]


@given(TIMES, TIMES.filter(lambda time: time is not None))
def test_the_clock_of_a_batch_corrects_as_the_clock_of_an_event(timestamp: object, sent_at: object) -> None:
    usual = {"type": "track", **USUAL, "timestamp": timestamp}
    alone = read_request(msgspec.json.encode({**usual, "sentAt": sent_at}), call="track", received_at=NOW, position=3)
    within = read_request(
        msgspec.json.encode({"batch": [usual], "sentAt": sent_at}), call="batch", received_at=NOW, position=3
    )
    assert isinstance(alone[0], Event)
    assert isinstance(within[0], Event)
    assert within[0].timestamp == alone[0].timestamp


VALUES: st.SearchStrategy[object] = st.sampled_from(
    [
        "a", "", " A@B.c ", "USD", "1001.0", "12.50", "NaN", "abc", 7, 12.5, 0.1234567891234, 1e40, -3, True, None,
        [], {}, [{"product_id": "a"}, {"product_id": 3}], [{"productId": "b"}], [{"sku": 1}], ["x"],
        [{"product_id": ""}],
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "order_id", "orderId", "Order ID", "revenue", "Revenue", "value", "total", "currency", "product_id", "products",
        "email", "E-Mail", "coupon", "größe", "na\"me", "na\\me", "x" * 200, "",
    ]
)  # fmt: skip


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=6), min_size=1, max_size=5), TYPES)
def test_columns_are_those_of_the_complete_readers(many: list[dict[str, object]], kind: str) -> None:
    for properties in many:
        raw = msgspec.Raw(msgspec.json.encode(properties))
        event = Event(
            EventType(kind), MessageId("m"), NOW, NOW, WireEvent(properties=raw), b'{"properties":' + bytes(raw) + b"}"
        )
        commerce = commerce_of(event)
        for _ in range(3):
            columns = dict(zip(EXTRACTED, extract_columns(event), strict=True))
            for name in ("revenue", "value", "total"):
                amount = columns[name]
                columns[name] = None if amount is None else rounded_amount(amount)
            assert columns == {"email": email_of(event), **commerce._asdict()}


@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=6), TYPES, TEXTS, st.booleans()), max_size=8))
def test_columns_of_many_events_are_those_of_each(many: list[tuple[dict[str, object], str, object, bool]]) -> None:
    items: list[Event | IngestFailure] = []
    for properties, kind, email, is_valid in many:
        body = {"properties": properties} if email is None else {"properties": properties, "email": email}
        text = msgspec.json.encode(body)
        wire = msgspec.json.decode(text, type=WireEvent)
        event = Event(EventType(kind), MessageId("m"), NOW, NOW, wire, text)
        items.append(event if is_valid else IngestFailure("unknown_type", "", "m", text))
    for _ in range(3):
        rows = [extract_columns(item) if isinstance(item, Event) else NOTHING_EXTRACTED for item in items]
        columns = extract_column_lists(items)
        assert [len(column) for column in columns] == [len(items)] * len(EXTRACTED)
        assert list(zip(*columns, strict=True)) == rows


def test_an_event_that_fails_alone_leaves_the_columns_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_on_one(text: str) -> str | None:
        if text == "b":
            raise ZeroDivisionError
        return text

    monkeypatch.setattr(extraction, "trimmed_email", fail_on_one)
    events = [
        Event(EventType.TRACK, MessageId(email), NOW, NOW, WireEvent(properties=msgspec.Raw(text)), text)
        for email in "abc"
        for text in [b'{"email":"%s"}' % email.encode()]
    ]
    assert extract_column_lists(events)[0] == ["a", None, "c"]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> UsualPropertiesReader:
    reader = UsualPropertiesReader()
    monkeypatch.setattr(extraction, "_reader", reader)
    return reader


def test_names_are_learned_and_other_spellings_never(reader: UsualPropertiesReader) -> None:
    usual = msgspec.Raw(b'{"value":12.5,"coupon":"c","colour":{"a":1},"gr\xc3\xb6\xc3\x9fe":42}')
    other = msgspec.Raw(b'{"orderId":"o1"}')
    unquotable = msgspec.Raw(b'{"a\\"b":1}')
    assert reader.read(usual) is None
    for _ in range(100):
        for raw in (usual, other, unquotable):
            reader.read(raw)
    assert reader.read(usual) is not None
    assert reader.read(other) is None
    assert reader.read(unquotable) is None


def test_any_number_of_names_is_bounded(reader: UsualPropertiesReader) -> None:
    for number in range(1_000):
        for _ in range(20):
            reader.read(msgspec.Raw(b'{"name%d":1}' % number))
    assert len(reader._names) <= 200
    assert reader.read(msgspec.Raw(b'{"order_id":"o1"}')) is not None

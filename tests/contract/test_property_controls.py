"""Controls of properties from the config file to lake, destinations and profiles."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.contract.privacy_world import CONFIG, order, transactions, unpacked

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.routing.source_rules import rules_by_source
from punchcard.store.delivery.schema import effects
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace import persistence
from punchcard.workspace.export import export_part
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring, open_keyring
from punchcard.workspace.model import PropertyControls
from punchcard.workspace.property_controls import find_control_warnings
from punchcard.workspace.snapshot import compile_snapshot

CONTROLS = """
[sources.controls]
drop = ["properties.card"]
mask = ["properties.phone"]
hash = ["properties.ssn"]
"""
CONTROLLED = CONFIG.replace('write_key = "wk_website"\n', 'write_key = "wk_website"\n' + CONTROLS, 1)
DROPPED, MASKED, HASHED = ("properties.card",), ("properties.phone",), ("properties.ssn",)
AT_DESTINATION = (
    CONFIG
    + """
[[destinations]]
slug = "hook"
type = "webhooks"
sources = ["website"]
[destinations.settings]
url = "http://127.0.0.1:1/hook"
[destinations.controls]
drop = ["properties.card"]
mask = ["properties.phone"]
hash = ["properties.ssn"]
[[destinations.filters]]
title = "Without a card"
if = "properties.card != '4111111111111111'"
actions = [{ type = "DROP" }]
[[transformations]]
name = "Rename"
source = "website"
destination = "hook"
if = "event = 'Order Completed'"
propertyRenames = [{ oldName = "phone", newName = "contact" }]
"""
)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
EVENT = b'{"type": "track", "event": "Visit", "messageId": "m", "userId": "u", "properties": {"ssn": "1"}}'
SECRETS = ("4111111111111111", "+43 664 1234567", "ssn-4711")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    """A running installation with controls at one of two sources."""
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONTROLLED) as server:
        yield server


def sensitive(number: int) -> dict[str, Any]:
    """An order with what must not be stored."""
    event = order((f"user-{number}", f"u{number}@example.com", "d"), number)
    event["properties"] |= dict(zip(("card", "phone", "ssn"), SECRETS, strict=True))
    return event


def test_values_reach_neither_lake_nor_store_and_the_award_is_the_same(api: PublicApiServer, tmp_path: Path) -> None:
    api.send(sensitive(1))
    api.send(sensitive(2))
    api.send(sensitive(3), write_key="wk_till")
    api.route()
    api.feed_lake()
    api.deliver(rounds=3)
    assert [row["state"] for row in transactions(api)] == ["delivered"] * 3
    traces = {number: api.request("GET", f"/api/events/m-{number}").json()["data"] for number in (1, 2, 3)}
    properties = {number: trace["event"]["properties"] for number, trace in traces.items()}
    assert "card" not in properties[1]
    assert properties[1]["phone"] == "••••4567"
    assert properties[1]["ssn"] == properties[2]["ssn"] != SECRETS[2]
    assert properties[3]["card"] == SECRETS[0]  # the other source has no controls
    rows = b"".join(unpacked(path) for path in tmp_path.rglob("*.parquet"))
    assert rows.count(SECRETS[2].encode()) == 1
    assert "properties.card dropped, properties.phone masked, properties.ssn hashed" in str(traces[1])


def test_a_change_holds_for_the_next_event(api: PublicApiServer) -> None:
    api.configure(CONFIG)
    api.send(sensitive(1))
    api.route()
    api.configure(CONTROLLED)
    api.send(sensitive(2))
    api.route()
    api.feed_lake()
    for number, has_card in ((1, True), (2, False)):
        event = api.request("GET", f"/api/events/m-{number}").json()["data"]["event"]
        assert ("card" in event["properties"]) is has_card


def test_controls_are_in_the_exported_file_and_refused_with_their_place(api: PublicApiServer, tmp_path: Path) -> None:
    stored = persistence.load(api.store, open_keyring(None, tmp_path / "secret-key"))
    (website,) = [source for source in stored.workspace.sources if source.slug == "website"]
    assert "hash = [" in export_part(website) or "hash=[" in export_part(website).replace(" ", "")
    with pytest.raises(ConfigurationError, match=r"sources.website.controls.drop.*Begin with properties\."):
        api.configure(CONTROLLED.replace("properties.card", "card"))


def test_without_the_key_nothing_passes_unhashed(api: PublicApiServer, tmp_path: Path) -> None:
    """The events of the source are stopped, and can be replayed; those of other sources go on."""
    stored = persistence.load(api.store, open_keyring(None, tmp_path / "secret-key"))
    assert stored.hash_key is not None
    event = Event(EventType.TRACK, MessageId("m"), NOW, NOW, WireEvent(type="track", event="Visit"), EVENT)
    for snapshot, reason in (
        (compile_snapshot(stored, keyring=Keyring("k")), None),
        (compile_snapshot(replace(stored, hash_key=None), keyring=Keyring("k")), "source_rules_unusable"),
    ):
        rules = rules_by_source(snapshot)
        assert set(rules) == {"website"}
        ruled = rules["website"].apply(event)
        assert ruled is not None
        assert (ruled.result.reason if ruled.result else None) == reason


def test_controls_of_what_earns_points_are_warned_about(api: PublicApiServer, tmp_path: Path) -> None:
    stored = persistence.load(api.store, open_keyring(None, tmp_path / "secret-key")).workspace
    names = ("properties.card", "properties.order_id", "properties.revenue", "traits.email")
    sources = [replace(source, controls=PropertyControls(hash=names)) for source in stored.sources]
    warnings = find_control_warnings(stored, replace(stored, sources=tuple(sources)))
    assert [warning.partition(" is")[0] for warning in warnings] == [
        f"{slug}: {name}" for slug in ("till", "website") for name in names[1:]
    ]
    assert "repeated orders" in warnings[0]
    assert find_control_warnings(stored, stored) == []


def test_a_destination_gets_changed_values_and_the_lake_keeps_the_original(api: PublicApiServer) -> None:
    """Its filters see the original, its transformations and its mapping do not; the trace says what was changed."""
    api.configure(AT_DESTINATION)
    api.send(sensitive(1))
    api.route()
    api.feed_lake()
    api.deliver(rounds=3)
    trace = api.request("GET", "/api/events/m-1").json()["data"]
    assert [trace["event"]["properties"][name] for name in ("card", "phone", "ssn")] == list(SECRETS)
    results = {result["destination"]: result for result in trace["results"]}
    hashed = "properties.card dropped, properties.phone masked, properties.ssn hashed"
    assert f"changed for this destination: {hashed}" in results["hook"]["detail"]
    assert results["perkville"]["status"] == "delivered"
    assert "changed for" not in (results["perkville"]["detail"] or "")
    with api.store.reading() as work:
        (payload,) = [row.payload for row in work.execute(select(effects)) if row.destination == "hook"]
    for secret in SECRETS:
        assert secret not in payload
    assert '"contact":"••••4567"' in payload


def test_a_refusal_says_which_control_may_be_its_cause(api: PublicApiServer) -> None:
    api.configure(CONFIG + '[destinations.controls]\ndrop = ["properties.email"]\n')
    api.send(sensitive(1))
    api.route()
    api.feed_lake()
    (result,) = api.request("GET", "/api/events/m-1").json()["data"]["results"]
    assert result["status"] == "refused"
    assert "changed for this destination: properties.email dropped" in result["detail"]


def test_without_the_key_events_of_a_destination_that_hashes_are_held(api: PublicApiServer, tmp_path: Path) -> None:
    api.configure(AT_DESTINATION)
    stored = persistence.load(api.store, open_keyring(None, tmp_path / "secret-key"))
    snapshot = compile_snapshot(replace(stored, hash_key=None), keyring=Keyring("k"))
    assert "cannot be read" in (snapshot.destinations["hook"].invalid or "")
    assert snapshot.destinations["perkville"].invalid is None


def test_controls_of_a_destination_are_in_the_exported_file(api: PublicApiServer, tmp_path: Path) -> None:
    api.configure(AT_DESTINATION)
    stored = persistence.load(api.store, open_keyring(None, tmp_path / "secret-key")).workspace
    (hook,) = [destination for destination in stored.destinations if destination.slug == "hook"]
    content = '[[sources]]\nslug = "website"\nwrite_key = "w"\n' + export_part(hook)
    (again,) = read_content(content.encode(), "file", environment={}).destinations
    assert again.controls == hook.controls == PropertyControls(drop=DROPPED, mask=MASKED, hash=HASHED)


def test_a_number_beyond_floats_is_hashed_and_previewed(tmp_path: Path) -> None:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONTROLLED) as api:
        api.send(EVENT.replace(b'{"ssn": "1"}', b'{"ssn": -1e400, "limit": 1e400}'))
        api.route()
        api.feed_lake()
        event = api.request("GET", "/api/events/m").json()["data"]
        assert [result["reason"] for result in event["results"]] == ["not_allowlisted"]
        assert len(event["event"]["properties"]["ssn"]) == 32
        body = b'{"path": "properties.limit", "action": "mask"}'
        response = api.request("POST", "/api/privacy/controls/source/website/preview", body)
        assert response.status == 200, response.body
        assert [sample["after"] for sample in response.json()["data"]["preview"]["samples"]] == ["••••"]

"""The conformance suite of destinations: tests of what routing and delivery rely on, for any destination.

A package subclasses it beside its own tests::

    class TestAcme(DestinationSuite):
        destination = AcmeDestination()
        settings = {"apiKey": "secret-1"}
        events = ({"type": "track", "event": "Signed Up", "userId": "u1", "messageId": "m1"},)

        def settings_for(self, url):
            return {**self.settings, "url": url}, {}
"""

import asyncio
import json
import random
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from punchcard.destinations.definition import Capability, FieldType, SettingField
from punchcard.destinations.network import NetworkPolicy, read_networks
from punchcard.destinations.port import (
    BalancesClient,
    BatchClient,
    ChoicesClient,
    Effect,
    EffectKey,
    Intent,
    OnUnknown,
    Partner,
    Performed,
    ReadBackClient,
)
from punchcard.destinations.preparation import PreparesEffects
from punchcard.errors import ConfigurationError, DeliveryError, RefusedError
from punchcard.events.model import Event, EventType
from punchcard.testing.strange_events import read_event, strange_event, strange_value
from punchcard.testing.webhook_receiver import Reply, WebhookReceiver

_ZONE = ZoneInfo("America/Los_Angeles")
_CODE = re.compile(r"[a-z]+(_[a-z]+)*")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_KEY_CHARACTERS_MAX = 100
_EMAIL_CHARACTERS_MAX = 320
_ORDERING_KEY_CHARACTERS_MAX = 320
_STRANGE_EVENTS = 400
_STATUSES = (
    *(200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410),
    *(411, 412, 413, 415, 418, 421, 422, 423, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507),
    *(511, 520, 522, 530, 598, 599),
)
_IO_EVENTS = ("open", "socket.", "subprocess.", "os.system", "os.listdir", "os.scandir", "urllib.", "sqlite3.")
_MEMBER = re.compile(r"[a-z][A-Za-z0-9]*")
_MEMBERS_OF_ALL = frozenset({"effectKey", "email", "attributes", "summary"})
_watched = threading.local()


class DestinationSuite:
    """Tests that every destination must pass; a subclass provides the destination.

    Attributes:
        destination: The object that its entry point names.
        settings: Valid settings, with a value for each required one.
        options: Options beside them.
        events: Events that its mapping accepts, each with a different effect.
        snapshots: A folder with the expected request of each event; a missing file is written, and the test fails once.
    """

    destination: ClassVar[Partner]
    settings: ClassVar[Mapping[str, object]]
    options: ClassVar[Mapping[str, object]] = {}
    events: ClassVar[Sequence[Mapping[str, object]]]
    snapshots: ClassVar[Path | None] = None

    def settings_for(self, url: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """Return settings and options that direct the client to a server at `url`."""
        raise NotImplementedError(
            "Implement DestinationSuite.settings_for: return settings that direct the client to the server."
        )

    def plan(self, event: Event) -> Intent:
        """Return what an event plans with the settings of this suite."""
        typed = self.destination.read_settings(self.settings, self.options)
        return self.destination.plan(event, typed, source="website", destination="mine", timezone=_ZONE)

    # --- definition ---

    def test_the_definition_is_complete(self) -> None:
        definition = self.destination.definition
        assert _SLUG.fullmatch(definition.slug), definition.slug
        assert definition.name.strip()
        assert definition.description.strip()
        assert definition.supported, "it supports no call, so it never gets an event"
        assert definition.supported <= frozenset(EventType)
        assert definition.kinds, "declare the kinds of effects that the mapping returns"
        assert all(kind.name and len(kind.name) <= 32 and kind.label for kind in definition.kinds)
        assert sum(kind.has_item for kind in definition.kinds) <= 1, "one kind of effect has an item and a quantity"
        for fields in (definition.settings, definition.options):
            keys = [field.key for field in fields]
            assert len(keys) == len(set(keys)), f"a key is used twice: {keys}"
        for field in (*definition.settings, *definition.options):
            _check_field(field)
        without_default = [field.key for field in definition.options if field.default is None]
        assert without_default == [], f"options must have a default: {without_default}"
        assert sum(field.is_event_map for field in definition.settings) <= 1

    def test_summary_columns_have_names_of_their_own(self) -> None:
        columns = self.destination.definition.summary_columns
        assert all(_MEMBER.fullmatch(shown.member) and shown.label.strip() for shown in columns), columns
        for names in ([shown.member for shown in columns], [shown.column for shown in columns]):
            assert len(names) == len(set(names)), f"shown twice: {names}"
        assert not {shown.member for shown in columns} & _MEMBERS_OF_ALL, "a member that every transaction has"

    def test_reasons_have_texts(self) -> None:
        for reason in self.destination.definition.reasons:
            assert reason.codes
            assert all(_CODE.fullmatch(code) and len(code) <= 64 for code in reason.codes), reason.codes
            assert reason.means.strip()
            assert reason.do.strip()

    # --- settings ---

    def test_the_settings_are_read(self) -> None:
        typed = self.destination.read_settings(self.settings, self.options)
        options = self.destination.delivery_options(typed)
        assert options.requests_per_second >= 0
        assert options.concurrency >= 1
        assert options.tries_max >= 1
        assert options.batch_size >= 1
        assert self.destination.supported_calls(typed) <= self.destination.definition.supported

    def test_required_settings_are_required(self) -> None:
        for field in self.destination.definition.settings:
            if field.default is None:
                without = {key: value for key, value in self.settings.items() if key != field.key}
                message = self._refusal_of(without, self.options)
                assert message is not None, f"settings without {field.key} are accepted"
                assert f"settings.{field.key}" in message, message

    def test_any_settings_are_read_or_refused(self) -> None:
        chance = random.Random(1)
        definition = self.destination.definition
        for _ in range(_STRANGE_EVENTS):
            settings, options = dict(self.settings), dict(self.options)
            for _ in range(chance.randrange(1, 4)):
                fields, values = chance.choice([(definition.settings, settings), (definition.options, options)])
                keys = [field.key for field in fields] or ["unknown"]
                values[chance.choice(keys)] = strange_value(chance)
            self._refusal_of(settings, options)

    def test_unknown_settings_are_refused(self) -> None:
        assert self._refusal_of({**self.settings, "noSuchSetting": 1}, self.options) is not None
        assert self._refusal_of(self.settings, {**self.options, "noSuchOption": 1}) is not None

    def _refusal_of(self, settings: Mapping[str, object], options: Mapping[str, object]) -> str | None:
        try:
            self.destination.read_settings(settings, options)
        except ConfigurationError as error:
            lines = error.message.splitlines()
            assert lines
            assert all(line.startswith(("settings", "options")) for line in lines), lines
            return error.message
        return None

    # --- mapping ---

    def test_the_events_of_this_suite_are_accepted(self) -> None:
        assert self.events, "give at least one event that the mapping accepts"
        for event in self.events:
            _check_intent(self.plan(read_event(event)), self.destination)

    def test_the_mapping_is_total(self) -> None:
        chance = random.Random(2)
        for number in range(_STRANGE_EVENTS):
            event = strange_event(chance, number, self.events)
            if event is None:
                continue
            try:
                intent = self.plan(event)
            except RefusedError as refusal:
                assert _CODE.fullmatch(refusal.code), refusal.code
                assert refusal.message.strip()
            else:
                _check_intent(intent, self.destination)

    def test_keys_are_stable(self) -> None:
        for event in self.events:
            first, again = self.plan(read_event(event)), self.plan(read_event(event))
            assert first == again, "planning an event twice must give the same effect"

    def test_keys_differ_by_event(self) -> None:
        keys = [self.plan(read_event(event)).effect_key for event in self.events]
        assert len(keys) == len(set(keys)), keys

    def test_the_mapping_does_no_io(self) -> None:
        read = [read_event(event) for event in self.events]
        for event in read:
            self.plan(event)  # imports on first use do not count as I/O of the mapping
        typed = self.destination.read_settings(self.settings, self.options)
        with _no_io():
            for event in read:
                self.destination.plan(event, typed, source="website", destination="mine", timezone=_ZONE)

    # --- requests ---

    def effects(self) -> list[Effect]:
        """Return the events of this suite as effects that are ready to perform."""
        return [_effect_of(self.plan(read_event(event))) for event in self.events]

    def test_previews_are_json_and_show_no_secret(self) -> None:
        typed = self.destination.read_settings(self.settings, self.options)
        secrets = [
            text
            for field in self.destination.definition.settings
            if field.secret
            for text in _texts(self.settings.get(field.key))
        ]
        for effect in self.effects():
            shown = json.dumps(dict(self.destination.preview(effect, typed)), default=str)
            assert not [secret for secret in secrets if len(secret) > 3 and secret in shown], "a preview shows a secret"

    def test_requests_are_as_they_were(self) -> None:
        if self.snapshots is None:
            return
        typed = self.destination.read_settings(self.settings, self.options)
        written = []
        for number, effect in enumerate(self.effects()):
            request = dict(self.destination.preview(effect, typed))
            text = json.dumps(request, indent=2, default=str, sort_keys=True, ensure_ascii=False) + "\n"
            file = self.snapshots / f"{number}.json"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                written.append(file.name)
            assert file.read_text() == text, f"the request of event {number} has changed; see {file}"
        assert written == [], f"written for the first time, look at them and run again: {written}"

    # --- client ---

    def test_the_client_can_do_what_is_declared(self) -> None:
        asyncio.run(self._check_client())

    async def _check_client(self) -> None:
        definition = self.destination.definition
        typed = self.destination.read_settings(self.settings, self.options)
        options = self.destination.delivery_options(typed)
        client = self.destination.client(typed)
        try:
            if options.on_unknown is OnUnknown.READ_BACK:
                assert isinstance(client, ReadBackClient), "on_unknown is READ_BACK, and the client has no `find`"
            if options.batch_size > 1:
                assert isinstance(client, BatchClient), "batch_size is above 1, and the client has no `perform_batch`"
            if Capability.VALUE_CHOICES in definition.capabilities:
                assert isinstance(client, ChoicesClient), "VALUE_CHOICES is declared, without `mapping_choices`"
                assert definition.event_map is not None, "VALUE_CHOICES is declared, and no setting is the event map"
            if Capability.PREPARATION in definition.capabilities:
                assert isinstance(self.destination, PreparesEffects), "PREPARATION is declared without `prepare`"
            if Capability.BALANCES in definition.capabilities:
                assert isinstance(client, BalancesClient), "BALANCES is declared, and the client has no `customer`"
        finally:
            await client.close()

    def test_every_status_is_classified(self) -> None:
        with WebhookReceiver() as server:
            for status in _STATUSES:
                for body in (b"", b'{"a":1}', b"<html>no</html>"):
                    has_body = status not in (204, 304)
                    reply = Reply(status=status, body=body if has_body else b"")
                    server.decide = lambda _, reply=reply: reply  # type: ignore[misc]
                    self._check_result(server.url.removesuffix("/hook"), f"status {status} with body {body!r}")

    def test_a_broken_connection_is_classified(self) -> None:
        with WebhookReceiver() as server:
            server.decide = lambda _: Reply(resets=True)
            url = server.url.removesuffix("/hook")
            assert not isinstance(self._check_result(url, "a reset"), Performed)
        assert not isinstance(self._check_result(url, "no server"), Performed)

    def _check_result(self, url: str, what: str) -> Performed | DeliveryError:
        settings, options = self.settings_for(url)
        typed = self.destination.read_settings(settings, options)
        try:
            result = asyncio.run(self._perform(typed, self.effects()[0]))
        except DeliveryError as error:
            assert type(error) is not DeliveryError, f"{what}: raise one of its subclasses, which say what follows"
            assert error.message.strip()
            return error
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__} is not a DeliveryError: {error}") from error
        assert isinstance(result, Performed)
        return result

    async def _perform(self, typed: object, effect: Effect) -> Performed:
        network = NetworkPolicy(allowed=read_networks(["127.0.0.0/8"]))
        client = self.destination.client(typed, network=network)
        try:
            return await client.perform(effect)
        finally:
            await client.close()


def _check_field(field: SettingField) -> None:
    assert field.key
    assert field.label.strip(), field.key
    assert field.description.strip(), field.key
    if field.type is FieldType.SELECT:
        assert field.choices, field.key
        assert field.default is None or field.default in field.choices, field.key
    if field.is_event_map:
        assert field.type is FieldType.TEXT_MAP, field.key


def _check_intent(intent: Intent, destination: Partner) -> None:
    kinds = {kind.name: kind for kind in destination.definition.kinds}
    assert intent.kind in kinds, f"{intent.kind} is not declared: {sorted(kinds)}"
    assert (intent.item is not None) == kinds[intent.kind].has_item, "has_item of the kind says otherwise"
    assert 0 < len(intent.effect_key) <= _KEY_CHARACTERS_MAX
    assert intent.effect_key.isascii()
    assert intent.effect_key.isprintable()
    assert len(intent.customer) <= _EMAIL_CHARACTERS_MAX
    assert len(intent.email) <= _EMAIL_CHARACTERS_MAX
    assert intent.customer == intent.customer.lower()
    assert len(intent.ordering_key or "") <= _ORDERING_KEY_CHARACTERS_MAX
    if intent.payload is not None:
        json.loads(intent.payload)
    if intent.quantity is not None:
        assert isinstance(intent.quantity, Decimal)
        assert intent.quantity.is_finite()
        assert intent.quantity != 0
        assert intent.item is not None, "a quantity of nothing: without an item it is not added up"
    if intent.is_refund:
        assert Capability.PREPARATION in destination.definition.capabilities, "is_refund is for prepared effects"
    elif intent.item is not None:
        assert intent.quantity is not None, "an item without a quantity"
    if intent.note_code is not None:
        assert _CODE.fullmatch(intent.note_code)


def _effect_of(intent: Intent) -> Effect:
    return Effect(
        kind=intent.kind,
        effect_key=EffectKey(intent.effect_key),
        email=intent.email,
        event_name=intent.event_name,
        item=intent.item,
        quantity=intent.quantity,
        attributes=intent.attributes,
        payload=intent.payload,
    )


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for item in value.values() for text in _texts(item)] if isinstance(value, Mapping) else []


def _refuse_io(event: str, arguments: tuple[Any, ...]) -> None:
    if getattr(_watched, "is_on", False) and event.startswith(_IO_EVENTS):
        _watched.is_on = False
        raise AssertionError(f"the mapping does I/O: {event} {arguments[:1]}")


@contextmanager
def _no_io() -> Iterator[None]:
    """Fail on any access to files, network or processes in this thread."""
    if not getattr(_no_io, "is_installed", False):
        sys.addaudithook(_refuse_io)  # it cannot be removed, so it is added once
        _no_io.is_installed = True  # type: ignore[attr-defined]
    _watched.is_on = True
    try:
        yield
    finally:
        _watched.is_on = False

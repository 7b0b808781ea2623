"""The ASGI app that Segment's cloud calls. A 2xx response means that the complete request is durable."""

import asyncio
import hmac
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from punchcard.clock import Clock, to_micros
from punchcard.destinations.catalog import CATALOG
from punchcard.destinations.definition import Definition
from punchcard.errors import (
    ConfigurationError,
    CredentialsError,
    DeliveryError,
    IngestError,
    RejectedError,
    StorageError,
)
from punchcard.events.forwarded import PARTNER, WEBHOOK, Deletion, is_deletion, read_deletion, settings_of
from punchcard.events.malformed import explain_malformed
from punchcard.events.parse import BATCH_BYTES_MAX, EVENT_BYTES_MAX, IngestFailure, read_request
from punchcard.ingest.admission import Admission, Refusal, TooManyKeysError
from punchcard.ingest.body import BodyReader, ClientGoneError, Receive
from punchcard.ingest.content import (
    TooLargeError,
    UnreadableBodyError,
    UnsupportedEncodingError,
    read_content,
    read_encodings,
)
from punchcard.ingest.credentials import basic_key
from punchcard.ingest.forwarding import (
    WEBHOOKS,
    callable_types,
    definition_of,
    events_of,
    is_signed,
    read_settings_header,
    record_bodies,
    require_maps,
)
from punchcard.ingest.http_responses import RETRY_AFTER_SECONDS, HttpResponse, make
from punchcard.ingest.rejections import Rejections
from punchcard.ingest.telemetry import IngestTelemetry
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import NewRecord
from punchcard.operations.regulations import NewRegulation, create_regulation
from punchcard.routing.planning import Planner
from punchcard.routing.source_rules import compile_source_rules
from punchcard.store.delivery.pauses import Pause, pause_of
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import RegulationType, SubjectType, find_by_message
from punchcard.store.routing.event_results import EventStatus
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.managed_by import Account, derive_account, inherit_options, save_managed_destination
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import Snapshot, SnapshotWatch
from punchcard.workspace.subject_vault import SubjectVault

Scope = dict[str, Any]  # ASGI's own
Send = Callable[[dict[str, Any]], Awaitable[None]]

# Segment's webhooks send up to 4,000 events at once, and wait five seconds for a response.
_WEBHOOK_BYTES_MAX: Final = 4 * 1024 * 1024
_VERIFY_SECONDS: Final = 4
_JSON: Final = (b"content-type", b"application/json")
_ACCEPTED: Final = make(202, b"")
_UNSUPPORTED: Final = frozenset({"unsupported_event_type", "unknown_type"})


class _RefusedCallError(Exception):
    """The request is refused with this response."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.response = _message_response(status, message, *headers)


class ForwardedApp:
    """The partner endpoint and the URLs of Segment's Webhook destinations.

    Args:
        commit: Makes records durable.
        watch: The configuration, to which the accounts of callers are added.
        body_seconds: How long a client may take to send its body.
        rejections: Records requests with a 4xx response; None records nothing.
    """

    def __init__(
        self,
        commit: GroupCommit,
        *,
        watch: SnapshotWatch,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        body_seconds: float,
        rejections: Rejections | None = None,
    ) -> None:
        self._commit = commit
        self._rejections = rejections
        self._watch = watch
        self._store = store
        self._keyring = keyring
        self._subjects = SubjectVault(keyring)
        self._clock = clock
        self._bodies = BodyReader(body_seconds)
        self._telemetry = IngestTelemetry()
        self._admission = Admission(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        path: str = scope["path"]
        is_webhook = path.startswith(WEBHOOKS)
        body: bytes | None = None
        try:
            if scope["method"] != "POST":
                raise _RefusedCallError(405, "Send events with POST.", (b"allow", b"POST"))
            headers = dict(scope["headers"])
            bytes_max = _WEBHOOK_BYTES_MAX if is_webhook else EVENT_BYTES_MAX
            body = await self._bodies.read(receive, bytes_max=bytes_max)
            text = _read_text(body, headers, bytes_max=bytes_max)
            if is_webhook:
                response = await self._webhook(path.removeprefix(WEBHOOKS).rstrip("/"), headers, text)
            else:
                address = (scope.get("client") or ("", 0))[0]
                response = await self._partner(path, headers, text, address=address)
        except ClientGoneError:
            return
        except _RefusedCallError as refusal:
            response = refusal.response
        except IngestError as error:
            response = _message_response(400, error.message)
        except TooManyKeysError as error:
            response = _message_response(429, str(error), retry_after_seconds=error.retry_after_seconds)
        except TimeoutError:
            response = _message_response(408, "The body did not arrive in time.")
        except StorageError as error:
            self._telemetry.append_failed(error=error.message)
            response = _message_response(503, f"The request was not stored: {error.message}")
        status, start, content = response
        if 400 <= status < 500 and self._rejections is not None:
            write_key = path.removeprefix(WEBHOOKS).rstrip("/") if is_webhook else ""
            self._rejections.record(scope, response, body=body or b"", write_key=write_key)
        self._telemetry.request_answered(WEBHOOK if is_webhook else PARTNER, status)
        self._telemetry.publish_counts()
        await send(start)
        await send(content)

    async def _webhook(self, write_key: str, headers: Mapping[bytes, bytes], body: bytes) -> HttpResponse:
        snapshot = self._watch.current()
        route = snapshot.by_write_key.get(write_key)
        signature = headers.get(b"x-signature")
        if route is None:
            raise _RefusedCallError(401, "No source has the write key of this URL.")
        if signature is not None and not is_signed(body, write_key, signature.decode("latin-1")):
            raise _RefusedCallError(
                401,
                "X-Signature does not match the body. The shared secret of the webhook must be the source's write key.",
            )
        messages = events_of(body)
        if messages is None:
            raise _RefusedCallError(400, _unreadable("The body is neither an event nor a list of events in JSON", body))
        deletions = [deletion for message in messages if (deletion := read_deletion(message)) is not None]
        events = [message for message in messages if not is_deletion(message)]
        await self._record_deletions(route.source.slug, deletions)
        await self._append(write_key, WEBHOOK, record_bodies(events, settings=None, bytes_max=BATCH_BYTES_MAX))
        return make(200, b'{"success":true}', _JSON)

    async def _partner(self, path: str, headers: Mapping[bytes, bytes], body: bytes, *, address: str) -> HttpResponse:
        definition = definition_of(path)
        if definition is None:
            raise _RefusedCallError(
                404, f"There is no such destination. Known destinations: {', '.join(callable_types())}."
            )
        key = basic_key(headers.get(b"authorization", b""))
        if not key:
            raise _RefusedCallError(401, "Send the API key with HTTP Basic, as the user name and without a password.")
        header_settings = read_settings_header(headers.get(b"x-segment-settings"), definition)
        messages = events_of(body)
        if messages is None:
            raise _RefusedCallError(400, _unreadable("The body is not one event as a JSON object", body))
        if len(messages) != 1:
            raise _RefusedCallError(
                400, f"The body must be one event as a JSON object; it is a list of {len(messages):,}."
            )
        # A deletion concerns a user, whichever events earn points.
        needs_maps = not is_deletion(messages[0])
        account, snapshot = await self._admit(definition, key, header_settings, needs_maps=needs_maps, address=address)
        write_key, route = next(
            (key, route) for key, route in snapshot.by_write_key.items() if route.source.slug == account.slug
        )
        if is_deletion(messages[0]):
            deletion = read_deletion(messages[0])
            if deletion is None:
                raise _RefusedCallError(400, "A deletion needs a `userId`.")
            await self._record_deletions(account.slug, [deletion])
            return _ACCEPTED
        (record,) = record_bodies(messages, settings=header_settings, bytes_max=BATCH_BYTES_MAX)
        # A refused event is recorded too: its reason is visible, and routing decides the same.
        await self._append(write_key, PARTNER, [record])
        planner = Planner(route, snapshot.zone, rules=compile_source_rules(route))
        self._refuse_if_not_awarded(record, planner.with_settings(settings_of(record)))
        await self._refuse_if_paused(account.slug)
        return _ACCEPTED

    async def _admit(
        self, definition: Definition, key: str, header_settings: Mapping[str, object], *, needs_maps: bool, address: str
    ) -> tuple[Account, Snapshot]:
        """Return the caller's account and a snapshot with it, once the partner has accepted its token."""
        secret = next(setting.key for setting in definition.settings if setting.secret)
        settings = {**header_settings, secret: key}
        account = derive_account(definition, settings)
        snapshot = self._watch.current()
        existing = snapshot.destinations.get(account.slug)
        configured = [destination.destination for destination in snapshot.destinations.values()]
        try:
            typed = CATALOG[definition.slug].read_settings(settings, inherit_options(configured, account))
        except ConfigurationError as error:
            raise _RefusedCallError(400, "; ".join(error.message.splitlines())) from error
        if needs_maps:
            require_maps(header_settings, definition)
        if existing is not None and not existing.destination.is_managed:
            raise _RefusedCallError(
                403, f"The configuration has its own destination {account.slug}, which does not accept forwarded calls."
            )
        digest = account.slug, self._keyring.fingerprint(key.encode())
        if existing is None or (
            not _is_same(existing.destination.settings.get(secret), key) and not self._admission.is_accepted(digest)
        ):
            refusal = await self._admission.check(digest, address=address, verify=lambda: _verify(definition, typed))
            if refusal is not None:
                raise _RefusedCallError(refusal.status, refusal.message)
            await self._save_account(account, settings)
        elif _maps_more(existing.destination, settings):
            await self._save_account(account, {**settings, secret: existing.destination.settings.get(secret)})
        return account, self._watch.current()

    async def _save_account(self, account: Account, settings: Mapping[str, object]) -> None:
        def save_now() -> None:
            save_managed_destination(self._store, account, settings, clock=self._clock, keyring=self._keyring)
            self._watch.refresh()

        try:
            await asyncio.to_thread(save_now)
        except ConfigurationError as error:
            raise _RefusedCallError(400, "; ".join(error.message.splitlines())) from error

    async def _append(self, write_key: str, call: str, bodies: Sequence[bytes]) -> None:
        received_at = to_micros(self._clock.now())
        records = [NewRecord(received_at, write_key, call, "identity", body, "") for body in bodies]
        await asyncio.gather(*map(self._commit.submit, records))

    async def _record_deletions(self, source: str, deletions: Sequence[Deletion]) -> None:
        """Make each deletion a regulation, once however often it is requested.

        Raises:
            _RefusedCallError: A deletion is not valid; none is stored.
        """

        def record_now() -> None:
            with self._store.unit_of_work() as work:
                for deletion in deletions:
                    if find_by_message(work, source, deletion.message_id) is not None:
                        continue
                    request = NewRegulation(
                        type=RegulationType.DELETE_ONLY,
                        subject_type=SubjectType.USER_ID,
                        subjects=[deletion.user_id],
                        source=source,
                        message_id=deletion.message_id,
                    )
                    try:
                        create_regulation(work, self._subjects, request, actor="Segment's cloud", now=self._clock.now())
                    except ConfigurationError as error:
                        raise _RefusedCallError(400, error.message) from error
                    self._telemetry.deletion_requested(source=source)

        if deletions:
            await asyncio.to_thread(record_now)

    def _refuse_if_not_awarded(self, record: bytes, planner: Planner) -> None:
        """Apply routing's decision at once, because the sender's debugger shows the response.

        Raises:
            _RefusedCallError: The event earns nothing for a reason that its sender can correct.
        """
        # Position 0 belongs to no record.
        (item,) = read_request(record, call=PARTNER, received_at=self._clock.now(), position=0)
        if isinstance(item, IngestFailure):
            raise _RefusedCallError(501 if item.reason in _UNSUPPORTED else 400, item.detail)
        for result in planner.plan_received(item).decided:
            if result.reason in _UNSUPPORTED:
                raise _RefusedCallError(501, result.detail or "")
            if result.status is EventStatus.REFUSED:
                raise _RefusedCallError(400, result.detail or "")

    async def _refuse_if_paused(self, slug: str) -> None:
        def pause_now() -> Pause | None:
            with self._store.reading() as work:
                return pause_of(work, slug)

        pause = await asyncio.to_thread(pause_now)
        # What a person has paused is queued: the sender has nothing to correct.
        if pause is not None and not pause.is_by_operator:
            raise _RefusedCallError(
                401, f"{pause.description}. The event is stored and delivered once the API key is accepted or replaced."
            )


def _read_text(body: bytes | None, headers: Mapping[bytes, bytes], *, bytes_max: int) -> bytes:
    """Return the text of a body, decompressed as that of the Tracking API; None is a body that is too large.

    Raises:
        _RefusedCallError: It is too large, damaged, or of another encoding.
    """
    encodings = read_encodings(headers.get(b"content-encoding", b""))
    try:
        if body is None:
            raise TooLargeError
        return read_content(body, encodings, bytes_max=bytes_max).text
    except TooLargeError as error:
        raise _RefusedCallError(400, f"The request is larger than {bytes_max // 1024:,} KB.") from error
    except UnsupportedEncodingError as error:
        raise _RefusedCallError(415, "This Content-Encoding is not supported. Use gzip or identity.") from error
    except UnreadableBodyError as error:
        raise _RefusedCallError(400, str(error)) from error


async def _verify(definition: Definition, settings: object) -> Refusal | None:
    """Check with the partner whether the API key belongs to the account."""
    client = CATALOG[definition.slug].client(settings)
    try:
        async with asyncio.timeout(_VERIFY_SECONDS):
            await client.verify()
    except CredentialsError as error:
        return Refusal(status=403 if error.status == 403 else 401, message=error.message)
    except RejectedError as error:
        return Refusal(status=400, message=error.message)
    except (DeliveryError, TimeoutError) as error:
        return Refusal(status=503, message=f"{definition.name} cannot check this API key at the moment: {error}")
    finally:
        await client.close()
    return None


def _is_same(stored: object, given: str) -> bool:
    """Return whether the token is the stored one, compared in constant time."""
    return isinstance(stored, str) and hmac.compare_digest(stored.encode(), given.encode())


def _maps_more(existing: Destination, settings: Mapping[str, object]) -> bool:
    """Return whether a map in the settings has a name that the existing one lacks."""
    for key, value in settings.items():
        before = existing.settings.get(key)
        if isinstance(value, Mapping) and not (isinstance(before, Mapping) and value.keys() <= before.keys()):
            return True
    return False


def _unreadable(sentence: str, body: bytes) -> str:
    """Return the sentence, with what is wrong with the text of a body that is not a list."""
    return f"{sentence}." if body.lstrip().startswith(b"[") else f"{sentence}: {explain_malformed(body)}"


def _message_response(
    status: int, message: str, *headers: tuple[bytes, bytes], retry_after_seconds: float | None = None
) -> HttpResponse:
    """Return a response that Segment shows to its users."""
    retry_after = [(b"retry-after", RETRY_AFTER_SECONDS)] if status == 503 else []
    if retry_after_seconds is not None:
        retry_after = [(b"retry-after", str(math.ceil(retry_after_seconds)).encode())]
    return make(status, msgspec.json.encode({"message": message}), _JSON, *headers, *retry_after)

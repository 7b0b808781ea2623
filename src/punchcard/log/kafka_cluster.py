"""The Kafka cluster of an event log: its topics, how its clients are set up, and what their failures mean."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, TopicDescription

from punchcard.errors import ConfigurationError, StorageError, StorageSettingsError
from punchcard.log.kafka_clients import destroy_unused, open_client
from punchcard.log.kafka_errors import (
    CHANGING,
    NO_ACCESS,
    NO_TOPIC,
    OTHER_LEADER,
    UNEXPLAINED,
    code_of,
    connection_failure,
    meaning_of,
    sentence,
)
from punchcard.log.kafka_options import KafkaOptions

ANSWER_SECONDS: Final = 5.0
"""How long the cluster may take to answer a question, before it counts as not available."""

PARTITION: Final = 0
_POLL_SECONDS: Final = 0.1
_ALONE_SECONDS: Final = 1.0  # as long as a request is waited for before another client makes it too
_LOOK_SECONDS: Final = 0.5  # of a client that looks for the leader: the next look follows anyway
# The leader that is asked for offsets may be dead, so it is soon looked for again; or slow, so it gets more time then.
_OFFSETS_SECONDS: Final = 0.5
_OFFSETS_SECONDS_MAX: Final = 2.0
_ERROR_SECONDS: Final = 30.0  # as long as an error explains a time-out

_CLIENT: Final[Mapping[str, object]] = {
    "client.id": "punchcard",
    # What goes wrong is in our own messages. 2: only what ends a client.
    "log_level": 2,
    "socket.connection.setup.timeout.ms": 5_000,
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
    "reconnect.backoff.max.ms": 1_000,  # events wait until the cluster is back
    "topic.metadata.refresh.interval.ms": 60_000,
}
_ASKING: Final[Mapping[str, object]] = {
    "group.id": "punchcard",  # needed by the client, though nothing is ever committed to it
    "isolation.level": "read_uncommitted",
}
_UNTRUSTED: Final = "certificate verify failed"
_silent = logging.getLogger("punchcard.log.kafka.client")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False

K = TypeVar("K")
T = TypeVar("T")


class KafkaCluster:
    """Asks and changes the cluster; sets up other clients. Thread-safe.

    Attributes:
        options: What the URL says.

    Raises:
        ConfigurationError: The URL has an option that does not exist.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self.options = options
        self._last_error, self._last_code, self._last_error_at = "", 0, 0.0
        self._connecting = threading.Lock()
        self._client: AdminClient | None = self._new_client()
        # Reads nothing: a broker answers in turn, and its response to a consumer that does waits for the next record.
        with self.failures("opened"):
            self._asking: Consumer | None = open_client(Consumer, {**self.client_settings(), **_ASKING})

    def close(self) -> None:
        """End the clients. Without this, their threads would wait for the garbage collector."""
        with self._connecting:
            self._client = self._asking = None
        destroy_unused()

    def client_settings(self) -> dict[str, Any]:
        """Return what all clients have in common."""
        return {
            **_CLIENT,
            **self.options.properties,
            "bootstrap.servers": self.options.brokers,
            "error_cb": self._note_error,
            "logger": _silent,
        }

    @contextmanager
    def failures(self, action: str) -> Iterator[None]:
        """Raise what a client raises as one of our errors.

        Args:
            action: What cannot be done with the log, as a participle.
        """
        try:
            yield
        except (KafkaException, FutureTimeoutError, BufferError) as error:
            raise self.failure(action, error) from error

    def failure(self, action: str, error: object) -> StorageError | ConfigurationError:
        """Return the error after a failed use of the log."""
        detail = error.args[0] if isinstance(error, KafkaException) and error.args else error
        if isinstance(detail, KafkaError):
            if detail.code() == KafkaError._INVALID_ARG:
                return ConfigurationError(f"log_url: {sentence(detail.str())}")
            text, code = ("", 0) if detail.code() in UNEXPLAINED else (meaning_of(detail), detail.code())
        else:
            code = 0
            text = "" if isinstance(detail, FutureTimeoutError) else str(detail)
        if not text and (client := self._client) is not None:
            client.poll(0)  # calls `_note_error`
        if not text and monotonic() - self._last_error_at < _ERROR_SECONDS:
            text, code = connection_failure(self._last_error), self._last_code
        is_unreached = not text or code in UNEXPLAINED
        text = text or "the brokers do not answer in time"
        message = f"The event log at {self.options.place} cannot be {action}: {sentence(text)}"
        if code in NO_ACCESS or _UNTRUSTED in text:
            return StorageSettingsError(f"{message} Correct PUNCHCARD_LOG_URL, or what the brokers allow this user.")
        remedy = " Check that the brokers run, and PUNCHCARD_LOG_URL." if is_unreached else ""
        return StorageError(f"{message}{remedy}")

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic, "" if there is no such topic.

        Raises:
            StorageError: The cluster is not available.
        """
        description = self.describe(topic, action="read")
        return "" if description is None else str(description.topic_id)

    def range_of(self, topic: str, partition: int = PARTITION) -> tuple[int, int]:
        """Return the offset of the first record of a partition, and the offset after its last one.

        Raises:
            StorageError: The cluster is not available.
        """
        deadline = monotonic() + ANSWER_SECONDS
        seconds = _OFFSETS_SECONDS
        while True:
            asking = self._asking
            if asking is None:
                raise self._closed()
            try:
                # Not by an admin client: while the leader is dead, its request takes a processor core, and with some
                # of them the brokers of a small machine cannot elect another one.
                first, end = asking.get_watermark_offsets(TopicPartition(topic, partition), timeout=seconds)
                return int(first), int(end)
            except KafkaException as error:
                asking.poll(0)  # calls `_note_error`
                if code_of(error) not in CHANGING or monotonic() > deadline:
                    raise self.failure("read", error) from error
            look_for_leader(asking, topic)
            threading.Event().wait(_POLL_SECONDS)
            seconds = min(2 * seconds, _OFFSETS_SECONDS_MAX)

    def ends_of(self, topic: str, partitions: Sequence[int]) -> list[int]:
        """Return the offsets after the last records of partitions.

        Raises:
            StorageError: The cluster is not available.
        """
        return [self.range_of(topic, partition)[1] for partition in partitions]

    def delete_before(self, topic: str, offset: int, *, partition: int = PARTITION) -> None:
        """Delete the records of a partition before an offset.

        Raises:
            StorageError: Nothing was deleted.
        """
        before = TopicPartition(topic, partition, offset)
        self.ask(lambda client, seconds: client.delete_records([before], request_timeout=seconds), "trimmed")

    def _new_client(self) -> AdminClient:
        with self.failures("opened"):
            return open_client(AdminClient, self.client_settings())

    def admin(self) -> AdminClient:
        """Return the client of the cluster. To be held until a request is answered: without it, that never is.

        Raises:
            StorageError: The log is closed.
        """
        if (client := self._client) is None:
            raise self._closed()
        return client

    def _closed(self) -> StorageError:
        return StorageError(f"The event log at {self.options.place} is closed.")

    def ask(
        self,
        request: "Callable[[AdminClient, float], Mapping[K, Future[T]]]",
        action: str,
        *,
        codes: Collection[int] = CHANGING,
    ) -> dict[K, T]:
        """Make a request; again while the cluster changes its leaders, or has not heard yet of a new topic.

        After the death of a leader a client can wait for the leader it knows for minutes. So another client, which asks
        who leads now, makes the request too as soon as one has got no response for a second; the first one counts.

        Args:
            request: Gets the client and the seconds that it may take. It may be made several times.
            codes: The errors after which the request is repeated.

        Returns:
            The results of the request's futures.
        """
        deadline = monotonic() + ANSWER_SECONDS
        pending: list[_Request[K, T]] = []
        while True:
            # Held until the response is there: requests of a client that nobody holds are never answered.
            client = self.admin()
            answered: list[_Request[K, T]] = []
            try:
                with self.failures(action):
                    futures = request(client, max(deadline - monotonic(), _ALONE_SECONDS))
                    pending.append(_Request(client, futures))
                    answered = _wait_for_any(pending)
                    pending = [each for each in pending if each not in answered]
                    for each in answered:
                        return each.results()
                    if monotonic() > deadline + _ALONE_SECONDS:
                        raise TimeoutError  # the client has not even reported that there is no response
            except StorageError as error:
                self._replace(client)
                if code_of(error.__cause__) not in codes or monotonic() > deadline:
                    raise
                threading.Event().wait(_POLL_SECONDS)
            else:
                self._replace(client)

    def _replace(self, client: AdminClient) -> None:
        """Connect again, unless the log is closed or another thread has done it."""
        with self._connecting:
            if self._client is client:
                self._client = self._new_client()

    def describe(self, topic: str, *, action: str = "opened") -> TopicDescription | None:
        """Return the description of a topic, None if there is no such topic.

        Raises:
            StorageError: The cluster is not available.
        """
        topics = TopicCollection([topic])
        try:
            descriptions: dict[str, TopicDescription] = self.ask(
                lambda client, seconds: client.describe_topics(topics, request_timeout=seconds),
                action,
                codes=OTHER_LEADER,
            )
            return descriptions[topic]
        except StorageError as error:
            if code_of(error.__cause__) in NO_TOPIC:
                return None
            raise

    def _note_error(self, error: KafkaError) -> None:
        """Keep what a client says in the background: it explains the time-out that follows."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # follows the reason
            self._last_error, self._last_code, self._last_error_at = error.str(), error.code(), monotonic()


@dataclass(frozen=True, eq=False)
class _Request(Generic[K, T]):
    """A request that was made."""

    client: AdminClient
    futures: "Mapping[K, Future[T]]"

    def missing(self) -> "list[Future[T]]":
        """Return the parts of the request without a response."""
        return [future for future in self.futures.values() if not future.done()]

    def results(self) -> dict[K, T]:
        """Return the results of all parts, which are there."""
        return {key: _result(future) for key, future in self.futures.items()}


def _wait_for_any(pending: Sequence[_Request[K, T]]) -> list[_Request[K, T]]:
    """Return the requests that are answered, as soon as there is one; none after a second."""
    until = monotonic() + _ALONE_SECONDS
    while True:
        answered = [each for each in pending if not each.missing()]
        seconds = until - monotonic()
        if answered or seconds <= 0:
            return answered
        wait([future for each in pending for future in each.missing()], timeout=seconds, return_when=FIRST_COMPLETED)


def look_for_leader(client: Consumer | Producer, topic: str) -> None:
    """Let a client that waits for a leader find out which broker leads a topic now: it does so once a second itself."""
    with suppress(KafkaException):  # who waits for the client reports why it does not go on
        client.list_topics(topic, timeout=_LOOK_SECONDS)


def only(futures: "Mapping[Any, Future[T]]") -> T:
    """Return the only result of a request, once it is there."""
    (future,) = futures.values()
    wait([future], timeout=2 * ANSWER_SECONDS)
    return _result(future)


def _result(future: "Future[T]") -> T:
    """Return the result of a request, or raise a copy of its error.

    The future refers to the error. If it was raised, it would refer to the frames with the future and the client.
    """
    error = future.exception(timeout=0)
    if error is not None:
        raise copy(error)
    return future.result()

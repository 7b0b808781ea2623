"""What errors of the Kafka client mean: which pass by themselves, and what an operator reads about them."""

import re
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException

NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
"""The topic does not exist, or the broker does not know it yet."""

_UNREACHABLE: Final = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)
UNEXPLAINED: Final = (
    KafkaError._TIMED_OUT,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    *_UNREACHABLE,
)
"""They do not say why: an error that the client has reported in the background does."""

_ELECTION: Final = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.REPLICA_NOT_AVAILABLE,
    KafkaError._NOENT,  # the client knows of no leader
)
_NEW_LEADER: Final = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)
# A new leader knows the end of the log once all in-sync replicas have asked it for records. The same code stands for
# an end that the client does not get because the leader is dead and not replaced yet.
_END_UNKNOWN: Final = (KafkaError.OFFSET_NOT_AVAILABLE,)
_TOO_FEW_REPLICAS: Final = (KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND)

OTHER_LEADER: Final = (
    *_ELECTION,
    *_NEW_LEADER,
    *_END_UNKNOWN,
    *_UNREACHABLE,
    KafkaError._TIMED_OUT,  # it goes on with a leader that is dead
)
"""Errors while a topic gets another leader."""

CHANGING: Final = (*OTHER_LEADER, *NO_TOPIC)
"""Errors that pass by themselves while the cluster changes, unless too many brokers are down."""

NO_ACCESS: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
"""Errors of a wrong user, password or right. A broker that is only starting gives none of them."""

# BROKER/ID: Connect to ipv4#ADDRESS failed: CAUSE (after 0ms in state CONNECT, 1 identical error(s) suppressed)
_CONNECTION: Final = re.compile(
    r"(?:\w+://)?(?P<broker>[^/\s]+)/\w+: (?:Connect to \S+ failed: )?(?P<cause>.*?)"
    r"(?: \(after [^()]*(?:\(s\)[^()]*)?\))?"
)
_IF_IT_LASTS: Final = "This takes some seconds. If it lasts for a minute, start the brokers that are down."
_MEANINGS: Final[Mapping[int, str]] = {
    **dict.fromkeys(_ELECTION, f"Its brokers elect a leader. {_IF_IT_LASTS}"),
    **dict.fromkeys(_NEW_LEADER, f"Another broker leads it now. {_IF_IT_LASTS}"),
    **dict.fromkeys(
        _END_UNKNOWN, f"Where it ends is not known until its brokers have agreed on a leader. {_IF_IT_LASTS}"
    ),
    **dict.fromkeys(
        _TOO_FEW_REPLICAS,
        "Fewer brokers are in sync than must have each event (min.insync.replicas). Start those that are down.",
    ),
    **dict.fromkeys(NO_TOPIC, f"The brokers do not know its topic. {_IF_IT_LASTS} If all are up, it was deleted."),
    KafkaError.KAFKA_STORAGE_ERROR: "A broker cannot use its disk. See the broker's log, and whether the disk is full.",
    KafkaError._DESTROY: "The client closes its connection to a broker that is gone. This takes some seconds.",
    KafkaError.REQUEST_TIMED_OUT: "The other brokers have not confirmed it to the leader in time.",
}


def meaning_of(error: KafkaError) -> str:
    """Return what an error means to an operator, or the client's own words if these say it."""
    return _MEANINGS.get(error.code(), error.str())


def connection_failure(text: str) -> str:
    """Return what the client reports of a connection that failed without its own states; any other text as it is."""
    match = _CONNECTION.fullmatch(text)
    return f"{match['broker']}: {match['cause']}" if match else text


def detail_of(error: BaseException | None) -> KafkaError | None:
    """Return the error of the client within an exception, None if it is another one."""
    detail = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return detail if isinstance(detail, KafkaError) else None


def code_of(error: BaseException | None) -> int | None:
    """Return the code of the client's error within an exception, None if it is another one."""
    detail = detail_of(error)
    return None if detail is None else detail.code()


def sentence(text: str) -> str:
    """Return a message of the client as a sentence on one line."""
    text = " ".join(text.split()).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."

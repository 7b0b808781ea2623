"""URLs of logs in Kafka: what they mean, what is refused, and what messages show of them."""

import pytest

from punchcard.errors import ConfigurationError
from punchcard.log.kafka_options import KafkaOptions, read_options
from punchcard.log.opening import describe_place, is_shared

TLS = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        pytest.param("kafka://b1/events", KafkaOptions("b1:9092", "events"), id="default port"),
        pytest.param(
            "kafka://b1:9093,b2,[::1]:1/a.b_c-d", KafkaOptions("b1:9093,b2:9092,[::1]:1", "a.b_c-d"), id="many"
        ),
        pytest.param("kafka://b/e?replication=1", KafkaOptions("b:9092", "e", 1), id="replication"),
        pytest.param(
            "kafka://b/e?ssl.ca.location=%2Fetc%2Fca.pem",
            KafkaOptions("b:9092", "e", 3, {"security.protocol": "SSL", "ssl.ca.location": "/etc/ca.pem"}),
            id="certificate implies TLS",
        ),
        pytest.param(
            "kafka://ann:p%40ss%2Fword@b/e",
            KafkaOptions("b:9092", "e", 3, {**TLS, "sasl.username": "ann", "sasl.password": "p@ss/word"}),
            id="password implies TLS",
        ),
        pytest.param(
            "kafka://b/e?sasl.username=ann&sasl.password=x&security.protocol=SASL_PLAINTEXT&sasl.mechanisms=SCRAM-SHA-512",
            KafkaOptions(
                "b:9092",
                "e",
                3,
                {
                    "security.protocol": "SASL_PLAINTEXT",
                    "sasl.username": "ann",
                    "sasl.password": "x",
                    "sasl.mechanisms": "SCRAM-SHA-512",
                },
            ),
            id="as given",
        ),
    ],
)
def test_a_url_means_brokers_topic_and_options(url: str, options: KafkaOptions) -> None:
    assert read_options(url) == options
    assert is_shared(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("kafka://b1:9092", "has the form kafka://", id="no topic"),
        pytest.param("kafka:///events", "has the form kafka://", id="no broker"),
        pytest.param("kafka://b1,,b2/events", "has the form kafka://", id="empty broker"),
        pytest.param("kafka://[::1/events", "has the form kafka://", id="half an IPv6 address"),
        pytest.param("kafka://b1/events/more", "has the form kafka://", id="path"),
        pytest.param("kafka://b1/events?replication", "name=value", id="option without a value"),
        pytest.param("kafka://b1/events?replication=0", "must be a number of brokers", id="no replica"),
        pytest.param("kafka://b1/events?acks=1", "acks must not be set", id="acks"),
        pytest.param("kafka://b1/events?enable.idempotence=false", "enable.idempotence must not", id="idempotence"),
        pytest.param("kafka://b1/events?bootstrap.servers=c", "bootstrap.servers must not", id="brokers twice"),
    ],
)
def test_what_would_lose_events_or_means_nothing_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        read_options(url)
    assert refused.value.message.startswith("log_url: ")


def test_no_message_shows_a_password() -> None:
    url = "kafka://ann:secret@b1,b2:9093/events?ssl.key.password=secret"
    options = read_options(url)
    assert "secret" not in repr(options)
    assert options.place == "kafka://b1:9092,b2:9093/events"
    assert describe_place(url) == "kafka://b1,b2:9093/events"


@pytest.mark.parametrize(("replication", "minimum"), [(1, 1), (2, 2), (3, 2), (5, 2)])
def test_two_brokers_have_what_is_acknowledged(replication: int, minimum: int) -> None:
    assert KafkaOptions("b:9092", "e", replication).insync_replicas_min == minimum

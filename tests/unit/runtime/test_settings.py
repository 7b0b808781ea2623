from dataclasses import fields
from pathlib import Path

import pytest
from cogapp import Cog

from punchcard.errors import ConfigurationError
from punchcard.log.kafka_options import read_options
from punchcard.operations.retention import DATA_SETS, DataSet
from punchcard.operations.retention_limits import DAYS_MAX
from punchcard.runtime.settings import LogFormat, LogLevel, Secret, Settings, read_settings, setting_entries

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_dataclass_and_default_file_list_the_same_settings_in_the_same_order() -> None:
    assert [field.name for field in fields(Settings)] == [entry.name for entry in setting_entries()]


def test_every_setting_is_explained() -> None:
    assert [entry.name for entry in setting_entries() if len(entry.comment) < 20] == []


def test_reference_page_is_what_the_default_file_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert Cog().main(["cog", "--check", str(REFERENCE)]) == 0, f"run `make docs`\n{capsys.readouterr().out}"
    page = REFERENCE.read_text()
    assert [entry.name for entry in setting_entries() if f"| `{entry.name}` | `{entry.variable}` |" not in page] == []


def test_defaults_need_no_environment() -> None:
    settings = read_settings({"HOME": "/root"})

    assert settings.data == Path("data")
    assert settings.port == 8080
    assert settings.lake_flush_seconds == 2.0
    assert settings.log_format is LogFormat.AUTO


def test_environment_stands_above_the_default_file_and_overrides_above_the_environment() -> None:
    environment = {"PUNCHCARD_PORT": "9000", "PUNCHCARD_LOG_LEVEL": "DEBUG", "PUNCHCARD_HOST": "0.0.0.0"}

    settings = read_settings(environment, {"port": 9001, "host": None})

    assert (settings.port, settings.log_level, settings.host) == (9001, LogLevel.DEBUG, "0.0.0.0")


def test_everything_is_kept_in_the_data_folder_unless_urls_say_otherwise() -> None:
    local = read_settings({"PUNCHCARD_DATA": "/srv/punchcard"})
    assert local.store_url() == "sqlite:////srv/punchcard/punchcard.db"
    assert local.event_log_url() == "sqlite:////srv/punchcard/log.db"
    assert local.lake_location() == "/srv/punchcard/lake"
    assert local.secret_key_path() == Path("/srv/punchcard/secret-key")
    assert local.admin_token_path() == Path("/srv/punchcard/admin-token")

    remote = read_settings(
        {
            "PUNCHCARD_DATABASE_URL": "postgresql://db/punchcard",
            "PUNCHCARD_LOG_URL": "nats://log:4222",
            "PUNCHCARD_LAKE_URL": "s3://lake/events",
        }
    )
    assert remote.store_url() == "postgresql://db/punchcard"
    assert remote.event_log_url() == "nats://log:4222"
    assert remote.lake_location() == "s3://lake/events"


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        pytest.param("PUNCHCARD_PORTS", "1", "Did you mean PUNCHCARD_PORT?", id="misspelt"),
        pytest.param("PUNCHCARD_LAKE_FLUSH_SECOND", "1", "Did you mean PUNCHCARD_LAKE_FLUSH_SECONDS?", id="singular"),
        pytest.param("PUNCHCARD_port", "1", "Did you mean PUNCHCARD_PORT?", id="lower case"),
        pytest.param("PUNCHCARD_PORT", "http", "0 to 65535 is expected, not 'http'", id="port is text"),
        pytest.param("PUNCHCARD_PORT", "65536", "0 to 65535", id="port too high"),
        pytest.param("PUNCHCARD_LAKE_ROWS_MAX", "0", "above 0", id="no rows"),
        pytest.param("PUNCHCARD_LAKE_RETENTION_DAYS", "-1", "up to 36,500, or 0 for ever", id="negative period"),
        pytest.param(
            "PUNCHCARD_AUDIT_LOG_RETENTION_DAYS", str(DAYS_MAX + 1), "up to 36,500", id="period without a date"
        ),
        pytest.param("PUNCHCARD_PROFILE_RETENTION_DAYS", "1.5", "whole number of days", id="half a day"),
        pytest.param("PUNCHCARD_LAKE_ROWS_MAX", "1.5", "whole number", id="half a row"),
        pytest.param("PUNCHCARD_SHUTDOWN_SECONDS", "nan", "above 0", id="not a number"),
        pytest.param("PUNCHCARD_SHUTDOWN_SECONDS", "inf", "above 0", id="for ever"),
        pytest.param("PUNCHCARD_LOG_LEVEL", "loud", "debug, info, warning, error", id="level"),
        pytest.param("PUNCHCARD_DATA", " ", "must not be empty", id="no folder"),
    ],
)
def test_bad_variable_is_refused_by_name(variable: str, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({variable: text})
    assert caught.value.message.startswith(f"{variable}: ")
    assert words in caught.value.message


def test_all_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({"PUNCHCARD_PORT": "x", "PUNCHCARD_COLOUR": "red"}, {"log_format": "xml", "shape": "round"})
    assert len(caught.value.message.splitlines()) == 4


def test_secrets_do_not_show_themselves() -> None:
    settings = read_settings(
        {"PUNCHCARD_SECRET_KEY": "correct horse", "PUNCHCARD_DATABASE_URL": "postgresql://me:battery@db/x"}
    )
    assert "horse" not in repr(settings)
    assert "battery" not in repr(settings)
    assert settings.secret_key.reveal() == "correct horse"
    assert settings.secret_key == Secret("correct horse")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://points.example.com", "https://points.example.com"),
        (" https://points.example.com/ ", "https://points.example.com"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://example.com/points/", "https://example.com/points"),
        ("", ""),
    ],
)
def test_a_public_url_is_without_its_last_slash(text: str, expected: str) -> None:
    assert read_settings({"PUNCHCARD_PUBLIC_URL": text}).public_url == expected


@pytest.mark.parametrize(
    "text",
    [
        "points.example.com",
        "ftp://x",
        "https://",
        "https://x?y",
        'https://x"',
        "https://a b",
        "http://[",
        "http://[::1",
        "http://a:99999",
    ],
)
def test_a_public_url_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PUNCHCARD_PUBLIC_URL: A URL"):
        read_settings({"PUNCHCARD_PUBLIC_URL": text})


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.0/8, ::1", " 192.0.2.7/24 "])
def test_trusted_proxies_are_addresses_and_networks(text: str) -> None:
    assert read_settings({"PUNCHCARD_TRUSTED_PROXIES": text}).trusted_proxies == text


@pytest.mark.parametrize("text", ["*", "localhost", "10.0.0.0/40", "10.0.0.1 10.0.0.2"])
def test_trusted_proxies_that_are_no_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="Addresses or networks"):
        read_settings({"PUNCHCARD_TRUSTED_PROXIES": text})


def test_the_password_of_kafka_needs_no_place_in_the_url() -> None:
    environment = {"PUNCHCARD_KAFKA_SASL_USERNAME": "ann", "PUNCHCARD_KAFKA_SASL_PASSWORD": "p&ss w%rd"}
    for url in ("kafka://b1,b2/events", "kafka://b1,b2/events?sasl.mechanism=SCRAM-SHA-512"):
        settings = read_settings({**environment, "PUNCHCARD_LOG_URL": url})
        properties = read_options(settings.event_log_url()).properties
        assert properties["sasl.username"] == "ann"
        assert properties["sasl.password"] == "p&ss w%rd"
        assert "p&ss" not in repr(settings)
    other = read_settings({**environment, "PUNCHCARD_LOG_URL": "postgresql://db/punchcard"})
    assert other.event_log_url() == "postgresql://db/punchcard"


@pytest.mark.parametrize("data_set", [each for each in DATA_SETS if each.days_min > 1], ids=lambda each: each.name)
def test_settings_have_the_shortest_periods_of_app_and_command_line(data_set: DataSet) -> None:
    variable = f"PUNCHCARD_{data_set.setting.upper()}"
    with pytest.raises(
        ConfigurationError, match=f"{variable}: This must be kept for at least {data_set.days_min} days"
    ):
        read_settings({variable: str(data_set.days_min - 1)})
    for days in (0, data_set.days_min):
        assert read_settings({variable: str(days)}).retention_days()[data_set.setting] == days

"""What cannot be used as settings of Webhooks is refused when it is saved, with its key path."""

from collections.abc import Mapping

import pytest

from punchcard.destinations.port import OnUnknown
from punchcard.destinations.webhooks.settings import read_settings
from punchcard.errors import ConfigurationError
from punchcard.events.model import EventType

URL = "https://example.com/hook"


def test_only_a_url_is_needed() -> None:
    read = read_settings({"url": f" {URL} "}, {})
    assert (read.url, read.batch_size, read.calls, read.template) == (URL, 1, frozenset(EventType), None)
    assert read.delivery.on_unknown is OnUnknown.RESEND


def test_every_setting_is_read() -> None:
    read = read_settings(
        {
            "url": URL,
            "headers": {"Authorization": "Bearer secret-1"},
            "sharedSecret": "secret-2",
            "batchSize": 50,
            "triggers": ["track", "identify"],
        },
        {"template": '{\n  "a": {"@path": "$.event"}\n}', "signature": "standard-webhooks", "unknownOutcome": "park"},
    )
    assert read.headers == {"Authorization": "Bearer secret-1"}
    assert read.calls == {EventType.TRACK, EventType.IDENTIFY}
    assert (read.delivery.batch_size, read.delivery.on_unknown, read.is_standard) == (50, OnUnknown.PARK, True)
    assert read.template is not None
    assert "secret-1" not in repr(read)
    assert "secret-2" not in repr(read)


@pytest.mark.parametrize(
    ("settings", "options", "problem"),
    [
        ({}, {}, "settings.url: is required"),
        ({"url": "example.com"}, {}, "settings.url: must be a web address"),
        ({"url": "ftp://example.com"}, {}, "settings.url: must be a web address"),
        ({"url": "https://"}, {}, "settings.url: must be a web address"),
        ({"url": "https://[::1"}, {}, "settings.url: is not a web address"),
        ({"url": "https://a:b@example.com/"}, {}, "settings.url: must not hold a user name"),
        ({"url": "https://example.com/#x"}, {}, "settings.url: must not have"),
        ({"url": "https://example.com/a b"}, {}, "settings.url: must not have"),
        ({"url": f"https://example.com/{'x' * 2048}"}, {}, "settings.url: has "),
        ({"url": URL, "headers": {"Bad Name": "x"}}, {}, "settings.headers: 'Bad Name' is not the name"),
        ({"url": URL, "headers": {"X-A": "ü"}}, {}, "settings.headers.X-A: must be printable ASCII"),
        ({"url": URL, "headers": {"X-A": "a\r\nX-B: c"}}, {}, "settings.headers.X-A: must be printable ASCII"),
        ({"url": URL, "headers": {"content-LENGTH": "1"}}, {}, "settings.headers.content-LENGTH: is set by Punchcard"),
        ({"url": URL, "headers": {"Host": "x"}}, {}, "settings.headers.Host: is set by Punchcard"),
        ({"url": URL, "headers": {"X-Signature": "x"}}, {}, "settings.headers.X-Signature: is set by Punchcard"),
        ({"url": URL, "headers": {"X-A": "1", "x-a": "2"}}, {}, "settings.headers.x-a: is listed twice"),
        ({"url": URL, "headers": {f"X-{n}": "1" for n in range(51)}}, {}, "settings.headers: at most 50"),
        ({"url": URL, "batchSize": 0}, {}, "settings.batchSize: must be at least 1"),
        ({"url": URL, "batchSize": 1001}, {}, "settings.batchSize: must be at most 1000"),
        ({"url": URL, "triggers": []}, {}, "settings.triggers: must name at least one call"),
        ({"url": URL, "triggers": ["delete"]}, {}, 'settings.triggers: "delete" is not a call'),
        ({"url": URL}, {"template": "{"}, "options.template: is not JSON"),
        ({"url": URL}, {"signature": "standard-webhooks"}, "settings.sharedSecret: is required"),
        (
            {"url": URL, "sharedSecret": "whsec_!"},
            {"signature": "standard-webhooks"},
            "settings.sharedSecret: must be base64",
        ),
        ({"url": URL}, {"apiBaseUrl": "https://x"}, "options.apiBaseUrl: is not known"),
    ],
)
def test_what_cannot_be_used_is_named(
    settings: Mapping[str, object], options: Mapping[str, object], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(settings, options)
    assert any(line.startswith(problem) for line in caught.value.message.splitlines()), caught.value.message

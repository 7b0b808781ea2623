"""What may be configured of alert channels and rules, and that URLs of channels stay secret."""

import re
from dataclasses import replace
from datetime import time

import pytest

from punchcard.errors import ConfigurationError
from punchcard.workspace.alert_rules import DEFAULT_RULES, RULES, AlertKind, Severity, effective_rules
from punchcard.workspace.alert_settings import (
    channel_problems,
    channel_type,
    is_webhook,
    mask_channel,
    parse_quiet_hours,
    restore_secrets,
    seal_channel,
    unseal_channel,
)
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import AlertChannel, AlertRule, Workspace
from punchcard.workspace.plan import plan, render
from punchcard.workspace.problems import Problem

MAIL = "mailto://user:password@smtp.example.com?to=ops@example.com"
CHANNEL = AlertChannel(slug="ops", name="ops", url=MAIL, secret="")
DIRECT = "powerautomate/automations/direct"
TEAMS_FLOW = (
    "workflows/0a9b8c7d6e/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=aB-3_d"
)


def read(text: str) -> Workspace:
    return read_content(text.encode(), "punchcard.toml", environment={"SMTP_PASSWORD": "hush"})


def test_channels_and_rules_are_read_from_a_config_file() -> None:
    workspace = read(
        """
        [[alert_channels]]
        name = "Ops team"
        url = "mailto://user:${SMTP_PASSWORD}@smtp.example.com?to=ops@example.com"
        severity = "critical"
        quiet_hours = "22:00-07:00"
        [[alert_channels]]
        name = "hook"
        url = "https://hooks.example.com/x"
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        enabled = false
        [[alert_rules]]
        rule = "queue_age"
        threshold = 15
        severity = "critical"
        [[alert_rules]]
        rule = "off"
        enabled = false
        """
    )
    ops, hook = workspace.alert_channels
    assert (ops.slug, ops.severity, ops.quiet_hours) == ("ops-team", "critical", "22:00-07:00")
    assert "hush" in ops.url
    assert (hook.severity, hook.enabled) == ("warning", False)
    rules = effective_rules(workspace.alert_rules)
    assert (rules[AlertKind.QUEUE_AGE].threshold, rules[AlertKind.QUEUE_AGE].severity) == (15, Severity.CRITICAL)
    assert not rules[AlertKind.OFF].enabled
    assert rules[AlertKind.PARKED].is_default


WRONG = {
    "no url": ('[[alert_channels]]\nname = "a"', "url: Is missing"),
    "no name": ('[[alert_channels]]\nurl = "https://example.com"', "name: Is missing"),
    "name without letters": ('[[alert_channels]]\nname = "…"\nurl = "https://example.com"', "Must have a letter"),
    "name twice": (
        '[[alert_channels]]\nname = "A"\nurl = "https://a.example"\n[[alert_channels]]\nname = "a"\nurl = "https://b.example"',
        "used more than once",
    ),
    "severity": (
        '[[alert_channels]]\nname = "a"\nurl = "https://a.example"\nseverity = "high"',
        "Expected info, warning",
    ),
    "quiet hours": ('[[alert_channels]]\nname = "a"\nurl = "https://a.example"\nquiet_hours = "night"', "22:00-07:00"),
    "web address": ('[[alert_channels]]\nname = "a"\nurl = "https://"', "web address"),
    "password in a web address": (
        '[[alert_channels]]\nname = "a"\nurl = "https://u:p@a.example"',
        "user name or password",
    ),
    "unknown scheme": ('[[alert_channels]]\nname = "a"\nurl = "pigeon://coop"', "nor one that Apprise knows"),
    "no url at all": ('[[alert_channels]]\nname = "a"\nurl = "ops"', "nor one that Apprise knows"),
    "plain HTTP of Apprise": ('[[alert_channels]]\nname = "a"\nurl = "json://169.254.169.254"', "is not supported"),
    "this machine": ('[[alert_channels]]\nname = "a"\nurl = "dbus://"', "is not supported"),
    "secret of a mail": (f'[[alert_channels]]\nname = "a"\nurl = "{MAIL}"\nsecret = "s"', "Signs webhooks only"),
    "secret that is no base64": (
        '[[alert_channels]]\nname = "a"\nurl = "https://a.example"\nsecret = "whsec_%"',
        "base64",
    ),
    "Unknown key": ('[[alert_channels]]\nname = "a"\nurl = "https://a.example"\nlevel = "info"', "Unknown key"),
    "unknown rule": ('[[alert_rules]]\nrule = "weather"', 'There is no rule "weather"'),
    "rule twice": ('[[alert_rules]]\nrule = "off"\n[[alert_rules]]\nrule = "off"', "more than once"),
    "threshold of a rule without": ('[[alert_rules]]\nrule = "off"\nthreshold = 3', "has no threshold"),
    "threshold below": ('[[alert_rules]]\nrule = "disk"\nthreshold = 0', "above 0"),
    "threshold as text": ('[[alert_rules]]\nrule = "disk"\nthreshold = "ten"', "Must be a number"),
    "severity of a rule": ('[[alert_rules]]\nrule = "disk"\nseverity = "high"', "Expected info, warning"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_by_its_key_and_shows_no_secret(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(text)
    assert message in error.value.message
    assert "password@" not in error.value.message


@pytest.mark.parametrize("url", ["https://a.example/x", MAIL, "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"])
def test_urls_of_webhooks_and_of_apprise_are_taken(url: str) -> None:
    assert read(f'[[alert_channels]]\nname = "a"\nurl = "{url}"').alert_channels[0].url == url


QUIET = {
    "22:00-07:00": (time(22), time(7)),
    "9:30 - 10:15": (time(9, 30), time(10, 15)),
    "": None,
    "07:00-07:00": None,
    "25:00-07:00": None,
    "22-7": None,
}


@pytest.mark.parametrize(("text", "hours"), QUIET.items(), ids=QUIET)
def test_quiet_hours(text: str, hours: tuple[time, time] | None) -> None:
    assert parse_quiet_hours(text) == hours


def test_a_stored_channel_holds_its_url_and_secret_encrypted() -> None:
    keyring = Keyring("k")
    channel = replace(CHANNEL, secret="sesame sesame sesame")
    sealed = seal_channel(channel, keyring)
    assert "password" not in sealed.url
    assert "sesame" not in sealed.secret
    assert unseal_channel(sealed, keyring) == channel
    with pytest.raises(ConfigurationError):
        unseal_channel(sealed, Keyring("another"))


def test_an_export_masks_channels_and_can_be_applied_again() -> None:
    workspace = Workspace(alert_channels=(CHANNEL,), alert_rules=(AlertRule(rule="disk", threshold=5),))
    text = export(workspace)
    assert "password" not in text
    again = read(text)
    problems: list[Problem] = []
    assert restore_secrets(again.alert_channels, workspace.alert_channels, problems) == workspace.alert_channels
    assert problems == []
    assert again.alert_rules == workspace.alert_rules
    restore_secrets(again.alert_channels, [replace(CHANNEL, url="mailto://other.example")], problems)
    assert [problem.path for problem in problems] == [("alert_channels", "ops", "url")]


def test_a_plan_shows_channels_masked() -> None:
    changes = plan(
        Workspace(), Workspace(alert_channels=(CHANNEL,), alert_rules=(AlertRule(rule="disk", threshold=5),))
    )
    assert [(change.part, change.slug) for change in changes] == [("alert_channel", "ops"), ("alert_rule", "disk")]
    assert "password" not in render(changes)
    other = replace(CHANNEL, url=MAIL.replace("password", "passw0rd"))
    (change,) = plan(Workspace(alert_channels=(CHANNEL,)), Workspace(alert_channels=(other,)))
    assert "changed secret" in render([change])


def test_masks_of_an_empty_secret_stay_empty() -> None:
    assert mask_channel(CHANNEL).secret == ""


def test_every_kind_has_a_rule_and_its_default() -> None:
    assert set(RULES) == set(AlertKind) == set(DEFAULT_RULES)
    assert all(rule.is_default for rule in DEFAULT_RULES.values())
    assert [
        kind for kind, rule in RULES.items() if ("{threshold}" in rule.description) != (rule.threshold is not None)
    ] == []


@pytest.mark.parametrize("kind", RULES)
def test_a_rule_describes_its_default_in_proper_english(kind: AlertKind) -> None:
    rule = RULES[kind]
    description = rule.description.replace("{threshold}", f"{rule.threshold or 0:g}")
    assert not re.search(r"\b1 (?!or )\w", description), description


def test_a_stored_change_that_cannot_be_read_leaves_the_default() -> None:
    rules = effective_rules([AlertRule(rule="disk", severity="awful", threshold=-1), AlertRule(rule="nothing")])
    assert rules[AlertKind.DISK].is_default


@pytest.mark.parametrize(
    ("url", "type_"),
    [
        ("https://hooks.slack.com/services/T0000000A/B0000000B/abcdefghijklmnopqrstuvwx", "slack"),
        (f"https://discord.com/api/webhooks/123456789012345678/{'a' * 68}", "discord"),
        ("https://chat.googleapis.com/v1/spaces/AAAA/messages?key=abc&token=def", "gchat"),
        (f"https://prod-01.westeurope.logic.azure.com:443/{TEAMS_FLOW}", "workflows"),
        (f"https://default98.73.environment.api.powerplatform.com:443/{DIRECT}/{TEAMS_FLOW}", "workflows"),
        (f"https://default98.73.environment.api.powerplatform.com/{DIRECT}/cu/03/{TEAMS_FLOW}", "workflows"),
        (f"https://98.73.environment.api.high.powerplatform.microsoft.us/{DIRECT}/{TEAMS_FLOW}", "workflows"),
        (f"https://logic.azure.com.example.com/{TEAMS_FLOW}", "webhook"),
        ("https://hooks.example.com/services/T0000000A/B0000000B/abcdefghijklmnopqrstuvwx", "webhook"),
        ("https://example.com/https://hooks.slack.com/services/a/b/c", "webhook"),
        (MAIL, "mailto"),
    ],
)
def test_the_webhook_url_of_a_chat_is_a_channel_of_that_chat(url: str, type_: str) -> None:
    assert (channel_type(url), is_webhook(url)) == (type_, type_ == "webhook")
    assert list(channel_problems([replace(CHANNEL, url=url)], allow_masks=False)) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0000000A",
        f"https://prod-01.westeurope.logic.azure.com/{TEAMS_FLOW.partition('?')[0]}",
    ],
)
def test_a_part_of_the_webhook_url_of_a_chat_is_refused(url: str) -> None:
    channel = replace(CHANNEL, url=url)
    (problem,) = channel_problems([channel], allow_masks=False)
    assert problem.message == "Is not a whole webhook URL of this chat. Copy it there once more."

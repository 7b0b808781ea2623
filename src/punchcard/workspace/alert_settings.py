"""What may be configured of alert rules and channels, and how the secrets of channels are stored and shown."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import time
from typing import Final

from punchcard.destinations.webhooks.settings import read_settings
from punchcard.errors import ConfigurationError
from punchcard.workspace.alert_rules import RULES, AlertKind, Severity
from punchcard.workspace.blank import is_blank
from punchcard.workspace.keyring import Keyring, is_masked, mask
from punchcard.workspace.model import AlertChannel, AlertRule
from punchcard.workspace.problems import IS_MISSING, KeyPath, Problem

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_NAME_CHARACTERS_MAX: Final = 64
_URL_CHARACTERS_MAX: Final = 2048
_CHANNELS_MAX: Final = 50
_THRESHOLD_MAX: Final = 1_000_000_000
_SEALED: Final = "$sealed:"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_QUIET = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)-([01]?\d|2[0-3]):([0-5]\d)")
_WEB: Final = ("http", "https")
# As these chats show them for copying. They accept their own format only, which Apprise writes.
_CHATS: Final = {
    "slack": re.compile(r"https://hooks\.slack\.com/services/", re.IGNORECASE),
    "discord": re.compile(r"https://discord(?:app)?\.com/api/webhooks/", re.IGNORECASE),
    "gchat": re.compile(r"https://chat\.googleapis\.com/v1/spaces/", re.IGNORECASE),
    # Microsoft Teams: flows of Power Automate, on hosts of Logic Apps or, since 2025, of the Power Platform.
    "workflows": re.compile(
        r"https://[a-z0-9.-]+\.(?:logic\.azure|api(?:\.[a-z0-9-]+)*\.powerplatform)\.[a-z.]+(?::\d+)?"
        r"/(?:powerautomate/automations/direct/(?:cu/\d+/)?)?workflows/",
        re.IGNORECASE,
    ),
}
# Apprise would send these from its own HTTP client, past the check of private addresses; the last ones act on this
# machine instead of sending anything.
_REFUSED_SCHEMES: Final = frozenset(
    {
        *("json", "jsons", "xml", "xmls", "form", "forms", "apprise", "apprises"),
        *("dbus", "kde", "qt", "glib", "gnome", "macosx", "windows", "syslog", "blink1"),
    }
)


def is_webhook(url: str) -> bool:
    """Return whether a channel with this URL is the generic webhook."""
    return channel_type(url) == "webhook"


def channel_type(url: str) -> str:
    """Return what a channel with this URL is: `webhook`, or the scheme of Apprise."""
    if url_scheme(url) not in _WEB:
        return url_scheme(url)
    return next((chat for chat, beginning in _CHATS.items() if beginning.match(url.strip())), "webhook")


def url_scheme(url: str) -> str:
    """Return the scheme of a channel's URL in lower case, "" if it has none."""
    matched = _SCHEME.match(url.strip())
    return matched[1].lower() if matched else ""


def parse_quiet_hours(text: str) -> tuple[time, time] | None:
    """Return begin and end of quiet hours such as `22:00-07:00`; None if there are none."""
    matched = _QUIET.fullmatch(text.replace(" ", ""))
    if matched is None:
        return None
    begin_hour, begin_minute, end_hour, end_minute = map(int, matched.groups())
    begin, end = time(begin_hour, begin_minute), time(end_hour, end_minute)
    return None if begin == end else (begin, end)


def channel_problems(channels: Sequence[AlertChannel], *, allow_masks: bool) -> Iterator[Problem]:
    """All that is wrong with the alert channels.

    Args:
        allow_masks: True if a masked secret may stand for the stored one, which is not known here.
    """
    if len(channels) > _CHANNELS_MAX:
        message = f"Has {len(channels)} channels, at most {_CHANNELS_MAX} are allowed."
        yield Problem(path=("alert_channels",), message=message)
    slugs = [channel.slug for channel in channels]
    for index, channel in enumerate(channels):
        unique = bool(channel.slug) and slugs.count(channel.slug) == 1
        path: KeyPath = ("alert_channels", channel.slug if unique else index)
        if is_blank(channel.name) or len(channel.name) > _NAME_CHARACTERS_MAX:
            yield Problem(path=(*path, "name"), message=f"Must have 1 to {_NAME_CHARACTERS_MAX} characters.")
        elif not _SLUG.fullmatch(channel.slug):
            yield Problem(path=(*path, "name"), message="Must have a letter from a to z or a digit.")
        elif not unique:
            yield Problem(path=(*path, "name"), message=f'"{channel.slug}" is used more than once.')
        if channel.severity not in set(Severity):
            known = ", ".join(Severity)
            yield Problem(path=(*path, "severity"), message=f'"{channel.severity}" is not known. Expected {known}.')
        if channel.quiet_hours and parse_quiet_hours(channel.quiet_hours) is None:
            message = f'"{channel.quiet_hours}" is not a time such as "22:00-07:00".'
            yield Problem(path=(*path, "quiet_hours"), message=message)
        yield from _url_problems(path, channel, allow_masks=allow_masks)


def rule_problems(rules: Sequence[AlertRule]) -> Iterator[Problem]:
    """All that is wrong with the changes of alert rules."""
    names = [rule.rule for rule in rules]
    for index, rule in enumerate(rules):
        path: KeyPath = ("alert_rules", rule.rule if rule.rule and names.count(rule.rule) == 1 else index)
        if rule.rule not in set(AlertKind):
            message = f'There is no rule "{rule.rule}". Known rules: {", ".join(AlertKind)}.'
            yield Problem(path=(*path, "rule"), message=message)
            continue
        if names.count(rule.rule) > 1:
            yield Problem(path=(*path, "rule"), message=f'"{rule.rule}" is listed more than once.')
        if rule.severity and rule.severity not in set(Severity):
            known = ", ".join(Severity)
            yield Problem(path=(*path, "severity"), message=f'"{rule.severity}" is not known. Expected {known}.')
        if rule.threshold is None:
            continue
        definition = RULES[AlertKind(rule.rule)]
        if definition.threshold is None:
            yield Problem(path=(*path, "threshold"), message="This rule has no threshold.")
        elif not 0 < rule.threshold <= _THRESHOLD_MAX:
            yield Problem(path=(*path, "threshold"), message="Must be a number above 0.")


def mask_channel(channel: AlertChannel) -> AlertChannel:
    """Return the channel as people may see it: its URL may hold a password or token."""
    return replace(channel, url=_masked(channel.url), secret=_masked(channel.secret))


def seal_channel(channel: AlertChannel, keyring: Keyring) -> AlertChannel:
    """Return the channel as it is stored: URL and secret encrypted."""
    return replace(channel, url=_sealed(channel.url, keyring), secret=_sealed(channel.secret, keyring))


def unseal_channel(channel: AlertChannel, keyring: Keyring) -> AlertChannel:
    """Return the channel with URL and secret in plain text.

    Raises:
        ConfigurationError: they were encrypted with another key.
    """
    return replace(channel, url=_unsealed(channel.url, keyring), secret=_unsealed(channel.secret, keyring))


def has_sealed_text(channel: AlertChannel) -> bool:
    """Return whether URL or secret of the channel is encrypted."""
    return channel.url.startswith(_SEALED) or channel.secret.startswith(_SEALED)


def restore_secrets(
    requested: Sequence[AlertChannel], current: Sequence[AlertChannel], problems: list[Problem]
) -> tuple[AlertChannel, ...]:
    """Return the requested channels with the stored URL and secret where their masks stand."""
    existing = {channel.slug: channel for channel in current}

    def restore(channel: AlertChannel, key: str) -> str:
        value = str(getattr(channel, key))
        if not is_masked(value):
            return value
        stored = getattr(existing.get(channel.slug), key, "")
        if stored and mask(stored) == value:
            return str(stored)
        message = f'"{value}" is a mask of the stored text, which is another or cannot be read. Give it in plain text.'
        problems.append(Problem(path=("alert_channels", channel.slug, key), message=message))
        return value

    return tuple(
        replace(channel, url=restore(channel, "url"), secret=restore(channel, "secret")) for channel in requested
    )


def _url_problems(path: KeyPath, channel: AlertChannel, *, allow_masks: bool) -> Iterator[Problem]:
    url = channel.url.strip()
    if allow_masks and (is_masked(url) or is_masked(channel.secret)):
        return
    if not url:
        yield Problem(path=(*path, "url"), message=IS_MISSING)
    elif len(url) > _URL_CHARACTERS_MAX:
        yield Problem(path=(*path, "url"), message=f"Must have at most {_URL_CHARACTERS_MAX} characters.")
    elif is_webhook(url):
        yield from _webhook_problems(path, url, channel.secret)
    elif url_scheme(url) in _REFUSED_SCHEMES:
        message = f"{url_scheme(url)}:// is not supported. Give the https:// URL of a webhook instead."
        yield Problem(path=(*path, "url"), message=message)
    elif not _is_apprise_url(url):
        # The URL is not shown: it may hold a password.
        message = "Is neither an https:// URL nor one that Apprise knows, such as mailto://smtp.example.com."
        if url_scheme(url) in _WEB:
            message = "Is not a whole webhook URL of this chat. Copy it there once more."
        yield Problem(path=(*path, "url"), message=message)
    elif channel.secret:
        yield Problem(path=(*path, "secret"), message="Signs webhooks only. Leave it empty for mail and chats.")


def _webhook_problems(path: KeyPath, url: str, secret: str) -> Iterator[Problem]:
    options = {"signature": "standard-webhooks"} if secret else {}
    try:
        read_settings({"url": url, "sharedSecret": secret}, options)
    except ConfigurationError as error:
        for line in error.message.splitlines():
            place, _, message = line.partition(": ")
            key = "secret" if place.endswith("sharedSecret") else "url"
            yield Problem(path=(*path, key), message=message or line)


def _is_apprise_url(url: str) -> bool:
    import apprise  # takes a second and 40 MB: not before a channel needs it

    # Its log lines hold what was typed, which may be a password.
    logging.getLogger(apprise.LOGGER_NAME).propagate = False
    try:
        return isinstance(apprise.Apprise.instantiate(url, suppress_exceptions=True), apprise.NotifyBase)
    except Exception:  # noqa: BLE001  # its plugins check what people type; whatever one raises, the URL is not usable
        return False


def _masked(text: str) -> str:
    return mask(text) if text else ""


def _sealed(text: str, keyring: Keyring) -> str:
    return _SEALED + keyring.encrypt(text) if text else ""


def _unsealed(text: str, keyring: Keyring) -> str:
    return keyring.decrypt(text.removeprefix(_SEALED)) if text.startswith(_SEALED) else text

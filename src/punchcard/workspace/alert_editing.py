"""Changes of alert channels and rules as functions of the workspace: what App and Public API do to them."""

from collections.abc import Callable
from dataclasses import replace

from punchcard.errors import ConfigurationError
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.editing import Edit, NotFoundError, find_by_slug, remove_by_slug, replace_by_slug
from punchcard.workspace.model import AlertChannel, AlertRule, Workspace


def find_channel(workspace: Workspace, slug: str) -> AlertChannel:
    """Return the alert channel with this slug.

    Raises:
        NotFoundError: there is none.
    """
    return find_by_slug(workspace.alert_channels, slug, kind="alert channel")


def add_alert_channel(channel: AlertChannel) -> Edit:
    """Return the edit that adds an alert channel.

    Raises:
        ConfigurationError: (the edit) its slug is taken.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(existing.slug == channel.slug for existing in workspace.alert_channels):
            raise ConfigurationError(
                f'There is an alert channel "{channel.slug}" already.', code="channel_exists", field="name"
            )
        return replace(workspace, alert_channels=(*workspace.alert_channels, channel))

    return change


def change_alert_channel(slug: str, changed: Callable[[AlertChannel], AlertChannel]) -> Edit:
    """Return the edit that puts another alert channel in the place of one.

    Raises:
        NotFoundError: (the edit) there is none with this slug.
    """

    def change(workspace: Workspace) -> Workspace:
        channel = changed(find_channel(workspace, slug))
        return replace(workspace, alert_channels=replace_by_slug(workspace.alert_channels, slug, channel))

    return change


def remove_alert_channel(slug: str) -> Edit:
    """Return the edit that removes an alert channel; notices that wait for it are canceled.

    Raises:
        NotFoundError: (the edit) there is none with this slug.
    """

    def change(workspace: Workspace) -> Workspace:
        find_channel(workspace, slug)
        return replace(workspace, alert_channels=remove_by_slug(workspace.alert_channels, slug))

    return change


def find_rule(workspace: Workspace, rule: str) -> AlertRule:
    """Return what the workspace has changed of a rule, or that it has changed nothing.

    Raises:
        NotFoundError: there is no such rule.
    """
    if rule not in set(AlertKind):
        raise NotFoundError(f"There is no alert rule {rule}.")
    return next((changed for changed in workspace.alert_rules if changed.rule == rule), AlertRule(rule=rule))


def change_alert_rule(rule: str, changed: Callable[[AlertRule], AlertRule]) -> Edit:
    """Return the edit that changes a rule; one that is as Punchcard brings it is not kept.

    Raises:
        NotFoundError: (the edit) there is no such rule.
    """

    def change(workspace: Workspace) -> Workspace:
        after = changed(find_rule(workspace, rule))
        others = tuple(existing for existing in workspace.alert_rules if existing.rule != rule)
        changes = () if after == AlertRule(rule=rule) else (after,)
        return replace(workspace, alert_rules=(*others, *changes))

    return change

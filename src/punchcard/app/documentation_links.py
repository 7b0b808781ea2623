"""The page of the documentation that each page of the App links to."""

from types import MappingProxyType
from typing import Final

from punchcard.app.documentation import document_link

_APP: Final = "docs/app/README.md"
_ALERTS: Final = "docs/how-to/alerts.md"
_AUDIENCES: Final = "docs/how-to/audiences.md"
_LISTS: Final = "docs/how-to/static-lists.md"
_CONFLICTS: Final = "docs/how-to/resolve-a-conflict.md"
_FILTERS: Final = "docs/reference/filters.md"
_LOST_PASSWORD: Final = "docs/how-to/reset-a-password.md"
_PAUSE: Final = "docs/how-to/pause-a-destination.md#in-the-app"
_INVENTORY = "docs/how-to/find-personal-data.md"
_MASK = "docs/how-to/mask-a-property.md"
_PRIVACY: Final = "docs/how-to/delete-a-person.md"
_PLAN: Final = "docs/how-to/start-a-tracking-plan.md"
_RECONCILE: Final = "docs/how-to/reconcile.md"
_REPLAY: Final = "docs/how-to/replay-events.md"
_ROLES: Final = f"{_APP}#roles"
_SEND: Final = "docs/how-to/send-events.md"
_PASSKEYS: Final = "docs/how-to/team.md#passkeys"
_TEAM: Final = "docs/how-to/team.md"
_TWO_FACTOR: Final = "docs/how-to/team.md#two-factor-authentication"
_VERSIONS: Final = "docs/how-to/restore-a-version.md#in-the-app"
_TRANSFORM: Final = "docs/how-to/transform-events.md"
_WHY: Final = "docs/how-to/why-no-points.md#in-the-app"

PAGES: Final = MappingProxyType(
    {
        "account.html": _TEAM,
        "alert_channel.html": f"{_ALERTS}#add-a-channel",
        "alert_channels.html": f"{_ALERTS}#add-a-channel",
        "alert_rules.html": f"{_ALERTS}#rules",
        "alerts.html": _ALERTS,
        "audience.html": f"{_AUDIENCES}#check-the-values",
        "audience_edit.html": f"{_AUDIENCES}#create-one",
        "audiences.html": _AUDIENCES,
        "audit.html": _ROLES,
        "bulk.html": f"{_APP}#every-day-is-all-well",
        "catalog.html": f"{_APP}#first-run",
        "catalog_add.html": f"{_APP}#first-run",
        "catalog_entry.html": f"{_APP}#first-run",
        "conflict.html": _CONFLICTS,
        "conflicts.html": _CONFLICTS,
        "customer.html": _WHY,
        "customers.html": _WHY,
        "debugger.html": f"{_SEND}#check-that-it-works",
        "destination.html": f"{_APP}#every-day-is-all-well",
        "destination_settings.html": "docs/reference/config-file.md",
        "destination_state.html": _PAUSE,
        "destinations.html": f"{_APP}#every-day-is-all-well",
        "documentation.html": "docs/README.md",
        "doubt.html": "docs/how-to/resolve-an-award-in-doubt.md",
        "error.html": "docs/README.md",
        "event.html": _WHY,
        "event_map.html": f"{_APP}#first-run",
        "events.html": "docs/reference/reasons.md#statuses",
        "filter.html": f"{_FILTERS}#conditions",
        "filters.html": _FILTERS,
        "home.html": f"{_APP}#every-day-is-all-well",
        "join.html": _TEAM,
        "list_upload.html": f"{_LISTS}#look-before-you-save",
        "lost_password.html": _LOST_PASSWORD,
        "new_password.html": _LOST_PASSWORD,
        "passkey.html": _PASSKEYS,
        "passkey_new.html": _PASSKEYS,
        "passkeys.html": _PASSKEYS,
        "password.html": _LOST_PASSWORD,
        "plan.html": f"{_PLAN}#edit-the-plan",
        "plan_rule.html": f"{_PLAN}#edit-the-plan",
        "plan_violations.html": f"{_PLAN}#look-at-violations",
        "privacy.html": _PRIVACY,
        "protocols.html": _PLAN,
        "reconciliation.html": f"{_RECONCILE}#kinds-of-differences",
        "reconciliations.html": _RECONCILE,
        "regulation.html": _PRIVACY,
        "control.html": _MASK,
        "controls.html": _MASK,
        "inventory.html": _INVENTORY,
        "property.html": _INVENTORY,
        "retention.html": "docs/reference/stored-data.md",
        "replay.html": f"{_REPLAY}#while-it-runs",
        "replays.html": _REPLAY,
        "search.html": f"{_APP}#search",
        "settings.html": "docs/how-to/operate.md#change-the-configuration",
        "sign_in.html": _LOST_PASSWORD,
        "sign_in_settings.html": _TWO_FACTOR,
        "sign_in_code.html": _TWO_FACTOR,
        "source.html": _SEND,
        "source_new.html": _SEND,
        "source_protocols.html": f"{_PLAN}#enforce-the-plan",
        "source_schema.html": f"{_SEND}#check-that-it-works",
        "source_schema_event.html": f"{_SEND}#check-that-it-works",
        "sources.html": _SEND,
        "static_list.html": _LISTS,
        "team.html": _TEAM,
        "tester.html": "docs/how-to/try-a-change.md",
        "tokens.html": "docs/reference/public-api.md#tokens-and-roles",
        "transactions.html": "docs/reference/public-api.md#the-ledger",
        "transformation.html": _TRANSFORM,
        "transformations.html": _TRANSFORM,
        "two_factor.html": _TWO_FACTOR,
        "two_factor_setup.html": _TWO_FACTOR,
        "version.html": _VERSIONS,
        "versions.html": _VERSIONS,
        "welcome.html": f"{_APP}#first-run",
    }
)
"""By template: path of a page below the root of the repository, with the anchor of a heading."""


def link_of_template(template: str) -> str:
    """Return the path in the App of the documentation for a page; the index if none is named."""
    path, _, anchor = PAGES.get(template, "docs/README.md").partition("#")
    return document_link(path) + (f"#{anchor}" if anchor else "")

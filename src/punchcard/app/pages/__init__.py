"""The pages, a module for each group of them; every handler stands in a `HANDLERS`."""

from punchcard.app.pages import (
    catalog,
    customers,
    debugger,
    destination_overview,
    destination_settings,
    destination_tester,
    destinations,
    event_map,
    events,
    filters,
    home,
    sign_in,
    sources,
    team,
    transactions,
    workspaces,
)

HANDLERS = (
    *sign_in.HANDLERS,
    *home.HANDLERS,
    *catalog.HANDLERS,
    *sources.HANDLERS,
    *debugger.HANDLERS,
    *destinations.HANDLERS,
    *destination_overview.HANDLERS,
    *destination_settings.HANDLERS,
    *event_map.HANDLERS,
    *filters.HANDLERS,
    *destination_tester.HANDLERS,
    *transactions.HANDLERS,
    *events.HANDLERS,
    *customers.HANDLERS,
    *workspaces.HANDLERS,
    *team.HANDLERS,
)

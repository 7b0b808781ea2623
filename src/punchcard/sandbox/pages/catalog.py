"""The pages of perks, which can be added and changed, and locations."""

import re
from collections.abc import Mapping

from punchcard.sandbox.pages.view import View, redirect
from punchcard.sandbox.web import Request, SandboxResponse

OWN_BUSINESS_ID = 41
"""The business with perks that can be changed; the other businesses serve to test refusals."""

TITLE_LENGTH_MAX = 100
PERK_FORM_EMPTY = {"title": "", "description": "", "classification": "EARN", "points": "1", "status": "ACTIVE"}

_PERKS = """
SELECT perks.*, businesses.name AS business_name, count(transaction_id) AS transactions_total
FROM perks JOIN businesses USING (business_id) LEFT JOIN transactions USING (perk_id)
GROUP BY perk_id ORDER BY perks.business_id, perk_id
"""


def list_perks(view: View, request: Request, _: int) -> SandboxResponse:
    """Show all perks, and a form to add one."""
    return _perks_page(view, request, form=PERK_FORM_EMPTY, problems=[])


def add_perk(view: View, request: Request, _: int) -> SandboxResponse:
    """Add a perk to the own business."""
    form = _read_form(request)
    problems = _problems(form)
    if problems:
        return _perks_page(view, request, form=form, problems=problems, status=400)
    with view.database.unit_of_work():
        view.database.write(
            "INSERT INTO perks VALUES ((SELECT max(perk_id) + 1 FROM perks), ?, ?, ?, ?, ?, ?)",
            (OWN_BUSINESS_ID, *_values(form)),
        )
    return redirect("/perks/", done="perk_added")


def show_perk(view: View, request: Request, perk_id: int) -> SandboxResponse:
    """Show a perk in a form."""
    row = view.database.row("SELECT * FROM perks WHERE perk_id = ?", (perk_id,))
    if row is None:
        return _no_such_perk(view, request)
    form = {key: str(row[key]) for key in PERK_FORM_EMPTY}
    return view.page("perk.html", request, perk_id=perk_id, form=form, problems=[])


def save_perk(view: View, request: Request, perk_id: int) -> SandboxResponse:
    """Change a perk; stored transactions do not change."""
    if view.database.row("SELECT 1 FROM perks WHERE perk_id = ?", (perk_id,)) is None:
        return _no_such_perk(view, request)
    form = _read_form(request)
    problems = _problems(form)
    if problems:
        return view.page("perk.html", request, status=400, perk_id=perk_id, form=form, problems=problems)
    with view.database.unit_of_work():
        view.database.write(
            "UPDATE perks SET title = ?, description = ?, classification = ?, points = ?, status = ? WHERE perk_id = ?",
            (*_values(form), perk_id),
        )
    return redirect("/perks/", done="perk_saved")


def list_locations(view: View, request: Request, _: int) -> SandboxResponse:
    """Show all locations with their businesses."""
    rows = view.database.rows(
        "SELECT locations.*, businesses.name AS business_name FROM locations JOIN businesses USING (business_id)"
        " ORDER BY business_id, location_id"
    )
    return view.page("locations.html", request, locations=rows)


def _perks_page(
    view: View, request: Request, *, form: Mapping[str, str], problems: list[str], status: int = 200
) -> SandboxResponse:
    perks = view.database.rows(_PERKS)
    return view.page("perks.html", request, status=status, perks=perks, form=form, problems=problems)


def _no_such_perk(view: View, request: Request) -> SandboxResponse:
    message = "There is no perk with this id."
    return view.page("message.html", request, status=404, title="Not found", message=message)


def _read_form(request: Request) -> dict[str, str]:
    try:
        fields = request.form()
    except ValueError:
        fields = {}
    return {key: fields.get(key, "") for key in PERK_FORM_EMPTY}


def _problems(form: Mapping[str, str]) -> list[str]:
    problems = []
    if not 0 < len(form["title"]) <= TITLE_LENGTH_MAX:
        problems.append(f"Enter a title of at most {TITLE_LENGTH_MAX} characters.")
    if form["classification"] not in {"EARN", "REDEEM"}:
        problems.append("A perk either earns points (EARN) or takes them (REDEEM).")
    if not re.fullmatch("[0-9]{1,6}", form["points"]):
        problems.append("Points per unit must be an integer from 0 to 999999.")
    if form["status"] not in {"ACTIVE", "INACTIVE"}:
        problems.append("A perk is either ACTIVE or INACTIVE.")
    return problems


def _values(form: Mapping[str, str]) -> tuple[str, str, str, int, str]:
    return form["title"], form["description"], form["classification"], int(form["points"]), form["status"]

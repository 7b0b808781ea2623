"""Actions on all rows that match a filter: stated in words, confirmed with their number, and done slice by slice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from punchcard.app.request_context import Page, RequestContext
from punchcard.operations.row_ids import is_row_id

SLICE_ROWS = 1_000  # of one request and one unit of work: routing and delivery go on between two
ROWS_MAX = 100_000  # of one confirmation
_OWN_FIELDS = frozenset({"_csrf", "_revision", "id", "confirmed", "cursor", "seen", "changed", "total"})


@dataclass(frozen=True, kw_only=True)
class BulkAction:
    """An action on all rows that match.

    Attributes:
        verb: For the button, such as `Retry`.
        nouns: What the rows are, singular and plural.
        filters: The filter in words, such as `Status: Parked`; empty if all rows of the list match.
        effect: Sentence about what happens to the rows.
        count: Returns the number of matching rows, not above `ROWS_MAX + 1`.
        take: Returns the ids of the next rows behind a cursor (None: from the first), at most that many.
        act: Does the action to rows; returns how many were changed.
        path: Page that the operator returns to.
        done: Returns the notice for a number of changed rows.
    """

    verb: str
    nouns: tuple[str, str]
    filters: Sequence[str]
    effect: str
    count: Callable[[], int]
    take: Callable[[int | None, int], Sequence[int]]
    act: Callable[[Sequence[int]], int]
    path: str
    done: Callable[[int], str]

    def noun(self, number: int) -> str:
        """Return what this many rows are called."""
        return self.nouns[number != 1]


def run_bulk(context: RequestContext, action: BulkAction) -> Page:
    """Show the confirmation; once it is confirmed do the next slice, and show the progress until all rows are done.

    A slice begins behind the last row of the slice before it: each row is taken once, whatever happens to it meanwhile.
    """
    if not context.field("confirmed"):
        total = action.count()
        if not total:
            return context.redirect(action.path, notices=[f"Nothing was changed: no {action.nouns[0]} matches."])
        return _page(context, action, cursor="", seen=0, changed=0, total=total)
    cursor = int(context.field("cursor")) if is_row_id(context.field("cursor")) else None
    seen, changed, total = (_number(context, name) for name in ("seen", "changed", "total"))
    ids = action.take(cursor, min(SLICE_ROWS, ROWS_MAX - seen))
    changed += action.act(ids) if ids else 0
    seen += len(ids)
    if len(ids) < SLICE_ROWS:
        return context.redirect(action.path, notices=[action.done(changed)])
    if seen >= ROWS_MAX:
        notice = f"{action.done(changed)} At most {ROWS_MAX:,} are changed at once: repeat the action for the rest."
        return context.redirect(action.path, notices=[notice])
    return _page(context, action, cursor=str(ids[-1]), seen=seen, changed=changed, total=max(total, seen))


def _page(context: RequestContext, action: BulkAction, *, cursor: str, seen: int, changed: int, total: int) -> Page:
    return context.page(
        "bulk.html",
        action=action,
        target=context.request.url.path,
        fields=[(name, value) for name, values in context.form.items() if name not in _OWN_FIELDS for value in values],
        cursor=cursor,
        seen=seen,
        changed=changed,
        total=total,
        rows_max=ROWS_MAX,
    )


def _number(context: RequestContext, name: str) -> int:
    text = context.field(name)
    return int(text) if is_row_id(text) else 0

"""Which effects wait until a destination knows their customer: that may be never, and no operator can change it."""

from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select, true

from punchcard.store.delivery.schema import effects

NO_CONNECTION: Final = "no_connection"
"""The reason of an effect for a customer that the destination does not know yet."""

_ahead = effects.alias("ahead")
# A scalar, not an EXISTS: PostgreSQL would join that, and with old statistics through the whole ledger.
_FIRST_WAITING = (
    select(func.min(_ahead.c.id))
    .where(
        _ahead.c.destination == effects.c.destination,
        _ahead.c.ordering_key == effects.c.ordering_key,
        _ahead.c.kind == effects.c.kind,
        _ahead.c.is_open == true(),
        _ahead.c.reason == NO_CONNECTION,
    )
    .scalar_subquery()
)

# What gives or takes units is sent to customers whom a destination does not know, too. So no other row is looked for.
IS_BEHIND_UNKNOWN_CUSTOMER: Final[ColumnElement[bool]] = and_(effects.c.item.is_(None), effects.c.id > _FIRST_WAITING)
"""The condition that an open effect is not tried before an earlier one, which waits for the customer to be known."""

IS_WITHOUT_UNKNOWN_CUSTOMER: Final[ColumnElement[bool]] = and_(
    effects.c.reason.is_distinct_from(NO_CONNECTION),
    or_(effects.c.item.is_not(None), func.coalesce(_FIRST_WAITING, effects.c.id) >= effects.c.id),
)
"""The condition that an open effect waits for no customer to be known, neither itself nor behind an earlier one."""

"""What an award gives, in words: the title of its item at the destination, and the points."""

from dataclasses import dataclass
from decimal import Decimal

from punchcard.app.rendering import format_amount
from punchcard.destinations.port import MappingChoice


@dataclass(frozen=True, kw_only=True)
class AwardText:
    """An award for display.

    Attributes:
        title: Title of the item at the destination, such as `Checked In`; its id while the title is not known.
        amount: Points such as `10 points`, or the quantity such as `2 ×` if the points are not known; "" if neither is.
        item: Id of the item.
        is_titled: True if the title is the destination's, False if it is the id.
    """

    title: str
    amount: str
    item: str
    is_titled: bool

    def __str__(self) -> str:
        """Return the award as a phrase: `Checked In · 10 points`."""
        return " · ".join(filter(None, (self.title, self.amount)))


def award_text(item: str, quantity: Decimal | str | None, choice: MappingChoice | None) -> AwardText:
    """Return the text of an award.

    Args:
        item: Id of the item at the destination.
        quantity: Units, negative if they are taken back; None while a refund's amount is not decided.
        choice: The item as the destination describes it, None if that is not known.
    """
    amount = ""
    if quantity is not None:
        units = Decimal(quantity)
        if choice is not None and choice.points is not None:
            # The ledger's quantity has the sign; partners show points that are taken with either one.
            amount = point_text(units * abs(choice.points))
        elif units != 1:
            amount = f"{format_amount(units)} ×"
    title = choice.title if choice is not None else ""
    return AwardText(title=title or item, amount=amount, item=item, is_titled=bool(title))


def point_text(points: Decimal) -> str:
    """Return a number of points with its noun: `1 point`, `-24.95 points`."""
    return f"{format_amount(points)} {'point' if abs(points) == 1 else 'points'}"

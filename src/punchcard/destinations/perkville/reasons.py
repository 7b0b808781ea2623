"""The reason codes that only Perkville returns, by the status of their events."""

from typing import Final

from punchcard.destinations.reasons import Action
from punchcard.destinations.reasons import reason as _reason

ORDER_EARNED_NOTHING: Final = "order_earned_nothing"
ORDER_NOT_DELIVERED: Final = "order_not_delivered"
REFUND_UNKNOWN_ORDER: Final = "refund_unknown_order"
REFUND_OTHER_CUSTOMER: Final = "refund_other_customer"
REFUND_NOTHING_LEFT: Final = "refund_nothing_left"
NOTHING_TO_CORRECT: Final = "nothing_to_correct"  # as the store names it

WAITING: Final = (
    _reason(
        "looks_like_order",
        "the event has an amount or an order number but no `order_id`, so it earns 1 and not its amount; its trace "
        "names the member",
        "send the order's id as `properties.order_id`",
    ),
)
REFUSED: Final = (
    _reason(
        "not_allowlisted",
        "the event's name is not in the event map; names are compared exactly",
        "add it if it should earn points",
        action=Action.MAP,
    ),
    _reason(
        "missing_email",
        "no address in `event.email`, `properties.email` or `context.traits.email` (an identify call: "
        "`event.email`, `traits.email`, `context.traits.email`)",
        "send the customer's address",
    ),
    _reason("invalid_email", "the email address is invalid", "correct the sender"),
    _reason(
        "missing_amount",
        "an order without `revenue`, `value` or `total`, or a refund without them with empty `products` or a "
        "product without a price",
        "send the amount",
    ),
    _reason(
        "invalid_amount",
        "the amount is not a number, or is negative",
        "send a number such as 9.99",
    ),
    _reason("zero_amount", "the amount is zero, or is rounded to zero", "nothing: there is nothing to award"),
    _reason(
        "invalid_order_id invalid_refund_id",
        "`order_id` or `refund_id` is neither text nor an integer, is too long, or contains control characters",
        "correct the sender",
    ),
    _reason("invalid_timestamp", "the time of a once-a-day event is not on a calendar day", "correct the sender"),
    _reason("no_computed_trait", "an identify call without a computed trait or audience", "nothing"),
    _reason("invalid_trait", "a trait that Perkville's user properties cannot hold", "correct the trait"),
)
REPEATED: Final = (_reason("once_per_day", "the customer already got this perk on this local day", "nothing"),)
RETRYING: Final = (
    _reason(
        "no_connection",
        "the customer is not known at Perkville yet, so no user property can be set",
        "nothing: it is retried for some hours, and again after their first award",
    ),
    _reason(
        "read_back_unclear",
        "Perkville's data about the customer is inconclusive, so no user property is set. (A transaction that is read "
        "back has this reason with the status `unknown`)",
        "nothing; if it lasts, Perkville's API differs from what is assumed: see the option `wire`",
    ),
    _reason(
        "waiting_for_order",
        "the order of the refund is not delivered yet, or has not arrived yet; the detail names when the wait ends. "
        "The customer's other transactions continue",
        "nothing: it is performed as soon as the order is delivered",
    ),
)
PERSON: Final = (
    _reason(
        REFUND_UNKNOWN_ORDER,
        "the order of the refund has not arrived within `refundWaitHours`; nothing was taken",
        "nothing, if the order still arrives: the refund follows automatically. To take points for an order that "
        'Punchcard never received, set `refundFollows = "event"`, then run `punchcard retry`',
        action=Action.RETRY,
    ),
    _reason(
        ORDER_NOT_DELIVERED,
        "the order of the refund was still parked after `refundWaitHours`",
        "retry or dismiss the order; once it is delivered, the refund follows automatically",
        action=Action.RETRY,
    ),
    _reason(
        ORDER_EARNED_NOTHING,
        "the order of the refund was refused or rejected: there is nothing to take back",
        "nothing; if the order is delivered later, the refund follows automatically",
    ),
    _reason(
        REFUND_OTHER_CUSTOMER,
        "the refund names another customer than the order; the detail has both addresses",
        'dismiss it; or set `refundFollows = "event"` and run `punchcard retry` to take the points from the customer '
        "of the refund",
        action=Action.RETRY,
    ),
    _reason(
        "other_account",
        "the settings name another account than the one that it is for, or that its order was awarded in; the detail "
        "names both accounts. It was performed in neither",
        "`punchcard retry --reason other_account`, or *Retry*, sends it to the present account. To send it to its own, "
        "restore the settings, then run `punchcard retry`. Else dismiss it",
        action=Action.RETRY,
    ),
    _reason(
        "other_account_in_doubt",
        "the response was lost, and the settings have named another account since; the detail names both accounts",
        "look into the account where it may have been performed: dismiss it if it is there, or retry it to send it to "
        "the present one",
        action=Action.RETRY,
    ),
    _reason(
        "synced_again",
        "a value of an audience or trait was queued for one account, and the settings name another one since",
        "nothing: Engage syncs the present account, and the former one if its settings come back",
    ),
    _reason(
        "refund_tracked_twice",
        "another source tracked a refund of the same order, customer and amount within a day, and not both have a "
        "`refund_id`: it is the same refund",
        "nothing; if it is a second refund, send each with its own `refund_id`",
    ),
    _reason(REFUND_NOTHING_LEFT, "everything awarded for the order was already removed", "nothing"),
    _reason(
        "perk_unknown",
        "Perkville does not have this perk, or it belongs to another business",
        "correct the map",
        action=Action.MAP,
    ),
    _reason(
        "perk_unusable",
        "a transaction with this perk would do the opposite of what is requested, or its effect is unknown",
        "map the event to a perk of the right kind, or set `refundMethod`",
        action=Action.MAP,
    ),
    _reason(
        "location_unknown business_unknown",
        "Perkville does not accept the location or the business",
        "correct the setting",
        action=Action.SETTINGS,
    ),
    _reason("email_refused", "Perkville does not accept this address", "correct it at the source", action=Action.RETRY),
    _reason("connection_ambiguous", "Perkville shows two customers for one address", "ask Perkville"),
)

REASONS: Final = (*WAITING, *REFUSED, *REPEATED, *RETRYING, *PERSON)

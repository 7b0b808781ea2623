"""The reason codes that only Perkville gives, by the status of the event that has them."""

from typing import Final

from punchcard.destinations.reasons import reason as _reason

ORDER_EARNED_NOTHING: Final = "order_earned_nothing"
ORDER_NOT_DELIVERED: Final = "order_not_delivered"
REFUND_UNKNOWN_ORDER: Final = "refund_unknown_order"

WAITING: Final = (
    _reason(
        "looks_like_order",
        "the event has an amount or the number of an order, but no `order_id`, so it earns 1 and not its amount; its "
        "trace names the member",
        "send the order's id as `properties.order_id`",
    ),
)
REFUSED: Final = (
    _reason(
        "not_allowlisted",
        "the event's name is not in `eventToPerkMap`; names must be the same to the letter",
        "add it, if it should earn points",
    ),
    _reason(
        "missing_email",
        "no address in `event.email`, `properties.email` or `context.traits.email` (an identify call: "
        "`event.email`, `traits.email`, `context.traits.email`)",
        "send the customer's address",
    ),
    _reason("invalid_email", "the first address that is present is none", "correct the sender"),
    _reason(
        "missing_amount",
        "an order without `revenue`, `value` or `total`, or a refund without them whose `products` is empty or has a "
        "product without a price",
        "send the amount",
    ),
    _reason(
        "invalid_amount",
        "the first of these that is present is no amount that can be counted, or is negative",
        "send a number such as 9.99",
    ),
    _reason("zero_amount", "the amount is zero, or rounds to it", "nothing: there are no points to give"),
    _reason(
        "invalid_order_id invalid_refund_id",
        "`order_id` or `refund_id` is neither text nor a whole number, too long, or has control characters",
        "correct the sender",
    ),
    _reason("invalid_timestamp", "a once-a-day event at a time that is on no calendar day", "correct the sender"),
    _reason("no_computed_trait", "an identify call that carries no computed trait or audience", "nothing"),
    _reason("invalid_trait", "a trait that Perkville's user properties cannot hold", "correct the trait"),
)
REPEATED: Final = (_reason("once_per_day", "the customer has had this perk on this local day", "nothing"),)
RETRYING: Final = (
    _reason(
        "no_connection",
        "the customer is not known at Perkville yet, so no user property can be set",
        "nothing: it is tried for some hours, and again with their first award",
    ),
    _reason(
        "read_back_unclear",
        "what Perkville shows of the customer decides nothing, so no user property is set. (A transaction "
        "that is read back keeps the reason under `unknown`)",
        "nothing; if it lasts, Perkville's API is not as assumed: see the option `wire`",
    ),
    _reason(
        "waiting_for_order",
        "a refund whose order is not delivered yet, or has not arrived yet; the sentence says until when it waits. The "
        "customer's other transactions go on",
        "nothing: it is done as soon as the order is delivered",
    ),
)
PERSON: Final = (
    _reason(
        REFUND_UNKNOWN_ORDER,
        "a refund of an order that has not arrived within `refundWaitHours`; nothing was taken",
        "nothing, if the order still comes: the refund follows by itself. To take points for an order that Punchcard "
        'never saw, `refundFollows = "event"`, then `punchcard retry`',
    ),
    _reason(
        ORDER_NOT_DELIVERED,
        "a refund whose order was still parked after `refundWaitHours`",
        "retry or dismiss the order; once it is delivered, the refund follows by itself",
    ),
    _reason(
        ORDER_EARNED_NOTHING,
        "a refund of an order that was refused or rejected: there is nothing to take back",
        "nothing; if the order is delivered after all, the refund follows by itself",
    ),
    _reason(
        "refund_other_customer",
        "a refund for another customer than the one whom the order was awarded to; the sentence has both addresses",
        'dismiss it; or `refundFollows = "event"`, then `punchcard retry`, to take the points from the customer of the '
        "refund",
    ),
    _reason(
        "refund_tracked_twice",
        "another source tracked a refund of the same order, customer and amount within a day, and not both carry a "
        "`refund_id`: it is the same refund",
        "nothing; if it is a second refund, send each with its own `refund_id`",
    ),
    _reason("refund_nothing_left", "all that was awarded for the order has been removed before", "nothing"),
    _reason("perk_unknown", "Perkville does not have this perk, or it belongs to another business", "correct the map"),
    _reason(
        "perk_unusable",
        "booking this perk would do the opposite of what is asked, or nobody knows what",
        "map the event to a perk of the right kind, or set `refundMethod`",
    ),
    _reason(
        "location_unknown business_unknown",
        "Perkville does not take the location or the business",
        "correct the setting",
    ),
    _reason("email_refused", "Perkville does not take this address", "correct it at the source"),
    _reason("connection_ambiguous", "Perkville shows two customers for one address", "ask Perkville"),
)

REASONS: Final = (*WAITING, *REFUSED, *REPEATED, *RETRYING, *PERSON)

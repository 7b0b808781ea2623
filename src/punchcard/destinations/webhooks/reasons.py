"""The reason codes that only Webhooks returns."""

from punchcard.destinations.reasons import reason

REASONS = (
    reason(
        "webhook_body_too_large",
        "the body that the template makes of the event is larger than 512 KB",
        "use fewer or smaller members in the template",
    ),
    reason(
        "address_not_allowed",
        "the host of the URL resolves to a private address; nothing was sent",
        "correct `url`, or name the network in `webhookAllowedNetworks` of the workspace; then retry",
    ),
    reason(
        "webhook_redirected",
        "the receiver redirects to another address; redirects are not followed",
        "enter the final address as `url`, then retry",
    ),
    reason(
        "webhook_unauthorized",
        "the receiver responded 401 or 403: it does not accept the headers or the signature",
        "correct `headers` or `sharedSecret`, then retry",
    ),
    reason(
        "webhook_refused",
        "the receiver responded with another 4xx status or 501: it does not accept this event",
        "correct what its response names, then retry",
    ),
    reason(
        "batch_refused",
        "the receiver refused a batch, and it is not known yet whether it accepts this event alone",
        "nothing: it is sent again in a smaller batch. If it lasts, set `batchSize` to 1",
    ),
)

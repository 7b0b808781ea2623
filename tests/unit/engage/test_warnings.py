"""What nobody has is named when a definition asks for it, with what may have been meant."""

from collections.abc import Collection, Mapping, Sequence

import pytest

from punchcard.computations.parser import parse_audience
from punchcard.engage.warnings import find_warnings


class Names:
    """What there is, as a table."""

    def events(self) -> Collection[str]:
        return {"Order Completed", "OpenedRequest"}

    def properties(self, event: str) -> Sequence[Mapping[str, object]]:
        return [{"revenue": 5, "products": [{"sku": "a"}], "shop": {"city": "Austin"}}, {}] * (event != "OpenedRequest")

    def traits(self) -> Collection[str]:
        return {"plan", "address", "dotted.name", "orders"}

    def trait_values(self, name: str) -> Sequence[object]:
        return {"address": ["none", {"city": "Austin"}], "orders": [[{"sku": "a"}]]}.get(name, ["gold"])


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("trait('plan') = 'gold' AND trait('address.city') = 'Austin'", []),
        ("trait('orders.$.sku') = 'a' AND trait('dotted\\\\.name').exists()", []),
        ("trait('plann') = 'gold'", ['Nobody has a trait "plann" yet. Did you mean "plan"?']),
        ("trait('address.cty') = 'x'", ['Nobody has a trait "address.cty" yet. Did you mean "city"?']),
        ("trait('plan.name') = 'x'", ['Nobody has a trait "plan.name" yet.']),
        ("trait('orders.$.sko') = 'x'", ['Nobody has a trait "orders.$.sko" yet. Did you mean "sku"?']),
        ("trait('dotted.name') = 'x'", ['Nobody has a trait "dotted" yet. Did you mean "dotted\\.name"?']),
        (
            "event('Order Complete').count() >= 1",
            ['No event "Order Complete" was received yet. Did you mean "Order Completed"?'],
        ),
        (
            "event('Order Completed').where( property('revenu') > 1 ).count() >= 1",
            ['No recent "Order Completed" has a property "revenu". Did you mean "revenue"?'],
        ),
        (
            "event('Order Completed').unique(property('products.$.suk')).count() >= 1",
            ['No recent "Order Completed" has a property "products.$.suk". Did you mean "sku"?'],
        ),
        (
            "event('Order Completed').where( property('shop.town') = 'x' ).count() >= 1",
            ['No recent "Order Completed" has a property "shop.town".'],
        ),
        ("event('Order Completed').where( property('shop.city') = 'x' ).sum(property('revenue')) > 1", []),
        ("event('OpenedRequest').where( property('any') = 1 ).count() = 1", []),
    ],
)
def test_what_nobody_has_is_named(definition, expected):
    assert list(find_warnings(Names(), parse_audience(definition))) == expected

"""What `punchcard privacy inventory` does."""

from contextlib import closing

from punchcard.cli.listing import print_list
from punchcard.operations.inventory import item_body, read_inventory
from punchcard.runtime.assembly import open_store
from punchcard.runtime.settings import Settings


def show_inventory(settings: Settings, *, as_json: bool) -> int:
    """Print every property and trait, the most sensitive first.

    Raises:
        StorageError: The store is unavailable.
    """
    with closing(open_store(settings)) as store, store.reading() as work:
        items = read_inventory(work)
    print_list(
        items,
        columns={
            "property": lambda item: f"{item.section}.{item.path}",
            "classification": lambda item: item.classification.label,
            "looks like": lambda item: ", ".join(item.kinds).replace("_", " "),
            "type": lambda item: ", ".join(item.types),
            "sampled": lambda item: f"{item.count:,}",
            "sources": lambda item: ", ".join(item.sources),
            "last seen": lambda item: f"{item.last_seen:%Y-%m-%d}",
        },
        body=item_body,
        as_json=as_json,
        empty="No properties yet",
    )
    return 0

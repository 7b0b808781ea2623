"""What `punchcard privacy inventory` and `punchcard privacy classify` do."""

import sys
from collections.abc import Sequence
from contextlib import closing

from punchcard.cli.listing import print_list
from punchcard.clock import SystemClock
from punchcard.operations.export_files import ExportFormat, write_export
from punchcard.operations.exports import export_inventory
from punchcard.operations.inventory import classify, item_body, read_classification, read_inventory
from punchcard.runtime.assembly import open_store
from punchcard.runtime.settings import Settings


def show_inventory(settings: Settings, *, as_json: bool, as_csv: bool = False, only_new: bool = False) -> int:
    """Print every property and trait, the most sensitive first.

    Args:
        as_csv: Print the file that App and Public API return.
        only_new: True leaves out those that people have classified.

    Raises:
        StorageError: The store is unavailable.
    """
    with closing(open_store(settings)) as store, store.reading() as work:
        items = [item for item in read_inventory(work) if item.is_new or not only_new]
    if as_csv:
        for piece in write_export(export_inventory(items), ExportFormat.CSV):
            sys.stdout.buffer.write(piece)
        return 0
    print_list(
        items,
        columns={
            "property": lambda item: item.name,
            "classification": lambda item: item.classification.label + (" (proposed)" if item.is_new else ""),
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


def classify_properties(settings: Settings, names: Sequence[str], classification: str) -> int:
    """Say how sensitive properties and traits are.

    Raises:
        ConfigurationError: There is no such classification or property. Nothing was changed.
        StorageError: The store is unavailable.
    """
    clock = SystemClock()
    value = None if classification.lower() == "none" else read_classification(classification)
    with closing(open_store(settings)) as store, store.unit_of_work() as work:
        count = classify(work, names, value, actor="command line", now=clock.now())
    print(f"{count:,} classified" if value else f"{count:,} made new")
    return 0

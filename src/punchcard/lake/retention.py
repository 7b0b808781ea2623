"""Count the events of the lake that are older than a day."""

from datetime import date

from punchcard.lake.location import LakeLocation
from punchcard.lake.opening import open_table


def count_events_before(url: str, day: date) -> int:
    """Return the number of events that were received on earlier days.

    Raises:
        StorageError: The lake cannot be read.
    """
    table = open_table(LakeLocation(url))
    return sum(file.rows for file in table.files() if file.day < day) if table.refresh() else 0

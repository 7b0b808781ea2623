"""Turn the CDNOW purchases (69,659 real orders of an online shop, 1997 and 1998) into a CSV for `punchcard import`.

Usage: python examples/cdnow_to_csv.py CDNOW_master.txt > orders.csv

Each line of the input is one order: customer, date, number of CDs, dollars. The data set has no order ids and no
addresses, so both are made up: the order id from the line's number, the address from the customer's id. The order id
serves as message id too, so that each order can be traced by it: `punchcard trace cdnow-00002`.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

HEADINGS = (
    "messageId",
    "event",
    "userId",
    "timestamp",
    "properties.order_id",
    "properties.revenue",
    "properties.email",
    "properties.cds:number",
)


def orders(lines: TextIO) -> Iterator[tuple[str, ...]]:
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells or cells[0] == "customer_id":
            continue
        customer, date, cds, dollars = cells
        order = f"cdnow-{number:05}"
        yield (
            order,
            "Order Completed",
            f"cdnow-{customer}",
            # Noon, so that the day is the same in every time zone of America.
            f"{date[:4]}-{date[4:6]}-{date[6:]}T12:00:00Z",
            order,
            dollars,  # text from the file to the wire: 11.77 never becomes a binary fraction
            f"customer{customer}@example.com",
            cds,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn CDNOW_master.txt into a CSV for `punchcard import`.")
    parser.add_argument("file", type=Path, help="CDNOW_master.txt")
    with parser.parse_args().file.open(encoding="ascii") as lines:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(HEADINGS)
        writer.writerows(orders(lines))


if __name__ == "__main__":
    main()
